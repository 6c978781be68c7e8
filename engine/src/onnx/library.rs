//! Examines a library before `ort` gets it: whether it loads, is ONNX Runtime, and is new enough.
//!
//! `ort` cannot be asked twice, so whatever can be wrong must be found here, where the next candidate may still be tried.

use super::LibraryProblem;
use libloading::Library;
use std::ffi::CStr;
use std::path::{Path, PathBuf};

/// ONNX Runtime's one exported entry (`onnxruntime_c_api.h`).
type GetApiBase = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;

/// A library that is fit to be handed on; it stays loaded as long as this lives.
pub(super) struct Examined {
    path: PathBuf,
    version: String,
    _library: Library,
}

impl Examined {
    pub(super) fn open(path: &Path) -> Result<Self, LibraryProblem> {
        let path = std::fs::canonicalize(path).map_err(LibraryProblem::Missing)?;
        // SAFETY: loading runs the library's initialisers. The path comes from the administrator's configuration or from a
        // directory that only an administrator or the user of this process writes to.
        let library = unsafe { Library::new(&path) }.map_err(LibraryProblem::Open)?;
        let version = version(&library)?;
        let needed = ort::MINOR_VERSION;
        if !new_enough(&version, needed) {
            return Err(LibraryProblem::Version { found: version, needed });
        }
        Ok(Self { path, version, _library: library })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }
}

fn version(library: &Library) -> Result<String, LibraryProblem> {
    // SAFETY: a library that exports this name is ONNX Runtime, whose header gives the type.
    let entry = unsafe { library.get::<GetApiBase>(b"OrtGetApiBase") }.map_err(|_| LibraryProblem::Other)?;
    // SAFETY: the entry takes nothing and gives a pointer to a static table, or null.
    let base = unsafe { entry().as_ref() }.ok_or(LibraryProblem::Other)?;
    // SAFETY: the table's function gives a pointer to a static, terminated string, or null.
    let text = unsafe { (base.GetVersionString)() };
    if text.is_null() {
        return Err(LibraryProblem::Other);
    }
    // SAFETY: see above; the library is loaded while `library` is borrowed.
    Ok(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Whether a version is 1.`needed` or a later 1.x: the C interface is promised for these.
fn new_enough(version: &str, needed: u32) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    parts.next() == Some(Some(1)) && parts.next().flatten().is_some_and(|minor| minor >= needed)
}

#[cfg(test)]
mod tests {
    use super::super::{OnnxError, OnnxRuntime, Search};
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, fits) in [("1.24.0", true), ("1.100.1-rc", true), ("1.9.9", false), ("2.30.0", false), ("", false), ("1", false)] {
            assert_eq!(new_enough(version, 24), fits, "{version}");
        }
    }

    #[test]
    fn what_is_no_runtime_is_refused_by_its_path_and_can_be_followed_by_one_that_is() {
        let directory = tempfile::tempdir().unwrap();
        let garbage = directory.path().join("libonnxruntime.so.1.99.0");
        std::fs::write(&garbage, b"\x7fELF but not really").unwrap();
        assert!(matches!(Examined::open(&garbage), Err(LibraryProblem::Open(_))));
        assert!(matches!(Examined::open(&directory.path().join("none.so")), Err(LibraryProblem::Missing(_))));
        let search = Search { directories: vec![directory.path().to_path_buf()], ..Search::default() };
        // Another test may have loaded the real one before; then this gives that.
        if let Err(error) = OnnxRuntime::load(&search) {
            let text = error.to_string();
            assert!(matches!(error, OnnxError::Load { .. }), "{text}");
            assert!(text.contains("libonnxruntime.so.1.99.0") && text.contains("pip install onnxruntime"), "{text}");
        }
    }

    /// The C library is on every system that runs these tests, and is another library.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn another_library_is_told_apart() {
        // SAFETY: the C library is loaded already.
        let library = unsafe { Library::new("libc.so.6") }.unwrap();
        assert!(matches!(version(&library), Err(LibraryProblem::Other)));
    }
}
