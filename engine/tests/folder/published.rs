//! A Phi-3 model in a GGUF file, written as transformers would publish it: for tests that need a folder which says something.

use ouro_engine::gguf::{Gguf, TensorType};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use serde_json::{Value, json};
use std::path::Path;

const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

fn number(file: &Gguf, key: &str) -> Value {
    let key = format!("phi3.{key}");
    file.integer(&key).map_or_else(|_| json!(file.number(&key).unwrap()), |whole| json!(whole))
}

fn config(file: &Gguf) -> Value {
    json!({
        "model_type": "phi3", "hidden_size": number(file, "embedding_length"), "num_attention_heads": number(file, "attention.head_count"),
        "num_key_value_heads": number(file, "attention.head_count_kv"), "num_hidden_layers": number(file, "block_count"),
        "intermediate_size": number(file, "feed_forward_length"), "max_position_embeddings": number(file, "context_length"),
        "rms_norm_eps": number(file, "attention.layer_norm_rms_epsilon"), "rope_theta": number(file, "rope.freq_base"), "rope_scaling": null,
        "vocab_size": file.strings("tokenizer.ggml.tokens").unwrap().unwrap().len(), "tie_word_embeddings": false,
        "eos_token_id": file.integer("tokenizer.ggml.eos_token_id").unwrap(),
    })
}

fn tokenizer(file: &Gguf) -> Value {
    let tokens = file.strings("tokenizer.ggml.tokens").unwrap().unwrap();
    let kinds = file.i32s("tokenizer.ggml.token_type").unwrap().unwrap();
    let vocabulary: serde_json::Map<String, Value> = tokens.iter().enumerate().map(|(id, text)| (text.to_string(), json!(id))).collect();
    let control = |(id, text)| json!({"id": id, "content": text, "special": true});
    let controls: Vec<Value> = tokens.iter().enumerate().filter(|(id, _)| kinds[*id] == 3).map(control).collect();
    json!({
        "added_tokens": controls,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}
        ]},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": file.strings("tokenizer.ggml.merges").unwrap().unwrap()}
    })
}

/// The file's tensors by the names that transformers gives them.
fn weights(file: &Gguf) -> Vec<u8> {
    let layers = file.integer("phi3.block_count").unwrap().unwrap();
    let of_layer = |layer| {
        [
            ("attn_norm", "input_layernorm"),
            ("attn_qkv", "self_attn.qkv_proj"),
            ("attn_output", "self_attn.o_proj"),
            ("ffn_norm", "post_attention_layernorm"),
            ("ffn_up", "mlp.gate_up_proj"),
            ("ffn_down", "mlp.down_proj"),
        ]
        .map(|(from, to)| (format!("blk.{layer}.{from}"), format!("model.layers.{layer}.{to}")))
    };
    let top = [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];
    let top = top.map(|(from, to)| (from.to_string(), to.to_string()));
    let views = (0..layers).flat_map(of_layer).chain(top).map(|(from, to)| {
        let tensor = file.tensor(&format!("{from}.weight")).unwrap();
        let dtype = if tensor.kind == TensorType::F16 { Dtype::F16 } else { Dtype::F32 };
        let shape = tensor.shape.iter().map(|&extent| usize::try_from(extent).unwrap()).collect();
        (format!("{to}.weight"), TensorView::new(dtype, shape, file.tensor_bytes(tensor)).unwrap())
    });
    serialize(views, None).unwrap()
}

/// Writes what `path` holds into `folder`.
pub(crate) fn write(path: &Path, folder: &Path) {
    let file = Gguf::open(path).unwrap();
    std::fs::write(folder.join("config.json"), config(&file).to_string()).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer(&file).to_string()).unwrap();
    std::fs::write(folder.join("model.safetensors"), weights(&file)).unwrap();
}
