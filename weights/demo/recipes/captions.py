"""Captions for the contrastive training, and the small byte-level BPE vocabulary learnt from them."""

import json
from dataclasses import dataclass

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from vocabulary import ATTRIBUTES, BACKGROUNDS, CLASSES, PHRASES

OPENINGS = ["a photo of", "a picture of", "a drawing of", "an image of", "there is", ""]
PLACES = {
    "sky": "in the sky", "grass": "on grass", "sand": "on sand", "water": "on water", "road": "on a road", "snow": "in snow",
    "forest": "in a forest", "indoor": "indoors",
}
START, END = "<|startoftext|>", "<|endoftext|>"


@dataclass
class Caption:
    """A text and what it claims: a class index or -1, a background index or -1, and a set of attributes [18]."""

    text: str
    label: int
    background: int
    attributes: np.ndarray


def phrase(rng, attribute):
    """One way of naming an attribute: one of its phrases, or its own name."""
    return str(rng.choice(PHRASES[attribute] + [attribute]))


def class_prompt(rng, label):
    """A caption that names a class and nothing else."""
    return _sentence(rng, f"a {CLASSES[label]}" if rng.random() < 0.8 else CLASSES[label])


def attribute_prompt(rng, index):
    """A caption that names an attribute and nothing else, with or without an article."""
    name = phrase(rng, ATTRIBUTES[index])
    if rng.random() < 0.25:
        return f"something with {name}"
    return _sentence(rng, f"a {name}" if rng.random() < 0.5 else name)


def _sentence(rng, words):
    opening = str(rng.choice(OPENINGS, p=[0.5, 0.12, 0.12, 0.12, 0.06, 0.08]))
    return (f"{opening} {words}" + ("." if rng.random() < 0.7 else "")).strip()


def describe(rng, label, background, attributes):
    """A true caption of a picture: the class mostly, up to four of its attributes, sometimes the place."""
    claimed = np.zeros(len(ATTRIBUTES), dtype=np.uint8)
    present = rng.permutation(np.flatnonzero(attributes))[: rng.integers(0, 5)]
    claimed[present] = 1
    names_class = rng.random() < 0.85 or len(present) == 0
    words = f"a {CLASSES[label]}" if names_class else "something"
    phrases = [phrase(rng, ATTRIBUTES[k]) for k in present]
    if phrases:
        words += " with " + (", ".join(phrases[:-1]) + " and " if len(phrases) > 1 else "") + phrases[-1]
    names_place = rng.random() < 0.12
    if names_place:
        words += " " + PLACES[BACKGROUNDS[background]]
    return Caption(_sentence(rng, words), label if names_class else -1, background if names_place else -1, claimed)


def is_true(captions, labels, backgrounds, attributes):
    """Whether caption j holds of picture i, [pictures, captions]."""
    named = np.array([c.label for c in captions])
    places = np.array([c.background for c in captions])
    claims = np.stack([c.attributes for c in captions]).astype(np.int32)
    right_class = (named[None] < 0) | (named[None] == labels[:, None])
    right_place = (places[None] < 0) | (places[None] == backgrounds[:, None])
    unmet = (1 - attributes.astype(np.int32)) @ claims.T
    return right_class & right_place & (unmet == 0)


def corpus(rng, count=4000):
    """Captions to learn the vocabulary from; every class, phrase and place occurs."""
    texts = [f"a photo of a {c}." for c in CLASSES] + list(PLACES.values()) + list(ATTRIBUTES)
    texts += [p for phrases in PHRASES.values() for p in phrases]
    for _ in range(count):
        attributes = (rng.random(len(ATTRIBUTES)) < 0.3).astype(np.uint8)
        texts.append(describe(rng, rng.integers(len(CLASSES)), rng.integers(len(BACKGROUNDS)), attributes).text)
    return texts


def learn_vocabulary(texts, merges):
    """CLIP's byte-level BPE: (vocabulary, merges) with the 256 byte symbols, the same at a word's end, then the merges.

    The start and end tokens come last, so the end token has the largest id.
    """
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    split = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(split, behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    symbols = byte_symbols()
    trainer = trainers.BpeTrainer(vocab_size=512 + merges, initial_alphabet=symbols, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    learnt = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]][:merges]
    entries = symbols + [s + "</w>" for s in symbols]
    entries += [a + b for a, b in learnt if a + b not in set(entries)]
    entries += [START, END]
    return {entry: k for k, entry in enumerate(dict.fromkeys(entries))}, learnt


def byte_symbols():
    """GPT-2's printable stand-ins for the 256 bytes, in CLIP's order."""
    visible = list(range(ord("!"), ord("~") + 1)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    hidden = [b for b in range(256) if b not in visible]
    return [chr(b) for b in visible] + [chr(256 + k) for k in range(len(hidden))]
