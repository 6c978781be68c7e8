"""Writes a Phi-3 of random weights as GGUF, for measuring speed: `random_phi3.py OUT FORMAT LAYERS HIDDEN FFN VOCAB HEADS`.

FORMAT is Q4_K, Q8_0, Q4_0, or `mixed`: Q4_K with Q6_K for the output and ffn_down, Q5_K for attn_qkv, as real Q4_K_M files are.
`Q4_K 32 3072 8192 32064 32` has the shape of Phi-3-mini (2.15 GB). Needs the packages gguf and numpy.
"""

import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

out, form = sys.argv[1:3]
layers, hidden, wide, vocabulary, heads = map(int, sys.argv[3:8])
random = np.random.default_rng(0)
# Where a block's half-precision scales stand, and how large they are so that activations stay ordinary.
SCALES = {
    Type.Q4_K: [(0, 0.0005), (2, 0.004)],
    Type.Q5_K: [(0, 0.00025), (2, 0.004)],
    Type.Q6_K: [(208, 0.00002)],
    Type.Q8_0: [(0, 0.0003)],
    Type.Q4_0: [(0, 0.004)],
}
writer = gguf.GGUFWriter(out, "phi3")


def matrix(name, rows, width, kind):
    values, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, size=(rows * width // values, size), dtype=np.uint8)
    for at, scale in SCALES[kind]:
        blocks[:, at : at + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    writer.add_tensor(name, blocks.reshape(rows, width // values * size), raw_dtype=kind)


def kind_of(part):
    if form != "mixed":
        return Type[form]
    return {"output": Type.Q6_K, "ffn_down": Type.Q6_K, "attn_qkv": Type.Q5_K}.get(part, Type.Q4_K)


writer.add_context_length(4096)
writer.add_embedding_length(hidden)
writer.add_feed_forward_length(wide)
writer.add_block_count(layers)
writer.add_head_count(heads)
writer.add_head_count_kv(heads)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_dimension_count(hidden // heads)
writer.add_rope_freq_base(10000.0)
writer.add_tokenizer_model("llama")
writer.add_tokenizer_pre("default")
tokens = [b"<unk>", b"<s>", b"</s>"] + [f"<0x{i:02X}>".encode() for i in range(256)]
tokens += [f"<t{i}>".encode() for i in range(len(tokens), vocabulary)]
writer.add_token_list(tokens)
writer.add_token_scores([-float(i) for i in range(vocabulary)])
writer.add_token_types([2] + [3] * 2 + [6] * 256 + [1] * (vocabulary - 259))
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
matrix("token_embd.weight", vocabulary, hidden, kind_of("token_embd"))
matrix("output.weight", vocabulary, hidden, kind_of("output"))
writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
for layer in range(layers):
    for part, rows, width in [
        ("attn_qkv", 3 * hidden, hidden),
        ("attn_output", hidden, hidden),
        ("ffn_up", 2 * wide, hidden),
        ("ffn_down", hidden, wide),
    ]:
        matrix(f"blk.{layer}.{part}.weight", rows, width, kind_of(part))
    for part in ["attn_norm", "ffn_norm"]:
        writer.add_tensor(f"blk.{layer}.{part}.weight", np.ones(hidden, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
