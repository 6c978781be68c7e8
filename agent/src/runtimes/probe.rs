//! Which runtimes work on this machine, and what it achieves: found out in a worker, since a library can crash its process, or hang.

use super::onnx;
use crate::sensing::{bandwidth, speeds};
use crate::workers::protocol::{ProbeOrder, Word};
use ouro_common::device::RuntimeAvailability;
use ouro_engine::onnx::OnnxRuntime;
use std::io;

/// Carries out a probe; what is found is told at once, what can do harm comes last.
///
/// # Errors
/// What the pipe said.
pub fn probe(order: &ProbeOrder, tell: &mut dyn FnMut(Word) -> io::Result<()>) -> io::Result<()> {
    let says = |runtime: &str, available, detail: String| Word::Works {
        runtime: RuntimeAvailability { runtime: runtime.into(), available, detail, pending: false },
    };
    if order.runtimes {
        tell(says("builtin", true, format!("ouro-agent {}", env!("CARGO_PKG_VERSION"))))?;
        tell(says("gguf", true, format!("ouro-engine {}", env!("CARGO_PKG_VERSION"))))?;
    }
    if let Some(folder) = &order.measure {
        if let Some(achieved) = bandwidth::measure() {
            tell(Word::Measured { achieved })?;
        }
        tell(Word::Speeds { speeds: speeds::measure(folder) })?;
    }
    if order.runtimes {
        tell(match OnnxRuntime::load(&onnx::search(order.onnxruntime.clone())) {
            Ok(runtime) => {
                let info = runtime.info();
                says("onnx", true, format!("ONNX Runtime {} ({})", info.version, info.path.display()))
            }
            Err(error) => says("onnx", false, error.to_string()),
        })?;
    }
    Ok(())
}
