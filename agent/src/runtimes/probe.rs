//! Which runtimes work on this machine, and what it achieves: found out in a worker, since a library can crash its process.

use super::onnx;
use crate::sensing::{bandwidth, speeds};
use crate::workers::protocol::{ProbeOrder, Word};
use ouro_common::device::RuntimeAvailability;
use ouro_engine::onnx::OnnxRuntime;

/// Carries out a probe.
pub fn probe(order: &ProbeOrder) -> Word {
    let says = |runtime: &str, available, detail: String| RuntimeAvailability { runtime: runtime.into(), available, detail };
    let onnx = match OnnxRuntime::load(&onnx::search(order.onnxruntime.clone())) {
        Ok(runtime) => {
            let info = runtime.info();
            says("onnx", true, format!("ONNX Runtime {} ({})", info.version, info.path.display()))
        }
        Err(error) => says("onnx", false, error.to_string()),
    };
    let runtimes = vec![
        says("builtin", true, format!("ouro-agent {}", env!("CARGO_PKG_VERSION"))),
        says("gguf", true, format!("ouro-engine {}", env!("CARGO_PKG_VERSION"))),
        onnx,
    ];
    let measured = if order.measure { bandwidth::measure() } else { None };
    let speeds = order.disk.as_deref().map(speeds::measure);
    Word::Probed { runtimes, measured, speeds }
}
