"""Writes tokens/: five small tokenizers, and what transformers makes of a thousand texts in ten scripts with them (tokens.rs).

What is true of them:
  * `llama` is SentencePiece BPE with byte fallback, as Llama 2, Mistral and Phi-3 have it; `llama-bpe`, `qwen2`, `gpt-2` and `gpt-4o`
    are byte-level BPE cut into words by Llama 3's, Qwen's, GPT-2's and GPT-4o's (Phi-4-mini's) patterns. Each is trained here on other texts of the same kind.
  * Each lies there twice: as `tokenizer.json`, as transformers saves it, and as `tokens.gguf`, as gguf-py writes it from the
    same vocabulary (without tensors).
  * Texts are put together from what CLDR says of territories, languages, currencies and dates, in the languages of ten scripts and
    more, and from what breaks tokenizers: white space, control tokens spelled out, combining marks, emoji, digits, long runs.
  * Expected ids are those of transformers, without control tokens: neither added nor recognised in text (split_special_tokens).
    For `llama` SentencePiece's own library had to say the same, else the text is left out and counted.

Needs transformers, tokenizers, sentencepiece, gguf, babel. Run: python tokens.py
"""

import base64
import json
import random
import struct
import tempfile
from datetime import date, timedelta
from pathlib import Path

import gguf
import sentencepiece
from babel import Locale, dates, numbers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent / "tokens"
TEXTS = 1000
# By script; a language more where a script is used in other ways by it.
LANGUAGES = {"Latin": ["en", "de", "fr", "vi", "tr"], "Greek": ["el"], "Cyrillic": ["ru", "uk"], "Hebrew": ["he"], "Arabic": ["ar", "fa"], "Devanagari": ["hi", "mr"],
             "Thai": ["th"], "Georgian": ["ka"], "Armenian": ["hy"], "Han": ["zh", "zh_Hant"], "Kana": ["ja"], "Hangul": ["ko"], "Tamil": ["ta"], "Bengali": ["bn"]}
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
HARD = ["", " ", "  ", "   a", "a   ", "\n", "\n\n\n", "\r\n\r\nx", "\t\tx\ty", " \n \n a", "a\u00a0b\u3000c\u2028d\u2029e\u0085f", "x\u200by\ufeffz", "\u0000\u0001\u001f\u007f",
        "<s>", "</s>", "<unk>", "a<s>b</s> <|end|><|user|>\n<|im_start|>", "<0x41><0x0A>", "▁a▁▁b ▁", "Ġhello Ċ", "I'm you're they'VE it'S we'Ll 'Tis o'clock 'S", "don’t",
        "0123456789", "1", "12 345 6789 01234", "3.14159 -2,5e10 0xFF 1/2 ½ Ⅷ ٣٤٥ 一二三 ८९ ๑๒", "$100 €5 £ ¥ ₹ ₿ 50% ‰", "a" * 300, "ab" * 150, "!" * 70, " " * 100, "\n" * 50, "哈" * 60,
        "e\u0301 e\u0308 a\u030a n\u0303 o\u0302\u0301 \u1100\u1161\u11a8 が か\u3099", "é ë å ñ ố 각 が", "\u0301 starts", "ﬁ ﬂ ™ Å Ω K ② ㎏ ￥ Ａｂ", "👍🏽 👩‍👩‍👧‍👦 🇩🇪🇫🇷 ❤️ ☺ 🐍" , "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𠜎 🜁", "\ue000 \U000f0000 \ufdd0 \uffff",
        "def f(x):\n    return {k: v**2 for k, v in x.items()}  # ok\n", "SELECT * FROM t WHERE a>=1 AND b!='x';", "https://example.org/a/b?c=d&e=%20f#g", "user.name+tag@example.co.uk",
        "[INST] x [/INST]", "```rust\nfn main() {}\n```", "\\n \\t \\u0041", "ABCdefGHIjkl camelCase snake_case SCREAMING_CASE", "ИВАН иван Іван", "ΑΒΓ αβγς ἄλφα", "İstanbul ıI ß ẞ ǅ ﬀ",
        "\u202eabc\u202c \u200f\u05d0\u200e", "نَصٌّ مُشَكَّل", "क्षत्रिय श्री ज्ञ", "ก็ น้ำ ที่", "가나다 ᄀᆞ ㄱㄴ", "カタカナ ｶﾀｶﾅ ひらがな", "naïve café Æsop œuvre", "tab\there", "…—–“”‘’«»„‚‹›", "a\u0300\u0301\u0302\u0303b"]


def words_of(language):
    locale = Locale.parse(language)
    names = list(locale.territories.values()) + list(locale.languages.values()) + list(locale.currencies.values()) + list(locale.scripts.values())
    return [name for name in names if name and "{" not in name]


def sentence(language, words, rng):
    parts = []
    for _ in range(rng.randint(1, 9)):
        roll = rng.random()
        if roll < 0.72:
            parts.append(rng.choice(words))
        elif roll < 0.84:
            parts.append(dates.format_date(date(1950, 1, 1) + timedelta(days=rng.randrange(40000)), rng.choice(["full", "long", "medium", "short"]), locale=language))
        elif roll < 0.94:
            parts.append(numbers.format_decimal(rng.choice([rng.randrange(10), rng.randrange(10**7), round(rng.random() * 1000, 3)]), locale=language))
        else:
            parts.append(rng.choice(["(", ")", "“", "”", ":", ";", "?", "!", "—", "...", "#", "&", "\n", "\n\n", "  ", "\t", "@", "/"]))
    text = rng.choice([" ", " ", " ", ", ", "", "\n", ". "]).join(parts)
    return rng.choice([str, str, str, str.upper, str.lower])(text)


def write_gguf(folder, model, pre, tokens, kinds, more):
    writer = gguf.GGUFWriter(folder / "tokens.gguf", "llama")
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    more(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def saved(tokenizer, name, **specials):
    """As transformers saves it, without the white space."""
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **specials)
    with tempfile.TemporaryDirectory() as folder:
        fast.save_pretrained(folder)
        text = json.dumps(json.loads((Path(folder) / "tokenizer.json").read_text()), ensure_ascii=False, separators=(",", ":"))
    (HERE / name).mkdir(parents=True, exist_ok=True)
    (HERE / name / "tokenizer.json").write_text(text)
    return fast


def sentence_piece(corpus):
    """Trained by SentencePiece, put into a tokenizers pipeline as transformers' converter does for Llama."""
    prefix = tempfile.mkdtemp() + "/model"
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_prefix=prefix, model_type="bpe", vocab_size=2400, character_coverage=0.985, byte_fallback=True,
                                             normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True,
                                             num_threads=1, minloglevel=2)
    model = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    size = model.vocab_size()
    pieces = [model.id_to_piece(i) for i in range(size)]
    scores = {piece: model.get_score(i) for i, piece in enumerate(pieces)}
    kinds = [gguf.TokenType.UNKNOWN if model.is_unknown(i) else gguf.TokenType.CONTROL if model.is_control(i) else gguf.TokenType.BYTE if model.is_byte(i) else gguf.TokenType.NORMAL for i in range(size)]
    normal = {piece: i for i, piece in enumerate(pieces) if kinds[i] == gguf.TokenType.NORMAL}
    merges = []
    for piece in normal:
        local = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece)) if piece[:cut] in normal and piece[cut:] in normal]
        merges += [(scores[piece], *pair) for pair in sorted(local, key=lambda pair: (normal[pair[0]], normal[pair[1]]))]
    merges = [pair[1:] for pair in sorted(merges, key=lambda merge: -merge[0])]
    tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    fast = saved(tokenizer, "llama", unk_token="<unk>", bos_token="<s>", eos_token="</s>")

    def more(writer):
        writer.add_token_scores([scores[piece] for piece in pieces])
        writer.add_bos_token_id(model.bos_id())
        writer.add_eos_token_id(model.eos_id())
        writer.add_unk_token_id(model.unk_id())
        writer.add_add_space_prefix(True)

    write_gguf(HERE / "llama", "llama", "default", pieces, kinds, more)
    return fast, model


def byte_level(corpus, name, pattern, normalizer, whole_words):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    # GPT-2's pattern is the one that the step itself has.
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    tokenizer.pre_tokenizer = bytes_ if pattern is None else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=2000, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    tokenizer.model = models.BPE(vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]], ignore_merges=whole_words)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<|begin_of_text|>", "<|endoftext|>")])
    fast = saved(tokenizer, name, bos_token="<|begin_of_text|>", eos_token="<|endoftext|>")
    tokens = sorted(fast.get_vocab(), key=fast.get_vocab().get)
    kinds = [gguf.TokenType.CONTROL if token in ("<|begin_of_text|>", "<|endoftext|>") else gguf.TokenType.NORMAL for token in tokens]

    def more(writer):
        writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
        writer.add_bos_token_id(tokens.index("<|begin_of_text|>"))
        writer.add_eos_token_id(tokens.index("<|endoftext|>"))

    write_gguf(HERE / name, "gpt2", name, tokens, kinds, more)
    return fast


def main():
    rng = random.Random(20)
    words = {language: words_of(language) for languages in LANGUAGES.values() for language in languages}
    pick = lambda script: (lambda language: sentence(language, words[language], rng))(rng.choice(LANGUAGES[script]))
    corpus = [pick(script) for _ in range(500) for script in LANGUAGES] + [sentence("en", words["en"], rng) for _ in range(1500)]
    texts = HARD + [pick(list(LANGUAGES)[index % len(LANGUAGES)]) for index in range(TEXTS - 150 - len(HARD))]
    # Scripts beside each other, and pieces of hard texts in easy ones.
    texts += [rng.choice(["", " ", "\n"]).join([pick(rng.choice(list(LANGUAGES)))[:40], rng.choice(HARD)[:30], pick(rng.choice(list(LANGUAGES)))[:40]]) for _ in range(150)]
    llama, own = sentence_piece([text for text in corpus if text.strip()])
    fast = {"llama": llama, "llama-bpe": byte_level(corpus, "llama-bpe", LLAMA3, None, True), "qwen2": byte_level(corpus, "qwen2", QWEN2, normalizers.NFC(), False),
            "gpt-2": byte_level(corpus, "gpt-2", None, None, False), "gpt-4o": byte_level(corpus, "gpt-4o", GPT4O, None, True)}
    lines, differ = [], []
    for text in texts:
        ids = {name: tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] for name, tokenizer in fast.items()}
        # SentencePiece's C++ ends texts at a zero byte in this binding, and knows no empty text's prefix.
        if ids["llama"] != own.encode(text) and text and "\0" not in text:
            differ.append(text)
            continue
        packed = {name: base64.b64encode(struct.pack(f"<{len(list_)}H", *list_)).decode() for name, list_ in ids.items()}
        lines.append(json.dumps({"text": text} | packed, ensure_ascii=False))
    (HERE / "texts.jsonl").write_text("\n".join(lines) + "\n")
    print(len(lines), "texts;", len(differ), "on which transformers and SentencePiece differ:", differ[:8])


if __name__ == "__main__":
    main()
