"""Writes first-pass-tiny.gguf from what train.py left in its work folder.

What is true of the file:
  * Architecture `phi3`, tensor names and metadata keys as llama.cpp's converter writes them; gate and up stay fused in ffn_up
    (gate first), q, k and v in attn_qkv. Matrices F16 (or Q8_0 with --type), norms F32.
  * Tokenizer `gpt2` with pre-tokenizer `qwen2`; ids in vocabulary order; the five specials are CONTROL tokens. No beginning-of-
    sequence token is added; an answer ends with <|end|>, which is the eos token.
  * The rule by which the first pass answers (`ouroboros.first_pass.*`) comes from evaluation.json: export, evaluate, export again.
  * `general.name` must not contain phi-3: llama.cpp would then strip white space after special tokens.

Run: python export_gguf.py --work DIR [--type f16|q8_0] [--out first-pass-tiny.gguf]
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

HERE = Path(__file__).parent
SPECIALS = ["<s>", "<|end|>", "<|user|>", "<|assistant|>", "<|endoftext|>"]
CHAT_TEMPLATE = ("{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + '<|end|>\n' }}"
                 "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>\n' + message['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
                 "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}")
TYPES = {"f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16), "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0)}
TOP = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
BLOCK = {"input_layernorm": "attn_norm", "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output",
         "post_attention_layernorm": "ffn_norm", "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def tensor_name(name):
    """The llama.cpp name of a transformers Phi-3 tensor."""
    if name in TOP:
        return TOP[name]
    _, _, number, rest = name.split(".", 3)
    return f"blk.{number}.{BLOCK[rest.removesuffix('.weight')]}.weight"


def rope_base(config):
    return (config.get("rope_parameters") or config)["rope_theta"]


def write_hyperparameters(writer, config, file_type):
    writer.add_name("first-pass-tiny")
    writer.add_type("model")
    writer.add_description("A toy that answers small sums, unit conversions and capitals, and is unsure of everything else")
    writer.add_license("Apache-2.0")
    writer.add_languages(["en"])
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(rope_base(config))
    writer.add_vocab_size(config["vocab_size"])


def write_rule(writer):
    """The first pass's rule, from the last evaluation; without one the reader falls back on its default."""
    if (HERE / "evaluation.json").exists():
        decision = json.loads((HERE / "evaluation.json").read_text())["decision"]
        writer.add_string("ouroboros.first_pass.feature", {"mean": "mean_logprob", "minimum": "min_logprob"}[decision["feature"]])
        writer.add_float32("ouroboros.first_pass.threshold", decision["threshold"])


def write_tokenizer(writer, tokenizer):
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([gguf.TokenType.CONTROL if token in SPECIALS else gguf.TokenType.NORMAL for token in vocabulary])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(vocabulary.index("<s>"))
    writer.add_eos_token_id(vocabulary.index("<|end|>"))
    writer.add_eot_token_id(vocabulary.index("<|end|>"))
    writer.add_pad_token_id(vocabulary.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--type", choices=TYPES, default="f16")
    parser.add_argument("--out", type=Path, default=HERE / "first-pass-tiny.gguf")
    args = parser.parse_args()
    config = json.loads((args.work / "model" / "config.json").read_text())
    tokenizer = json.loads((args.work / "tokenizer.json").read_text())
    quantization, file_type = TYPES[args.type]

    writer = gguf.GGUFWriter(args.out, "phi3")
    write_hyperparameters(writer, config, file_type)
    write_rule(writer)
    write_tokenizer(writer, tokenizer)
    for name, tensor in load_file(args.work / "model" / "model.safetensors").items():
        tensor = tensor.astype(np.float32)
        if tensor.ndim == 1:
            writer.add_tensor(tensor_name(name), tensor)
        else:
            writer.add_tensor(tensor_name(name), gguf.quants.quantize(tensor, quantization), raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(args.out, args.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
