//! What kind of model a file holds: sizes and constants from its metadata, each within bounds that make sense.

use crate::gguf::{Gguf, GgufError, GgufProblem};

/// An architecture the decoder computes; the names are those of `general.architecture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Fused projections.
    Phi3,
    /// Separate projections; Mistral's files name it too.
    Llama,
    /// Separate projections with biases before attention.
    Qwen2,
    /// Separate projections; each head of queries and keys is normalised.
    Qwen3,
}

impl Architecture {
    const ALL: [(&'static str, Self); 5] = [
        ("phi3", Self::Phi3),
        ("llama", Self::Llama),
        ("mistral", Self::Llama),
        ("qwen2", Self::Qwen2),
        ("qwen3", Self::Qwen3),
    ];
}

/// Which dimensions of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// A dimension and the one half the rotated width further.
    Halves,
    /// Neighbours: how GGUF files lay out Llama's and Mistral's heads.
    Neighbours,
}

/// How positions beyond the trained context are encoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Positions are divided by this.
    Linear(f64),
    /// A factor for each frequency, short or long, and one for the magnitude.
    Long {
        /// The context the model was trained with before it was stretched.
        original_context: usize,
        /// Scales sines and cosines.
        magnitude: f64,
    },
}

/// The sizes and constants of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which arithmetic.
    pub architecture: Architecture,
    /// How heads are laid out for the rotation.
    pub rotation: Rotation,
    /// `general.name`.
    pub name: Option<String>,
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// How much of a head is rotated; even.
    pub rope_width: usize,
    /// Base of the rotation's frequencies.
    pub rope_base: f64,
    /// Stretching of positions.
    pub rope_scaling: RopeScaling,
    /// Added under the root of the norm.
    pub norm_epsilon: f64,
    /// The most tokens of prompt and answer.
    pub context: usize,
    /// How many tokens back a token sees; `None` for all.
    pub window: Option<usize>,
    /// Number of tokens the model knows.
    pub vocabulary: usize,
}

/// Reads the keys under an architecture's name.
struct Keys<'a> {
    file: &'a Gguf,
    prefix: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn refuse<T>(&self, name: &str, value: impl ToString, expected: String) -> Result<T, GgufError> {
        Err(self.file.error(self.key(name), GgufProblem::OutOfRange { value: value.to_string(), expected }))
    }

    fn size(&self, name: &str, most: u64) -> Result<Option<usize>, GgufError> {
        let Some(value) = self.file.integer(&self.key(name))? else {
            return Ok(None);
        };
        match usize::try_from(value) {
            Ok(size) if (1..=most).contains(&value) => Ok(Some(size)),
            _ => self.refuse(name, value, format!("it must be 1 to {most}")),
        }
    }

    fn needed(&self, name: &str, most: u64) -> Result<usize, GgufError> {
        self.size(name, most)?.ok_or_else(|| self.file.error(self.key(name), GgufProblem::Missing))
    }

    fn positive(&self, name: &str) -> Result<Option<f64>, GgufError> {
        match self.file.number(&self.key(name))? {
            Some(value) if value <= 0.0 => self.refuse(name, value, "it must be greater than 0".into()),
            value => Ok(value),
        }
    }
}

impl Config {
    /// Reads and checks the metadata of a model.
    pub fn from_gguf(file: &Gguf) -> Result<Self, GgufError> {
        let key = "general.architecture";
        let found = file.text(key)?.ok_or_else(|| file.error(key, GgufProblem::Missing))?;
        let Some((prefix, architecture)) = Architecture::ALL.into_iter().find(|(name, _)| *name == found) else {
            let supported = Architecture::ALL.map(|(name, _)| name).join(", ");
            return Err(file.error(key, GgufProblem::Architecture { found: found.to_string(), supported }));
        };
        let keys = Keys { file, prefix };
        let hidden = keys.needed("embedding_length", 1 << 17)?;
        let heads = keys.needed("attention.head_count", 1 << 12)?;
        let kv_heads = keys.size("attention.head_count_kv", 1 << 12)?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return keys.refuse("attention.head_count_kv", kv_heads, format!("it must divide the {heads} heads"));
        }
        let head_width = Self::head_width(&keys, hidden, heads)?;
        let rope_width = keys.size("rope.dimension_count", head_width as u64)?.unwrap_or(head_width);
        if !rope_width.is_multiple_of(2) {
            return keys.refuse("rope.dimension_count", rope_width, "it must be even".into());
        }
        let context = keys.needed("context_length", 1 << 24)?;
        Ok(Self {
            architecture,
            rotation: if architecture == Architecture::Llama { Rotation::Neighbours } else { Rotation::Halves },
            name: file.text("general.name")?.map(String::from),
            layers: keys.needed("block_count", 1 << 10)?,
            hidden,
            feed_forward: keys.needed("feed_forward_length", 1 << 20)?,
            heads,
            kv_heads,
            head_width,
            rope_width,
            rope_base: keys.positive("rope.freq_base")?.unwrap_or(10_000.0),
            rope_scaling: Self::rope_scaling(&keys, context)?,
            norm_epsilon: keys.positive("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            context,
            window: Self::window(&keys)?,
            vocabulary: Self::vocabulary(file)?,
        })
    }

    fn head_width(keys: &Keys<'_>, hidden: usize, heads: usize) -> Result<usize, GgufError> {
        let derived = hidden / heads;
        let width = match keys.size("attention.key_length", 1 << 12)? {
            Some(width) => width,
            None if hidden.is_multiple_of(heads) => derived,
            None => return keys.refuse("attention.head_count", heads, format!("it must divide the width of {hidden}")),
        };
        match keys.size("attention.value_length", 1 << 12)? {
            Some(value_width) if value_width != width => {
                keys.refuse("attention.value_length", value_width, format!("keys and values must both be {width} wide"))
            }
            _ => Ok(width),
        }
    }

    /// A file may say 0 for no window.
    fn window(keys: &Keys<'_>) -> Result<Option<usize>, GgufError> {
        let window = keys.file.integer(&keys.key("attention.sliding_window"))?;
        Ok(window.filter(|&window| window > 0).and_then(|window| usize::try_from(window).ok()))
    }

    fn rope_scaling(keys: &Keys<'_>, context: usize) -> Result<RopeScaling, GgufError> {
        let kind = keys.file.text(&keys.key("rope.scaling.type"))?.unwrap_or("none");
        if keys.file.tensor("rope_factors_long.weight").is_some() || kind == "longrope" {
            let original_context = keys.size("rope.scaling.original_context_length", 1 << 24)?.unwrap_or(context);
            // Phi-3's own formula, for files that carry no factor.
            let stretch = context as f64 / original_context as f64;
            let own = if stretch > 1.0 { (1.0 + stretch.ln() / (original_context as f64).ln()).sqrt() } else { 1.0 };
            let magnitude = keys.positive("rope.scaling.attn_factor")?.unwrap_or(own);
            return Ok(RopeScaling::Long { original_context, magnitude });
        }
        match kind {
            "none" => Ok(RopeScaling::None),
            "linear" => Ok(keys.positive("rope.scaling.factor")?.map_or(RopeScaling::None, RopeScaling::Linear)),
            other => keys.refuse("rope.scaling.type", other, "only none, linear and longrope are supported".into()),
        }
    }

    fn vocabulary(file: &Gguf) -> Result<usize, GgufError> {
        let name = "token_embd.weight";
        let tensor = file.tensor(name).ok_or_else(|| file.error(format!("tensor {name:?}"), GgufProblem::Missing))?;
        let rows = tensor.shape.first().copied().unwrap_or_default();
        match usize::try_from(rows) {
            Ok(rows) if (1..=1 << 24).contains(&rows) => Ok(rows),
            _ => Err(file.error(format!("tensor {name:?}"), GgufProblem::Shape(tensor.shape.clone()))),
        }
    }

    /// Bytes of cache for each token of context.
    pub fn cache_bytes_per_token(&self) -> u64 {
        (self.layers * self.kv_heads * self.head_width * 2 * size_of::<u16>()) as u64
    }
}
