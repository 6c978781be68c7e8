//! A folder with a tiny random Llama and a byte-level tokenizer, for tests; nothing outside tests makes models.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The files of a folder by name.
pub(crate) type Files = BTreeMap<&'static str, Vec<u8>>;

const HIDDEN: usize = 16;
const VOCABULARY: usize = 260;

/// The configuration as transformers writes it.
pub(crate) fn config() -> Value {
    json!({
        "model_type": "llama", "hidden_size": HIDDEN, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 1,
        "intermediate_size": 8, "max_position_embeddings": 64, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "tie_word_embeddings": false, "eos_token_id": [257]
    })
}

/// All bytes, a merge, and two control tokens.
pub(crate) fn tokenizer() -> Value {
    let mut vocabulary: serde_json::Map<String, Value> =
        (0..=255_u8).map(|byte| (crate::tokens::byte_character(byte).to_string(), json!(byte))).collect();
    vocabulary.insert("he".into(), json!(256));
    json!({
        "added_tokens": [
            {"id": 257, "content": "</s>", "special": true}, {"id": 258, "content": "<s>", "special": true},
            {"id": 259, "content": "<tool>", "special": false}
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": " ?[a-z]+|[^a-z]"}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}
        ]},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]},
        "model": {"type": "BPE", "dropout": 0.5, "vocab": vocabulary, "merges": [["h", "e"]]}
    })
}

/// Random tensors of the configuration's shapes, in one type each file.
pub(crate) fn tensors(names: &[(&str, &[usize])], dtype: Dtype) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let wide = if dtype == Dtype::F32 { 4 } else { 2 };
    let data: Vec<(&str, &[usize], Vec<u8>)> = names
        .iter()
        .map(|(name, shape)| {
            let number = |_| {
                // The upper half of a single is the same number as a bfloat16.
                let bytes = random.random_range(-0.4..0.4_f32).to_le_bytes();
                if wide == 4 { bytes.to_vec() } else { bytes[2..].to_vec() }
            };
            (*name, *shape, (0..shape.iter().product()).flat_map(number).collect())
        })
        .collect();
    let view = |(name, shape, bytes): &(&str, &[usize], Vec<u8>)| (name.to_string(), dtype, shape.to_vec(), bytes.clone());
    let owned: Vec<_> = data.iter().map(view).collect();
    let views = owned.iter().map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    serialize(views, None).unwrap()
}

/// The tensors that the configuration needs.
pub(crate) const SHAPES: [(&str, &[usize]); 12] = [
    ("model.embed_tokens.weight", &[VOCABULARY, HIDDEN]),
    ("lm_head.weight", &[VOCABULARY, HIDDEN]),
    ("model.norm.weight", &[HIDDEN]),
    ("model.layers.0.input_layernorm.weight", &[HIDDEN]),
    ("model.layers.0.post_attention_layernorm.weight", &[HIDDEN]),
    ("model.layers.0.self_attn.q_proj.weight", &[16, HIDDEN]),
    ("model.layers.0.self_attn.k_proj.weight", &[8, HIDDEN]),
    ("model.layers.0.self_attn.v_proj.weight", &[8, HIDDEN]),
    ("model.layers.0.self_attn.o_proj.weight", &[HIDDEN, 16]),
    ("model.layers.0.mlp.gate_proj.weight", &[8, HIDDEN]),
    ("model.layers.0.mlp.up_proj.weight", &[8, HIDDEN]),
    ("model.layers.0.mlp.down_proj.weight", &[HIDDEN, 8]),
];

/// A folder in two files with an index.
pub(crate) fn files() -> Files {
    let (first, second) = SHAPES.split_at(5);
    let place = |file: &'static str| move |(name, _): &(&str, &[usize])| (name.to_string(), json!(file));
    let map: serde_json::Map<String, Value> =
        first.iter().map(place("a.safetensors")).chain(second.iter().map(place("b.safetensors"))).collect();
    let text = |value: Value| value.to_string().into_bytes();
    Files::from([
        ("config.json", text(config())),
        ("tokenizer.json", text(tokenizer())),
        ("model.safetensors.index.json", text(json!({"metadata": {"total_size": 0}, "weight_map": map}))),
        ("a.safetensors", tensors(first, Dtype::F32)),
        ("b.safetensors", tensors(second, Dtype::BF16)),
    ])
}

/// Writes files into a folder of their own.
pub(crate) fn write(files: &Files) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}
