//! How an ONNX model's tensors relate to a container's ports: named pre- and post-processors with their parameters.
//!
//! Declared in the manifest and carried out by the worker: no container brings code for this.

use crate::id::Name;
use serde::{Deserialize, Serialize};

/// The `[tensors]` table of a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensors {
    /// How the model's input is made.
    pub input: InputTensor,
    /// What becomes of its output.
    pub output: OutputTensor,
}

/// How an input tensor is made from a port's bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum InputTensor {
    /// Text to hashed character n-gram weights, f32 [1, buckets].
    CharNgrams {
        /// The tensor's name in the model.
        name: String,
        /// The port the text comes from.
        port: Name,
        /// Whether the text is lower-cased first.
        lowercase: bool,
        /// Shortest n-gram, in Unicode scalar values.
        min_n: usize,
        /// Longest n-gram.
        max_n: usize,
        /// Number of hash buckets.
        buckets: usize,
        /// The hash over an n-gram's UTF-8 bytes; `fnv1a32`.
        hash: String,
        /// The weight of a bucket; `log1p_l2`: ln(1+count), then the vector scaled to unit length.
        weight: String,
        /// How much of the text is read.
        max_chars: usize,
    },
    /// Text to hashed word n-gram weights, f32 [1, buckets]. A word is a run of alphabetic or numeric characters and
    /// apostrophes (U+2019 is read as U+0027), without those at its ends.
    WordNgrams {
        /// The tensor's name in the model.
        name: String,
        /// The port the text comes from.
        port: Name,
        /// Whether the text is lower-cased first.
        lowercase: bool,
        /// Shortest n-gram, in words.
        min_n: usize,
        /// Longest n-gram.
        max_n: usize,
        /// Number of hash buckets.
        buckets: usize,
        /// The hash over the UTF-8 bytes of an n-gram's words, joined by one space; `fnv1a32`.
        hash: String,
        /// The weight of a bucket; `log1p_l2`: ln(1+count), then the vector scaled to unit length.
        weight: String,
        /// How many words of the text are read.
        max_words: usize,
    },
    /// A PNG image to the ink of what it shows, cropped and centred, f32 [1, 1, height, width].
    ImageGray {
        /// The tensor's name in the model.
        name: String,
        /// The port the image comes from.
        port: Name,
        /// Columns of the tensor.
        width: usize,
        /// Rows of the tensor.
        height: usize,
        /// What is ink: `auto` (darker than the border if the border is light, else lighter), `always` (dark), `never` (light).
        invert: String,
        /// How much ink, from 0 to 1, a pixel needs to count for the bounding box.
        threshold: f32,
        /// Empty space on each side of the bounding box, as a part of its longer side.
        margin: f32,
        /// The value of full ink.
        scale: f32,
    },
}

impl InputTensor {
    /// The port it reads.
    pub fn port(&self) -> &Name {
        match self {
            Self::CharNgrams { port, .. } | Self::WordNgrams { port, .. } | Self::ImageGray { port, .. } => port,
        }
    }

    /// The tensor's name in the model.
    pub fn name(&self) -> &str {
        match self {
            Self::CharNgrams { name, .. } | Self::WordNgrams { name, .. } | Self::ImageGray { name, .. } => name,
        }
    }
}

/// What an output tensor becomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OutputTensor {
    /// Probabilities, f32 [1, labels], to JSON: the best label, its name and confidence, and the next two.
    Labels {
        /// The tensor's name in the model.
        name: String,
        /// The port the JSON goes to.
        port: Name,
        /// The JSON key of the best label.
        key: String,
        /// The labels in the order of the tensor's elements.
        labels: Vec<LabelEntry>,
    },
}

impl OutputTensor {
    /// The port it writes.
    pub fn port(&self) -> &Name {
        match self {
            Self::Labels { port, .. } => port,
        }
    }
}

/// A class a model can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelEntry {
    /// For machines: `de`.
    pub id: String,
    /// For people: `German`.
    pub name: String,
}
