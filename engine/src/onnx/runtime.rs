//! The loaded ONNX Runtime: once a process, because the library allows one environment and `ort` panics without any.

use super::search::version_of;
use super::{OnnxError, Search};
use ort::environment::Environment;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Which library was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// Its path, links resolved.
    pub path: PathBuf,
    /// Its version, as far as its file name tells; it is at least 1.24.
    pub version: Option<String>,
}

/// A handle to the loaded library.
#[derive(Clone)]
pub struct OnnxRuntime {
    info: RuntimeInfo,
    environment: Environment,
}

impl std::fmt::Debug for OnnxRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxRuntime").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What this process loaded.
static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

impl OnnxRuntime {
    /// Loads the first library that works; a second call gives what the first one loaded, wherever it looks.
    pub fn load(search: &Search) -> Result<Self, OnnxError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*loaded {
            return Ok(runtime.clone());
        }
        let mut refusal = None;
        for path in search.candidates()? {
            match Self::load_from(&path) {
                Ok(runtime) => {
                    *loaded = Some(runtime.clone());
                    return Ok(runtime);
                }
                // The best candidate's problem is the one to mend.
                Err(error) => _ = refusal.get_or_insert(error),
            }
        }
        Err(refusal.unwrap_or(OnnxError::NotFound { searched_in: search.directories.clone() }))
    }

    fn load_from(path: &Path) -> Result<Self, OnnxError> {
        let at = || path.to_path_buf();
        let builder = ort::init_from(path).map_err(|problem| OnnxError::Load { path: at(), problem })?;
        // The library would write to stderr; what matters comes back as an error.
        let quiet = Arc::new(|_: ort::logging::LogLevel, _: &str, _: &str, _: &str, _: &str| {});
        let environment = builder.with_name("ouroboros").with_telemetry(false).with_logger(quiet).build();
        let environment = environment.map_err(|problem| OnnxError::Start { path: at(), problem })?;
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| at());
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let version = version_of(name).map(|parts| parts.iter().map(u32::to_string).collect::<Vec<_>>().join("."));
        Ok(Self { info: RuntimeInfo { path, version }, environment })
    }

    /// Which library it is.
    pub fn info(&self) -> &RuntimeInfo {
        &self.info
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::process::Command;

    /// The library this machine has, or the reason why a test cannot run.
    fn find() -> Result<Search, String> {
        if let Some(path) = std::env::var_os("OURO_TEST_ORT") {
            return Ok(Search { configured: Some(path.into()), ..Search::default() });
        }
        let python = std::env::var_os("VIRTUAL_ENV").map_or("python3".into(), |venv| Path::new(&venv).join("bin/python3"));
        let script = "import importlib.util as u; print(u.find_spec('onnxruntime').submodule_search_locations[0])";
        let output = Command::new(python).args(["-c", script]).output().map_err(|e| e.to_string())?;
        let package = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        match package.parent() {
            Some(site) if output.status.success() => Ok(Search { directories: vec![site.to_path_buf()], ..Search::default() }),
            _ => Err("Python has no onnxruntime; set OURO_TEST_ORT to libonnxruntime.so to run this".into()),
        }
    }

    /// The runtime for a test; `None`, said aloud, where the machine has none.
    #[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
    pub(in crate::onnx) fn runtime(test: &str) -> Option<OnnxRuntime> {
        match find() {
            Ok(search) => Some(OnnxRuntime::load(&search).unwrap()),
            Err(reason) => {
                eprintln!("skipped {test}: {reason}");
                None
            }
        }
    }

    #[test]
    fn what_is_no_library_is_refused_by_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("libonnxruntime.so.1.99.0");
        std::fs::write(&path, b"\x7fELF but not really").unwrap();
        for path in [path, directory.path().join("missing.so")] {
            let Err(error) = OnnxRuntime::load_from(&path) else { continue };
            let text = error.to_string();
            assert!(matches!(error, OnnxError::Load { .. } | OnnxError::Start { .. }), "{text}");
            assert!(text.contains(path.file_name().unwrap().to_str().unwrap()), "{text}");
        }
    }

    #[test]
    fn loading_twice_gives_the_same_runtime() {
        let Some(first) = runtime("loading_twice_gives_the_same_runtime") else {
            return;
        };
        let again = OnnxRuntime::load(&Search { configured: Some("/nowhere.so".into()), ..Search::default() }).unwrap();
        assert_eq!(first.info(), again.info());
        assert!(first.info().path.exists());
    }
}
