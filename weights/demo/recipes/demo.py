"""What the recipes share: paths, the shipped pictures, and the shipped models as heatlens will see them."""

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from vocabulary import ATTRIBUTES

DEMO = Path(__file__).resolve().parent.parent
SPLITS = ["align", "build", "calibrate", "test"]

# Channel statistics both models are given their pixels with.
MEAN, STD = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]


def annotations():
    """The rows of annotations.csv: file_name, label, background, one 0/1 column an attribute."""
    with open(DEMO / "annotations.csv", newline="") as file:
        return list(csv.DictReader(file))


def load_split(split, rows=None):
    """Names, pixels [n, 3, 64, 64] in 0..1, label names and attributes [n, 18] of one split."""
    rows = [r for r in (rows or annotations()) if r["file_name"].startswith(f"images/{split}/")]
    names = [r["file_name"] for r in rows]
    marks = np.array([[int(r[a]) for a in ATTRIBUTES] for r in rows])
    return names, load_pixels([DEMO / n for n in names]), [r["label"] for r in rows], marks


def load_pixels(paths):
    """Pictures as one f32 tensor [n, 3, 64, 64] in 0..1."""
    pixels = np.stack([np.asarray(Image.open(p).convert("RGB")) for p in paths])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def normalised(pixels):
    """0..1 pixels as the models take them."""
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def in_batches(function, pixels, size=200):
    """`function` over normalised batches, without gradients, as one tensor."""
    with torch.no_grad():
        return torch.cat([function(normalised(pixels[k:k + size])) for k in range(0, len(pixels), size)])


def load_classifier():
    """The shipped ResNet in f32."""
    from train_classifier import build

    model = build()
    missing, unexpected = model.load_state_dict({k: v.float() for k, v in load_file(DEMO / "classifier/model.safetensors").items()}, strict=False)
    assert not unexpected and all(k.endswith("num_batches_tracked") for k in missing), (missing, unexpected)
    return model.eval()


def load_clip():
    """The shipped CLIP in f32 and its tokenizer."""
    from transformers import CLIPModel, CLIPTokenizer

    return CLIPModel.from_pretrained(DEMO / "clip", dtype=torch.float32).eval(), CLIPTokenizer.from_pretrained(DEMO / "clip")


def image_embedding(clip, x):
    """g(x) [n, E], after the projection, not normalised."""
    return clip.visual_projection(clip.vision_model(pixel_values=x).pooler_output)


def text_embedding(clip, tokenizer, texts):
    """t(s) [n, E], after the projection, not normalised."""
    tokens = tokenizer(list(texts), padding=True, return_tensors="pt")
    return clip.text_projection(clip.text_model(**tokens).pooler_output)
