//! The container manifest: written as TOML, stored as JSON, validated as a whole before anything believes it.

use super::{LoadHints, MediaType, OciProcess, Tensors};
use crate::id::{ContainerRef, Digest, Name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// More memory than any machine has, bytes: 64 TiB.
const MOST_BYTES: u64 = 1 << 46;
/// More operations than a step can have: the fastest machines of today take years for them.
const MOST_OPERATIONS: f64 = 1e26;
/// The longest start that is believed, seconds: a day.
const MOST_INIT_S: f64 = 86_400.0;

/// A manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("manifest: {field}: {problem}")]
pub struct ManifestError {
    /// The field that is wrong.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What runs a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// An ONNX model in a worker.
    Onnx,
    /// A GGUF language model in a worker.
    Gguf,
    /// An OCI image, run by the installed OCI runtime.
    Oci,
    /// Code of the worker itself.
    Builtin,
}

impl Runtime {
    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Gguf => "gguf",
            Self::Oci => "oci",
            Self::Builtin => "builtin",
        }
    }
}

/// A named input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The port's name.
    pub port: Name,
    /// What it takes or gives.
    pub media: MediaType,
    /// The most bytes it takes or gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Whether any number of tags may be bound to it (`compose`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub many: bool,
}

/// A kind of processor a container can run on, like `cpu` or `cuda>=8.0`.
pub type Accel = String;

/// What a node must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Any of these processors.
    #[serde(default = "cpu_only")]
    pub accelerators: Vec<Accel>,
    /// Memory while it runs, bytes.
    #[serde(default)]
    pub memory_bytes: u64,
}

fn cpu_only() -> Vec<Accel> {
    vec!["cpu".into()]
}

impl Default for Needs {
    fn default() -> Self {
        Self { accelerators: cpu_only(), memory_bytes: 0 }
    }
}

/// What a step costs, until history is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Bytes of weights that a plug reads.
    #[serde(default)]
    pub weights_bytes: u64,
    /// Operations for each byte of input.
    #[serde(default)]
    pub flops_per_input_byte: f64,
    /// Operations however short the input is.
    #[serde(default)]
    pub flops_fixed: f64,
    /// Time to start beyond reading the weights, seconds.
    #[serde(default)]
    pub init_s: f64,
    /// `gguf` only: parameters used for each token.
    #[serde(default)]
    pub active_params: f64,
    /// `gguf` only: cache bytes for each token.
    #[serde(default)]
    pub kv_bytes_per_token: f64,
    /// `gguf` only: expected tokens of output.
    #[serde(default)]
    pub output_tokens: f64,
    /// Expected bytes of output.
    #[serde(default)]
    pub output_bytes: u64,
}

/// A container's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name the fleet knows it by.
    pub name: Name,
    /// Its semantic version.
    pub version: semver::Version,
    /// What it does, in a sentence the interpreter reads.
    pub summary: String,
    /// Words and phrases by which people ask for it, for the rule planner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// What runs it.
    pub runtime: Runtime,
    /// What it takes.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
    /// JSON schema of a step's parameters.
    #[serde(default = "empty_object")]
    pub params: serde_json::Value,
    /// `onnx` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Tensors>,
    /// `oci` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciProcess>,
    /// The model file's name beside the manifest (`onnx`, `gguf`), if it is not `NAME.onnx` or `NAME.gguf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What a node must have.
    #[serde(default)]
    pub needs: Needs,
    /// What a step costs.
    #[serde(default)]
    pub cost: Cost,
    /// When it leaves memory, where the node does not say.
    #[serde(default, skip_serializing_if = "LoadHints::is_empty")]
    pub load: LoadHints,
}

fn empty_object() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

impl Manifest {
    /// The largest manifest that is read, in bytes.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// Reads the TOML form and validates it.
    pub fn from_toml(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self =
            toml::from_str(text).map_err(|e| ManifestError { field: "container.toml".into(), problem: e.message().to_string() })?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// Reads the JSON form and validates it.
    ///
    /// # Errors
    /// What is wrong, by field.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|e| ManifestError { field: "container manifest".into(), problem: e.to_string() })?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// `name:version`.
    pub fn reference(&self) -> ContainerRef {
        ContainerRef { name: self.name.clone(), version: self.version.clone() }
    }

    /// The model file's name beside the manifest: `model`, or the container's name with the runtime as extension.
    pub fn model_file(&self) -> String {
        self.model.clone().unwrap_or_else(|| format!("{}.{}", self.name, self.runtime.name()))
    }

    /// The bytes its identity is taken over: JSON, fields in the order of the type.
    pub fn canonical_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The input port of that name.
    pub fn input(&self, port: &Name) -> Option<&Port> {
        self.inputs.iter().find(|p| &p.port == port)
    }

    /// The output port of that name.
    pub fn output(&self, port: &Name) -> Option<&Port> {
        self.outputs.iter().find(|p| &p.port == port)
    }

    /// Checks what serde cannot: names, ports, tensors, and figures that make no sense.
    pub fn validate(&self) -> Result<(), ManifestError> {
        let err = |field: &str, problem: String| Err(ManifestError { field: field.into(), problem });
        if self.summary.trim().is_empty() || self.summary.len() > 500 {
            return err("summary", "it must have 1 to 500 characters".into());
        }
        if self.outputs.is_empty() {
            return err("outputs", "a container without an output can serve nothing".into());
        }
        for (field, ports) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            let mut seen = BTreeSet::new();
            for port in ports {
                if !seen.insert(&port.port) {
                    return err(field, format!("the port {} is declared twice", port.port));
                }
            }
        }
        if let Some(port) = self.outputs.iter().find(|p| !p.media.is_concrete() || p.many) {
            return err("outputs", format!("the port {} must give exactly one media type", port.port));
        }
        if let Some(model) = &self.model
            && (model.contains('/') || model.starts_with('.') || model.is_empty())
        {
            return err("model", format!("{model:?} must be a plain file name beside container.toml"));
        }
        self.validate_figures()?;
        self.validate_runtime()
    }

    /// Figures beyond any machine, and lists beyond any use: they would only confuse what compares nodes with them.
    fn validate_figures(&self) -> Result<(), ManifestError> {
        let err = |field: &str, problem: String| Err(ManifestError { field: field.into(), problem });
        let (needs, cost) = (&self.needs, &self.cost);
        if needs.accelerators.is_empty() {
            return err("needs.accelerators", "name at least one, like \"cpu\"".into());
        }
        if needs.accelerators.len() > 32 || needs.accelerators.iter().any(|a| a.is_empty() || a.len() > 64) {
            return err("needs.accelerators", "at most 32 of 1 to 64 characters are allowed".into());
        }
        for (field, ports) in [("inputs", self.inputs.len()), ("outputs", self.outputs.len())] {
            if ports > 64 {
                return err(field, format!("{ports} ports are too many, at most 64 are allowed"));
            }
        }
        if self.keywords.len() > 500 || self.keywords.iter().any(|k| k.len() > 200) {
            return err("keywords", "at most 500 of up to 200 bytes are allowed".into());
        }
        for (field, bytes) in [
            ("needs.memory_bytes", needs.memory_bytes),
            ("cost.weights_bytes", cost.weights_bytes),
            ("cost.output_bytes", cost.output_bytes),
        ] {
            if bytes > MOST_BYTES {
                return err(field, format!("{bytes} bytes is absurd, at most {MOST_BYTES} are believed"));
            }
        }
        for (field, value, most) in [
            ("cost.flops_per_input_byte", cost.flops_per_input_byte, MOST_OPERATIONS),
            ("cost.flops_fixed", cost.flops_fixed, MOST_OPERATIONS),
            ("cost.init_s", cost.init_s, MOST_INIT_S),
            ("cost.active_params", cost.active_params, MOST_OPERATIONS),
            ("cost.kv_bytes_per_token", cost.kv_bytes_per_token, MOST_BYTES as f64),
            ("cost.output_tokens", cost.output_tokens, MOST_BYTES as f64),
        ] {
            if !(0.0..=most).contains(&value) {
                return err(field, format!("{value} is not a quantity between 0 and {most:e}"));
            }
        }
        Ok(())
    }

    fn validate_runtime(&self) -> Result<(), ManifestError> {
        let err = |field: &str, problem: String| Err(ManifestError { field: field.into(), problem });
        match (self.runtime, &self.tensors) {
            (Runtime::Onnx, None) => return err("tensors", "an onnx container must say how its ports become tensors".into()),
            (Runtime::Gguf | Runtime::Oci | Runtime::Builtin, Some(_)) => {
                return err("tensors", format!("only an onnx container has tensors, this one is {}", self.runtime.name()));
            }
            _ => {}
        }
        match (self.runtime, &self.oci) {
            (Runtime::Oci, None) => return err("oci", "an oci container must say what to run, in [oci] args".into()),
            // Without a figure the kernel could not be told where to stop it.
            (Runtime::Oci, Some(_)) if self.needs.memory_bytes == 0 => {
                return err("needs.memory_bytes", "an oci container must say how much memory it may take".into());
            }
            (Runtime::Oci, Some(oci)) => oci.validate()?,
            (_, Some(_)) => return err("oci", format!("only an oci container has it, this one is {}", self.runtime.name())),
            (_, None) => {}
        }
        if let Some(tensors) = &self.tensors {
            if self.input(tensors.input.port()).is_none() {
                return err("tensors.input.port", format!("there is no input port {}", tensors.input.port()));
            }
            if self.output(tensors.output.port()).is_none() {
                return err("tensors.output.port", format!("there is no output port {}", tensors.output.port()));
            }
        }
        Ok(())
    }
}

/// A container as the fleet knows it: its manifest and its identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// The sha256 that names it.
    pub digest: Digest,
    /// What it says about itself.
    pub manifest: Manifest,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANGID: &str = r#"
        name = "langid"
        version = "1.2.0"
        summary = "Tells which language a text is written in"
        runtime = "builtin"
        inputs = [{ port = "text", media = "text/plain", max_bytes = 1048576 }]
        outputs = [{ port = "language", media = "application/json" }]
    "#;

    #[test]
    fn a_manifest_reads_and_keeps_its_identity_through_json() {
        let manifest = Manifest::from_toml(LANGID).unwrap();
        assert_eq!(manifest.reference().to_string(), "langid:1.2.0");
        let again: Manifest = serde_json::from_slice(&manifest.canonical_json()).unwrap();
        assert_eq!(again, manifest);
        assert_eq!(again.canonical_json(), manifest.canonical_json());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (LANGID.replace("builtin", "onnx"), "tensors"),
            (LANGID.replace("application/json", "*/*"), "outputs"),
            (LANGID.replace("Tells which language a text is written in", " "), "summary"),
            (format!("{LANGID}\nmodel = \"../x\""), "model"),
            (format!("{LANGID}\n[needs]\nmemory_bytes = 90071992547409"), "needs.memory_bytes"),
            (format!("{LANGID}\n[cost]\nflops_fixed = nan"), "cost.flops_fixed"),
            (format!("{LANGID}\n[cost]\nflops_fixed = 1e27"), "cost.flops_fixed"),
            (format!("{LANGID}\n[cost]\nweights_bytes = 90071992547409"), "cost.weights_bytes"),
            (format!("{LANGID}\n[needs]\naccelerators = [{}]", "\"cpu\",".repeat(33)), "needs.accelerators"),
            (format!("keywords = [{}]\n{LANGID}", "\"k\",".repeat(501)), "keywords"),
            (format!("{LANGID}\nsurprise = 1"), "container.toml"),
        ];
        for (text, field) in cases {
            assert_eq!(Manifest::from_toml(&text).unwrap_err().field, field, "{text}");
        }
    }
}
