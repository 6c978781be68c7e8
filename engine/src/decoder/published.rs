//! What the `config.json` of a folder says of a model, and how its tensors are called there.
//!
//! The keys are those of transformers' configuration classes, as versions 4 and 5 write them. What would be computed wrongly in
//! silence is refused: stretched rotations that this build does not know, layers of different kinds, other activations.

use super::config::{Architecture, Config, RopeScaling, Rotation};
use crate::safetensors::{Checkpoint, CheckpointError, CheckpointProblem, Document};
use std::collections::BTreeMap;
use std::f64::consts::TAU;

const ARCHITECTURES: [(&str, Architecture); 5] = [
    ("phi3", Architecture::Phi3),
    ("llama", Architecture::Llama),
    ("mistral", Architecture::Llama),
    ("qwen2", Architecture::Qwen2),
    ("qwen3", Architecture::Qwen3),
];

/// A model of a folder, without its weights.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) config: Config,
    /// Whether the embedding is also the output projection.
    tied: bool,
    /// What GGUF files carry as tensors and this one as numbers.
    factors: BTreeMap<&'static str, Vec<f32>>,
}

/// How positions become angles.
struct Rope {
    width: usize,
    base: f64,
    scaling: RopeScaling,
    factors: BTreeMap<&'static str, Vec<f32>>,
}

impl Published {
    /// Reads and checks a folder's configuration.
    pub(super) fn read(checkpoint: &Checkpoint) -> Result<Self, CheckpointError> {
        let config = checkpoint.config();
        let found = config.text("model_type")?.ok_or_else(|| config.error("model_type", CheckpointProblem::Missing))?;
        let Some((name, architecture)) = ARCHITECTURES.into_iter().find(|(name, _)| *name == found) else {
            let supported = ARCHITECTURES.map(|(name, _)| name).join(", ");
            return Err(config.error("model_type", CheckpointProblem::Architecture { found: found.to_string(), supported }));
        };
        refuse_others(config)?;
        let hidden = config.needed("hidden_size", 1 << 17)?;
        let heads = config.needed("num_attention_heads", 1 << 12)?;
        let kv_heads = config.size("num_key_value_heads", 1 << 12)?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return config.refuse("num_key_value_heads", kv_heads, format!("it must divide the {heads} heads"));
        }
        let head_width = match config.size("head_dim", 1 << 12)? {
            Some(width) => width,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => return config.refuse("num_attention_heads", heads, format!("it must divide the width of {hidden}")),
        };
        let context = config.needed("max_position_embeddings", 1 << 24)?;
        let rope = Rope::read(config, head_width, context)?;
        let folder = checkpoint.folder().file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Self {
            config: Config {
                architecture,
                rotation: Rotation::Halves,
                name: folder,
                layers: config.needed("num_hidden_layers", 1 << 10)?,
                hidden,
                feed_forward: config.needed("intermediate_size", 1 << 20)?,
                heads,
                kv_heads,
                head_width,
                rope_width: rope.width,
                rope_base: rope.base,
                rope_scaling: rope.scaling,
                norm_epsilon: config.positive("rms_norm_eps")?.unwrap_or(1e-6),
                context,
                window: window(config, name)?,
                vocabulary: config.needed("vocab_size", 1 << 24)?,
            },
            tied: config.boolean("tie_word_embeddings")?.unwrap_or(false),
            factors: rope.factors,
        })
    }

    /// Whether a model with this tensor, by its name in GGUF files, has it in this folder.
    pub(super) fn has(&self, name: &str, checkpoint: &Checkpoint) -> bool {
        // Where nothing is tied the output projection is needed, so that its absence is told.
        if name == "output.weight" {
            !self.tied
        } else {
            self.factors.contains_key(name) || checkpoint.has(&published_name(name))
        }
    }

    /// The numbers that GGUF files carry under this name.
    pub(super) fn factors(&self, name: &str) -> Option<&Vec<f32>> {
        self.factors.get(name)
    }
}

/// What this build would compute wrongly.
fn refuse_others(config: &Document) -> Result<(), CheckpointError> {
    let activation = config.text("hidden_act")?.unwrap_or("silu");
    if !matches!(activation, "silu" | "swish") {
        return config.refuse("hidden_act", activation, "only silu is supported");
    }
    match config.get("quantization_config") {
        Some(_) => config.refuse("quantization_config", "a quantised model", "in folders F32, F16 and BF16 are supported"),
        None => Ok(()),
    }
}

/// How many tokens back a token sees. Layers must be alike.
fn window(config: &Document, architecture: &str) -> Result<Option<usize>, CheckpointError> {
    let asked = match architecture {
        "llama" => false,
        "qwen2" | "qwen3" => config.boolean("use_sliding_window")?.unwrap_or(false),
        _ => true,
    };
    let kinds = config.get("layer_types").and_then(|kinds| kinds.as_array()).map_or(&[][..], |kinds| &kinds[..]);
    let sliding = kinds.iter().filter(|kind| *kind == "sliding_attention").count();
    if sliding > 0 && sliding < kinds.len() {
        return config.refuse("layer_types", "a mixture", "all layers must see equally far");
    }
    if !asked || (sliding == 0 && !kinds.is_empty()) {
        return Ok(None);
    }
    config.size("sliding_window", 1 << 24)
}

impl Rope {
    fn read(config: &Document, head_width: usize, context: usize) -> Result<Self, CheckpointError> {
        let section = match config.section("rope_parameters")? {
            Some(section) => section,
            None => config.section("rope_scaling")?.unwrap_or_else(|| config.clone()),
        };
        let positive = |key: &str| Ok(section.positive(key)?.or(config.positive(key)?));
        let base = positive("rope_theta")?.unwrap_or(10_000.0);
        let share = positive("partial_rotary_factor")?.unwrap_or(1.0).min(1.0);
        let width = (head_width as f64 * share) as usize;
        if width == 0 || !width.is_multiple_of(2) {
            return config.refuse(
                "partial_rotary_factor",
                share,
                format!("it must leave an even part of heads that are {head_width} wide"),
            );
        }
        let kind = match section.text("rope_type")? {
            Some(kind) => kind,
            None => section.text("type")?.unwrap_or("default"),
        };
        let mut rope = Self { width, base, scaling: RopeScaling::None, factors: BTreeMap::new() };
        match kind {
            "default" => {}
            "linear" => rope.scaling = RopeScaling::Linear(needed(&section, "factor")?),
            "llama3" => _ = rope.factors.insert("rope_freqs.weight", rope.llama3(&section)?),
            "longrope" | "su" => rope.long(&section, config, context)?,
            other => return section.refuse("rope_type", other, "only default, linear, llama3 and longrope are supported"),
        }
        Ok(rope)
    }

    /// LongRoPE: a factor for each frequency, short or long, and one for the magnitude, which Phi-3's formula gives where the
    /// configuration does not.
    fn long(&mut self, section: &Document, config: &Document, context: usize) -> Result<(), CheckpointError> {
        let key = "original_max_position_embeddings";
        let original_context = section.size(key, 1 << 24)?.or(config.size(key, 1 << 24)?).unwrap_or(context);
        let stretch = context as f64 / original_context as f64;
        let own = if stretch > 1.0 { (1.0 + stretch.ln() / (original_context as f64).ln()).sqrt() } else { 1.0 };
        let magnitude = section.positive("attention_factor")?.unwrap_or(own);
        self.scaling = RopeScaling::Long { original_context, magnitude };
        for (key, name) in [("short_factor", "rope_factors_short.weight"), ("long_factor", "rope_factors_long.weight")] {
            let factors = section.positives(key)?.ok_or_else(|| section.error(key, CheckpointProblem::Missing))?;
            if factors.len() != self.width / 2 {
                return section.refuse(key, format!("{} numbers", factors.len()), format!("{} are needed", self.width / 2));
            }
            self.factors.insert(name, factors);
        }
        Ok(())
    }

    /// What Llama 3 divides its frequencies by: the slow ones by the factor, the fast ones by one, between them smoothly.
    fn llama3(&self, section: &Document) -> Result<Vec<f32>, CheckpointError> {
        let [factor, low, high] = [needed(section, "factor")?, needed(section, "low_freq_factor")?, needed(section, "high_freq_factor")?];
        let original = needed(section, "original_max_position_embeddings")?;
        if high <= low {
            return section.refuse("high_freq_factor", high, "it must be greater than low_freq_factor");
        }
        let divisor = |index: usize| {
            let frequency = self.base.powf(-2.0 * index as f64 / self.width as f64);
            let turns = original * frequency / TAU;
            let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
        };
        Ok((0..self.width / 2).map(divisor).collect())
    }
}

fn needed(section: &Document, key: &str) -> Result<f64, CheckpointError> {
    section.positive(key)?.ok_or_else(|| section.error(key, CheckpointProblem::Missing))
}

/// What transformers calls the tensor that GGUF files call so.
pub(super) fn published_name(name: &str) -> String {
    let part = |part: &str| match part {
        "attn_norm" => "input_layernorm".to_string(),
        "ffn_norm" => "post_attention_layernorm".into(),
        "attn_qkv" => "self_attn.qkv_proj".into(),
        "attn_q" => "self_attn.q_proj".into(),
        "attn_k" => "self_attn.k_proj".into(),
        "attn_v" => "self_attn.v_proj".into(),
        "attn_q_norm" => "self_attn.q_norm".into(),
        "attn_k_norm" => "self_attn.k_norm".into(),
        "attn_output" => "self_attn.o_proj".into(),
        "ffn_gate" => "mlp.gate_proj".into(),
        "ffn_up" => "mlp.up_proj".into(),
        "ffn_gate_up" => "mlp.gate_up_proj".into(),
        "ffn_down" => "mlp.down_proj".into(),
        "token_embd" => "model.embed_tokens".into(),
        "output_norm" => "model.norm".into(),
        "output" => "lm_head".into(),
        other => other.to_string(),
    };
    match name.split('.').collect::<Vec<_>>()[..] {
        ["blk", layer, of_block, last] => format!("model.layers.{layer}.{}.{last}", part(of_block)),
        [top, last] => format!("{}.{last}", part(top)),
        _ => name.to_string(),
    }
}
