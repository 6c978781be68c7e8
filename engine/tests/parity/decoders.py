"""Writes decoders.json: what transformers computes with small random models, for the engine's parity test (decoders.rs).

What is true of each case:
  * A model is a file as gguf-py or transformers writes it. Only what stands before the tensors' data is kept; the data follow a
    recipe (`tensor_bytes`) that the test repeats, and the sha256 of the whole file says that both made the same bytes.
  * The reference dequantises the same bytes (gguf-py's dequantize) into a transformers model and computes in f32, attention
    `eager`, all of `ids` at once. So the only differences to the engine are its arithmetic: activations of quantised matrices in
    8 bits, keys and values in halves.
  * `logits` are those after each of `ids`, row by row, f32, base64.

Needs what models/first-pass-tiny/requirements.txt lists. Run: python decoders.py        about a minute; tests need nothing of it
"""

import base64
import hashlib
import json
import math
import struct
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers

HERE = Path(__file__).parent
K = gguf.GGMLQuantizationType
VOCABULARY, LAYERS, CONTEXT = 48, 2, 128
IDS = [(7 * i * i + 3 * i + 5) % VOCABULARY for i in range(40)]
# Where in a block half-precision scales stand, and their exponents above the first one's.
SCALES = {K.Q8_0: [(0, 0)], K.Q4_0: [(0, 0)], K.Q4_K: [(0, 0), (2, 3)], K.Q5_K: [(0, 0), (2, 4)], K.Q6_K: [(208, 0)]}
# Exponent of the first scale that makes rows of 64 about 1 long.
EXPONENTS = {K.F32: -3, K.F16: -3, K.BF16: -3, K.Q8_0: -10, K.Q4_0: -6, K.Q4_K: -12, K.Q5_K: -13, K.Q6_K: -14}


def stream(label, count):
    parts = (hashlib.sha256(f"{label} {number}".encode()).digest() for number in range(math.ceil(count / 32)))
    return np.frombuffer(b"".join(parts)[:count], np.uint8)


def half(word, exponent):
    """The bits of halves in [2^exponent, 2^(exponent + 1)); -15 is below the normal ones."""
    return (word & 0x3FF) | (15 + exponent << 10) if exponent >= -14 else (word & 0x1FF) | 0x200


def tensor_bytes(label, kind, elements, exponent):
    """`exponent` None: positive numbers around 1; else random signs and blocks of about this size."""
    if kind == K.F32:
        word = stream(label, 4 * elements).view("<u4")
        if exponent is None:
            return ((word & 0x007FFFFF) | (126 + (word >> 23 & 1) << 23)).astype("<u4").tobytes()
        return ((word & 0x807FFFFF) | (127 + exponent - (word >> 23 & 3) << 23)).astype("<u4").tobytes()
    if kind in (K.F16, K.BF16):
        bits, bias = (10, 15) if kind == K.F16 else (7, 127)
        word = stream(label, 2 * elements).view("<u2").astype(np.uint32)
        low = word & 0x8000 | word & ((1 << bits) - 1)
        spread = bias + exponent - (word >> bits & 3) if exponent is not None else bias - 1 + (word >> bits & 1)
        return ((low if exponent is not None else low & 0x7FFF) | spread << bits).astype("<u2").tobytes()
    values, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = stream(label, elements // values * size).reshape(-1, size).copy()
    for at, above in SCALES[kind]:
        word = half(blocks[:, at].astype(np.uint32) | blocks[:, at + 1].astype(np.uint32) << 8, exponent + above)
        blocks[:, at], blocks[:, at + 1] = word & 255, word >> 8
    return blocks.tobytes()


def exponent_of(kind, shape):
    return EXPONENTS[kind] - round(math.log2(shape[-1] / 64) / 2)


# What the models are. Sizes for 32-blocks; `wide` ones fit blocks of 256.

def config_of(name, wide):
    """The transformers configuration of a kind of model, before rope factors are known."""
    size = {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 8} if wide else {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
    common = {**size, "num_key_value_heads": 2, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT,
              "attn_implementation": "eager", "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "rms_norm_eps": 1e-5}
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
    head = size["hidden_size"] // size["num_attention_heads"]
    match name:
        case "phi3":
            return transformers.Phi3Config(**common, **rope, sliding_window=9, original_max_position_embeddings=CONTEXT)
        case "phi3-partial":
            rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.75}, "partial_rotary_factor": 0.75}
            return transformers.Phi3Config(**common, **rope, original_max_position_embeddings=CONTEXT)
        case "phi3-long" | "phi3-short":
            factors = lambda which: np.frombuffer(tensor_bytes(f"{which} factors", K.F32, head // 2, None), "<f4").tolist()
            rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": factors("short"), "long_factor": factors("long"), "original_max_position_embeddings": 32}
            return transformers.Phi3Config(**common, rope_parameters=rope, original_max_position_embeddings=32)
        case "llama":
            return transformers.LlamaConfig(**common, **rope)
        case "llama-3":
            rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
            return transformers.LlamaConfig(**common, rope_parameters=rope)
        case "mistral":
            return transformers.MistralConfig(**common, **rope, sliding_window=9, head_dim=head)
        case "qwen2":
            return transformers.Qwen2Config(**common, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, tie_word_embeddings=True)
        case "qwen3":
            return transformers.Qwen3Config(**common, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, head_dim=2 * head)


ARCHITECTURES = {"phi3": "phi3", "phi3-partial": "phi3", "phi3-long": "phi3", "phi3-short": "phi3", "llama": "llama", "llama-3": "llama", "mistral": "llama",
                 "qwen2": "qwen2", "qwen3": "qwen3"}
TOP = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
BLOCK = {"input_layernorm": "attn_norm", "self_attn.qkv_proj": "attn_qkv", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm",
         "mlp.gate_up_proj": "ffn_up", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    if name in TOP:
        return TOP[name]
    _, _, number, rest = name.split(".", 3)
    part, last = rest.rsplit(".", 1)
    return f"blk.{number}.{BLOCK[part]}.{last}"


def unpermuted(tensor, heads):
    """Llama's files have the pairs of a rotation side by side; transformers has them half a head apart."""
    return tensor.reshape(heads, tensor.shape[0] // heads // 2, 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def head_width(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def write_metadata(writer, config, name):
    writer.add_name(f"random {name}")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(int(head_width(config) * config.rope_parameters.get("partial_rotary_factor", 1)))
    writer.add_vocab_size(config.vocab_size)
    if head_width(config) * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(head_width(config))
        writer.add_value_length(head_width(config))
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if config.rope_parameters["rope_type"] == "longrope":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)


def rope_tensors(config):
    """What the file carries of a stretched rotation, by name: longrope's factors; llama3's divisors, which transformers computes."""
    rope, half_width = config.rope_parameters, head_width(config) // 2
    if rope["rope_type"] == "longrope":
        return {f"rope_factors_{which}.weight": np.array(rope[f"{which}_factor"], np.float32) for which in ("long", "short")}
    if rope["rope_type"] == "llama3":
        computed, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
        plain = rope["rope_theta"] ** (-np.arange(half_width) / half_width)
        return {"rope_freqs.weight": (plain / computed.numpy()).astype(np.float32)}
    return {}


def run(model, ids):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].float().numpy()
    assert np.isfinite(logits).all()
    return base64.b64encode(logits.astype("<f4").tobytes()).decode()


def empty_model(config):
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()


def gguf_case(name, quantisation, types):
    """`types` gives a matrix's type by its name."""
    label = f"{name} {quantisation}"
    config = config_of(name, any(gguf.GGML_QUANT_SIZES[kind][0] == 256 for kind in types.values()))
    model = empty_model(config)
    path = Path(tempfile.mkdtemp()) / "model.gguf"
    writer = gguf.GGUFWriter(path, ARCHITECTURES[name])
    write_metadata(writer, config, label)
    recipe, literal = {}, rope_tensors(config)
    for hf_name, tensor in model.state_dict().items():
        if hf_name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        target, shape = gguf_name(hf_name), tuple(tensor.shape)
        kind = K.F32 if len(shape) == 1 else next(kind for part, kind in types.items() if part in target)
        exponent = None if len(shape) == 1 and not target.endswith("bias") else exponent_of(kind, shape)
        recipe[target] = (kind, shape, exponent)
        raw = np.frombuffer(tensor_bytes(f"{label} {target}", kind, math.prod(shape), exponent), np.uint8)
        writer.add_tensor(target, raw.reshape(*shape[:-1], -1), raw_dtype=kind)
    for target, values in literal.items():
        writer.add_tensor(target, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    reader = gguf.GGUFReader(path)
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    state = {}
    for hf_name, old in model.state_dict().items():
        source = "token_embd.weight" if hf_name == "lm_head.weight" and config.tie_word_embeddings else gguf_name(hf_name)
        values = tensors[source].astype(np.float32).reshape(old.shape)
        if ARCHITECTURES[name] == "llama" and hf_name.endswith(("q_proj.weight", "k_proj.weight")):
            values = unpermuted(values, config.num_attention_heads if "q_proj" in hf_name else config.num_key_value_heads)
        state[hf_name] = torch.from_numpy(values.copy())
    model.load_state_dict(state)
    ids = IDS[:24] if name == "phi3-short" else IDS
    content = path.read_bytes()
    start = min(t.data_offset for t in reader.tensors)
    placed = []
    for t in reader.tensors:
        entry = {"name": t.name, "offset": int(t.data_offset)}
        if t.name in literal:
            entry |= {"literal": base64.b64encode(literal[t.name].tobytes()).decode()}
        else:
            kind, shape, exponent = recipe[t.name]
            entry |= {"type": kind.name, "elements": math.prod(shape), "exponent": exponent}
        placed.append(entry)
    return {"name": label, "file": recorded(path.name, content, start, placed), "ids": ids, "logits": run(model, ids)}


def recorded(name, content, start, tensors):
    """A file without the data that the recipe gives."""
    return {"name": name, "head": base64.b64encode(content[:start]).decode(), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "tensors": tensors}


SAFE = {"F32": (K.F32, torch.float32), "F16": (K.F16, torch.float16), "BF16": (K.BF16, torch.bfloat16)}


def folder_case(name, kind_name, shard_bytes):
    """A folder as transformers saves it; all tensors have one type."""
    label, (kind, dtype) = f"{name} folder {kind_name}", SAFE[kind_name]
    config = config_of(name, False)
    config.dtype = dtype
    model = empty_model(config)
    state, exponents = {}, {}
    for hf_name, tensor in model.state_dict().items():
        source = "model.embed_tokens.weight" if hf_name == "lm_head.weight" and config.tie_word_embeddings else hf_name
        norm = tensor.dim() == 1 and not hf_name.endswith("bias")
        exponents[source] = None if norm else exponent_of(kind, tuple(tensor.shape))
        raw = bytearray(tensor_bytes(f"{label} {source}", kind, tensor.numel(), exponents[source]))
        state[hf_name] = torch.frombuffer(raw, dtype=dtype).reshape(tensor.shape)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    ids = IDS[:24] if name == "phi3-short" else IDS
    logits = run(model, ids)
    folder = Path(tempfile.mkdtemp())
    model.to(dtype).save_pretrained(folder, max_shard_size=shard_bytes)
    files = []
    for path in sorted(folder.glob("*.safetensors")):
        content = path.read_bytes()
        start = 8 + struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8:start])
        tensors = [{"name": tensor, "offset": start + about["data_offsets"][0], "type": kind_name, "elements": math.prod(about["shape"]), "exponent": exponents[tensor]}
                   for tensor, about in header.items() if tensor != "__metadata__"]
        files.append(recorded(path.name, content, start, tensors))
    texts = {path.name: path.read_text() for path in sorted(folder.glob("*.json")) if path.name != "generation_config.json"}
    return {"name": label, "files": files, "texts": texts, "ids": ids, "logits": logits}


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    main_kinds = ["phi3", "llama", "mistral", "qwen2", "qwen3"]
    everything = lambda kind: {"": kind}
    cases = [gguf_case(name, "F32", everything(K.F32)) for name in ARCHITECTURES]
    for kind in (K.F16, K.Q8_0, K.Q4_0, K.Q4_K, K.Q5_K, K.Q6_K):
        cases += [gguf_case(name, kind.name, everything(kind)) for name in main_kinds]
    cases += [gguf_case(name, "Q4_K_M", {"ffn_down": K.Q6_K, "attn_v": K.Q6_K, "output": K.Q6_K, "ffn_up": K.Q5_K, "": K.Q4_K}) for name in ("phi3", "llama")]
    folders = [folder_case(name, kind, "90KB" if name == "mistral" else "5GB") for name in ("phi3", "phi3-long", "llama-3", "mistral", "qwen2", "qwen3") for kind in SAFE]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "gguf": "0.19.0"}
    text = json.dumps({"made_with": versions, "vocabulary": VOCABULARY, "files": cases, "folders": folders}, indent=0)
    (HERE / "decoders.json").write_text(text + "\n")
    print(len(cases), "files,", len(folders), "folders,", len(text), "bytes")


if __name__ == "__main__":
    main()
