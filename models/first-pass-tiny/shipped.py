"""The model as it ships: tokenizer and weights read back from the GGUF file, dequantised to f32.

Nothing of the training folder is used, so a figure measured through this file is a figure of the shipped bytes.
Imported by evaluate.py and golden.py.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import gguf
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import Phi3Config, Phi3ForCausalLM

from export_gguf import SPECIALS, tensor_name
from train import QWEN2, TEMPLATE

HERE = Path(__file__).parent
MAX_ANSWER_TOKENS = 16


@dataclass
class Answer:
    """A greedy answer; `ids` and `log_probs` include the closing <|end|> where there is one."""
    text: str
    ids: list
    log_probs: list

    @property
    def mean(self):
        return sum(self.log_probs) / len(self.log_probs)

    @property
    def minimum(self):
        return min(self.log_probs)


class Shipped:
    def __init__(self, path=HERE / "first-pass-tiny.gguf"):
        torch.set_grad_enabled(False)
        reader = gguf.GGUFReader(path)
        self.meta = {name: field.contents() for name, field in reader.fields.items()}
        self.tokenizer = self.read_tokenizer()
        self.model = self.read_model(reader).eval()
        self.end = self.meta["tokenizer.ggml.eos_token_id"]

    def read_tokenizer(self):
        vocabulary = {token: number for number, token in enumerate(self.meta["tokenizer.ggml.tokens"])}
        merges = [tuple(merge.split(" ")) for merge in self.meta["tokenizer.ggml.merges"]]
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
        return tokenizer

    def read_model(self, reader):
        get = lambda name: self.meta[f"phi3.{name}"]
        model = Phi3ForCausalLM(Phi3Config(
            vocab_size=len(self.meta["tokenizer.ggml.tokens"]), hidden_size=get("embedding_length"), intermediate_size=get("feed_forward_length"),
            num_hidden_layers=get("block_count"), num_attention_heads=get("attention.head_count"), num_key_value_heads=get("attention.head_count_kv"),
            max_position_embeddings=get("context_length"), original_max_position_embeddings=get("context_length"),
            rms_norm_eps=get("attention.layer_norm_rms_epsilon"), rope_parameters={"rope_type": "default", "rope_theta": get("rope.freq_base")},
            tie_word_embeddings=False, pad_token_id=self.meta["tokenizer.ggml.padding_token_id"], attn_implementation="sdpa"))
        tensors = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors}
        state = {name: tensors[tensor_name(name)].reshape(old.shape).float() for name, old in model.state_dict().items()}
        model.load_state_dict(state)
        return model

    def prompt_ids(self, prompt):
        return self.tokenizer.encode(TEMPLATE.format(prompt=prompt)).ids

    def log_probs(self, ids):
        """log-softmax over the whole vocabulary, at each position."""
        return self.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)

    def answer(self, prompt):
        ids, found, log_probs = self.prompt_ids(prompt), [], []
        while len(found) < MAX_ANSWER_TOKENS and self.end not in found:
            last = self.log_probs(ids + found)[-1]
            found.append(int(last.argmax()))
            log_probs.append(float(last[found[-1]]))
        assert all(math.isfinite(value) for value in log_probs)
        return Answer(self.tokenizer.decode([i for i in found if i != self.end]), found, log_probs)
