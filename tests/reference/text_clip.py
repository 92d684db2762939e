"""A small CLIP vocabulary and what transformers' CLIPTokenizer makes of hard text with it:
tests/goldens/tokenizer/ and tests/goldens/text.json."""

import collections
import itertools
import json
import pathlib
import random
import shutil
import sys
import tempfile
import unicodedata

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

GOLDENS = pathlib.Path(__file__).parent.parent / "goldens"
CONTEXT = 77
MERGES = 330
# What the vocabulary is trained on: enough English that merges of every length occur, and some of other scripts.
CORPUS = """
a photo of a {}. a bad photo of a {}. a photo of many {}. a sculpture of a {}. a photo of the hard to see {}. a low resolution photo of the {}.
a rendering of a {}. graffiti of a {}. a cropped photo of the {}. a tattoo of a {}. the embroidered {}. a bright photo of a {}. a drawing of my {}.
it's a {} that doesn't have wheels, isn't wet and won't fly; they're long, I've seen 2 or 13 of them, we'll see 45 more and he'd say 1,000.
""".split("\n")
NAMES = """truck car plane ship cat dog equine deer frog bird airplane automobile horse long-snout wings wheels text horns floppy-ears ears
colored-eyes tail mane beak hairy metallic rectangular wet long tall patterned café naïve Straße Ærøskøbing Привет мир 日本語 東京 한국어 हिन्दी عربى
ελληνικά שלום 😀 🚗 ❤️ 👩‍🚀 ... !!! ?! #tag @home 50% $5 €7 x² ½ ™""".split()


def train(words, count):
    """The first merges of byte-level BPE over words and their numbers, ties in the order of the tokens. (The trainer of
    `tokenizers` breaks ties by the order of a hash table, another one in each run.)"""
    split = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for word, number in words.items():
            for pair in itertools.pairwise(split[word]):
                pairs[pair] += number
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, tokens in split.items():
            at = 0
            while at < len(tokens) - 1:
                if (tokens[at], tokens[at + 1]) == best:
                    tokens[at : at + 2] = ["".join(best)]
                at += 1
    return merges


def vocabulary(folder):
    """Trains byte-level BPE on the corpus and writes it in the two forms in which CLIP's vocabulary comes."""
    special = ["<|startoftext|>", "<|endoftext|>"]
    backend = CLIPTokenizer(vocab={token: index for index, token in enumerate(special)}, merges=[]).backend_tokenizer
    words = collections.Counter()
    for line, name in itertools.product(CORPUS, NAMES):
        text = backend.normalizer.normalize_str(line.format(*[name] * line.count("{}")))
        words.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text))
    merged = train(words, MERGES)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # As in OpenAI's vocabulary: the bytes, each byte as the end of a word, the merges, and the special tokens last.
    tokens = alphabet + [byte + "</w>" for byte in alphabet] + ["".join(pair) for pair in merged] + special
    assert len(tokens) == len(set(tokens))
    vocab = {token: index for index, token in enumerate(tokens)}
    merges = [" ".join(pair) for pair in merged]

    shutil.rmtree(folder, ignore_errors=True)
    pair = folder / "pair"
    pair.mkdir(parents=True)
    (pair / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    (pair / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        CLIPTokenizer.from_pretrained(pair).save_pretrained(scratch)
        (folder / "whole").mkdir()
        for name in ["tokenizer.json", "tokenizer_config.json"]:
            value = json.loads((pathlib.Path(scratch) / name).read_text(encoding="utf-8"))
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            (folder / "whole" / name).write_text(text + "\n", encoding="utf-8")


def texts():
    yield from ["", " ", "\n\t \u00a0\u3000", "a photo of a cat.", "A PHOTO of a CaT", "a  photo\tof \n a   dog  "]
    yield from ["it's they're I've we'll he'd don't isn't I'm", "IT'S THEY'RE", "'s 's's ''s", "it\u2019s \u2018quoted\u2019 \u201cdouble\u201d"]
    yield from ["0 1 23 456 1,000.50 3.14e-10 \u0663\u0664 \u00b2\u00b3 \u00bd \u2167 \u2460", "x2y3z 4k 8-bit"]
    yield from ["!?.,;:", "...wow!!! (really?) [yes] {no} <tag/> #tag @home 50% $5 \u20ac7 a_b a-b a/b a\\b `c` ~ ^ | =", "long-snout, floppy-ears"]
    yield from ["caf\u00e9 cafe\u0301 na\u00efve Stra\u00dfe \u0130stanbul \u01c5 \ufb01ne \u212b \u1e9e", "e\u0301\u0323 q\u0307\u0323 \u0344 a\u0300\u0301\u0302\u0303"]
    yield from ["\u65e5\u672c\u8a9e\u306e\u5199\u771f \u6771\u4eac\u30bf\u30ef\u30fc", "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab\u1100\u116e\u11a8", "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22"]
    yield from ["\u0645\u0631\u062d\u0628\u0627 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u03b5\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u03a3\u039f\u03a6\u039f\u03a3 \u041f\u0440\u0438\u0432\u0435\u0442", "\u202eright\u202c to \u200fleft"]
    yield from ["\U0001f600 \U0001f697\U0001f697 \u2764\ufe0f \u2764", "\U0001f469\u200d\U0001f680 \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd 1\ufe0f\u20e3"]
    yield from ["&amp; &lt;b&gt; &eacute; &#39; &amp;amp;", "<|startoftext|>", "a <|endoftext|> b<|endoftext|>c", "<|ENDOFTEXT|> <|end oftext|>"]
    yield from ["zero\u200bwidth soft\u00adhyphen bom\ufeff nul\u0000 bell\u0007 next\u0085line line\u2028sep", "\ufffd \ud7ff \ue000 \U0010ffff \U000e0041"]
    yield from ["a photo of " + "a very " * 90 + "long cat", "cat " * 75, "cat " * 76, "supercalifragilisticexpialidocious" * 5, "\U0001f600" * 40]
    # Anything at all, from a fixed seed. Letters that newer editions of Unicode added are left out: which edition a regular
    # expression knows is no property of the tokenizer.
    draw = random.Random(7)
    blocks = [(0x20, 0x7F), (0x80, 0x250), (0x300, 0x370), (0x370, 0x600), (0x900, 0xA00), (0x2000, 0x2C00), (0x3040, 0x3100),
              (0x4E00, 0x9FA6), (0xAC00, 0xD7A4), (0x1F300, 0x1F650)]
    for _ in range(150):
        chars = []
        for _ in range(draw.randint(1, 30)):
            char = chr(draw.randrange(*draw.choice(blocks)))
            if unicodedata.category(char) != "Cn":
                chars.append(char)
            if draw.random() < 0.2:
                chars.append(draw.choice([" ", "'s", "  ", "\n", "9", "the", "PHOTO"]))
        yield "".join(chars)


def cases(tokenizer):
    for text in texts():
        ids = tokenizer(text, truncation=True, padding="max_length", max_length=CONTEXT)["input_ids"]
        assert len(ids) == CONTEXT
        whole = tokenizer(text)["input_ids"]
        # Padding is left out of the file: it repeats the last id.
        first = min(len(whole), CONTEXT)
        assert all(i == tokenizer.pad_token_id for i in ids[first:])
        yield {"text": text, "ids": ids[:first], "truncated": len(whole) > CONTEXT}


def main():
    if len(sys.argv) > 1:
        # With a model's folder and a file to write: the same texts with another vocabulary, for a check by hand.
        rows = list(cases(CLIPTokenizer.from_pretrained(sys.argv[1])))
        pathlib.Path(sys.argv[2]).write_text(json.dumps(rows), encoding="utf-8")
        return
    folder = GOLDENS / "tokenizer"
    vocabulary(folder)
    rows = list(cases(CLIPTokenizer.from_pretrained(folder / "whole")))
    assert rows == list(cases(CLIPTokenizer.from_pretrained(folder / "pair")))
    path = GOLDENS / "text.json"
    path.write_text("[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n")
    print(f"{path}: {len(rows)} texts")


if __name__ == "__main__":
    main()
