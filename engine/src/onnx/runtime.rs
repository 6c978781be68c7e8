//! The loaded ONNX Runtime: once a process, because the library allows one environment and `ort` panics without any.

use super::library::Examined;
use super::{LibraryProblem, OnnxError, Search};
use ort::environment::Environment;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Which library was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// Its path, links resolved.
    pub path: PathBuf,
    /// The version it gives for itself, like `1.24.2`.
    pub version: String,
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

/// How far this process is.
enum State {
    Untouched,
    Loaded(OnnxRuntime),
    /// `ort` was handed a library and failed. It must not be asked again: after a failure it takes its library for loaded
    /// and calls into nothing (ort 2.0.0-rc.14, `OnceLock::try_init_inner`).
    Spoilt,
}

static STATE: Mutex<State> = Mutex::new(State::Untouched);

impl OnnxRuntime {
    /// Loads the first library that works; a second call gives what the first one loaded, wherever it looks.
    pub fn load(search: &Search) -> Result<Self, OnnxError> {
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Loaded(runtime) = &*state {
            return Ok(runtime.clone());
        }
        let mut refusal = None;
        for path in search.candidates()? {
            match Examined::open(&path) {
                Ok(_) if matches!(*state, State::Spoilt) => {
                    return Err(OnnxError::Load { path, problem: LibraryProblem::Spoilt });
                }
                Ok(library) => {
                    *state = State::Spoilt;
                    let runtime = Self::start(&library)?;
                    *state = State::Loaded(runtime.clone());
                    return Ok(runtime);
                }
                // The best candidate's problem is the one to mend.
                Err(problem) => _ = refusal.get_or_insert(OnnxError::Load { path, problem }),
            }
        }
        Err(refusal.unwrap_or(OnnxError::NotFound { searched_in: search.directories.clone() }))
    }

    /// Hands an examined library to `ort`.
    fn start(library: &Examined) -> Result<Self, OnnxError> {
        let info = RuntimeInfo { path: library.path().to_path_buf(), version: library.version().to_string() };
        let at = || info.path.clone();
        let builder = ort::init_from(&info.path).map_err(|e| OnnxError::Load { path: at(), problem: LibraryProblem::Refused(e) })?;
        // The library would write to stderr; what matters comes back as an error.
        let quiet = Arc::new(|_: ort::logging::LogLevel, _: &str, _: &str, _: &str, _: &str| {});
        let environment = builder.with_name("ouroboros").with_telemetry(false).with_logger(quiet).build();
        let environment = environment.map_err(|problem| OnnxError::Start { path: at(), problem })?;
        Ok(Self { info, environment })
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
    use std::path::Path;
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
    fn loading_twice_gives_the_same_runtime() {
        let Some(first) = runtime("loading_twice_gives_the_same_runtime") else {
            return;
        };
        let again = OnnxRuntime::load(&Search { configured: Some("/nowhere.so".into()), ..Search::default() }).unwrap();
        assert_eq!(first.info(), again.info());
        assert!(first.info().path.exists() && first.info().version.starts_with("1."));
    }
}
