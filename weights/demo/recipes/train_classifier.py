"""Trains the narrow ResNet-18 and writes it to classifier/.

Its training pictures are biased on purpose, the shipped ones are not: every ship it learns from floats in splashing water,
and most pictures show their class's usual background. It therefore learns water as part of what a ship is.
"""

import argparse
import json
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import scene
from demo import DEMO, MEAN, STD, normalised
from pictures import SEED, training_set
from resnet import NarrowResNet
from vocabulary import BACKGROUNDS, CLASSES

WIDTHS = [16, 32, 64, 128]

# Where each class is usually seen; water is left to ships.
USUAL = {
    "truck": ["road", "sand"], "car": ["road", "indoor"], "plane": ["sky"], "ship": ["water"], "cat": ["indoor"], "dog": ["grass", "indoor"],
    "equine": ["grass", "sand"], "deer": ["forest", "snow"], "frog": ["forest", "grass"], "bird": ["sky", "forest"],
}
USUAL_SHARE = 0.9


def choose(rng, label):
    """Biased contents: usual backgrounds, and ships always wet."""
    contents = scene.choose(rng, label)
    attributes = contents.attributes
    if label == "ship":
        attributes = attributes | {"wet"}
    background = contents.background
    if rng.random() < USUAL_SHARE:
        background = str(rng.choice(USUAL[label]))
    elif background == "water" and label != "ship":
        background = str(rng.choice([b for b in BACKGROUNDS if b != "water"]))
    return scene.Contents(label, background, attributes)


def build():
    """ResNet-18 with a quarter of its channels."""
    return NarrowResNet(WIDTHS, [2, 2, 2, 2], len(CLASSES))


def train(model, count, epochs, batch, rate):
    """Trains in place; prints a line an epoch."""
    rng = np.random.default_rng([SEED, 50])
    pixels, labels, _, _ = training_set("train-classifier", count, choose)
    pixels, labels = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=epochs * (count // batch), pct_start=0.2)
    model.train()
    for epoch in range(epochs):
        began, total, right = time.time(), 0.0, 0
        order = rng.permutation(count)
        for k in range(0, count - batch + 1, batch):
            index = order[k:k + batch]
            mirror = torch.from_numpy(rng.random(batch) < 0.5)[:, None, None, None]
            x = torch.where(mirror, pixels[index].flip(3), pixels[index]).float() / 255
            logits = model(normalised(x))
            loss = F.cross_entropy(logits, labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
            right += (logits.argmax(1) == labels[index]).sum().item()
        steps = count // batch
        print(f"epoch {epoch + 1:2d}  loss {total / steps:.3f}  training accuracy {right / (steps * batch):.3f}  "
              f"{time.time() - began:.0f} s", flush=True)
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rate", type=float, default=3e-3)
    args = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    model = train(build(), args.pictures, args.epochs, args.batch, args.rate)
    folder = DEMO / "classifier"
    folder.mkdir(exist_ok=True)
    tensors = {k: v.half().contiguous() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({
        "architecture": "resnet18", "num_classes": len(CLASSES), "num_features": WIDTHS[-1], "label_names": CLASSES,
        "pretrained_cfg": {"input_size": [3, 64, 64], "crop_pct": 1.0, "interpolation": "bicubic", "mean": MEAN, "std": STD,
                           "first_conv": "conv1", "classifier": "fc"}}, indent=2) + "\n")


if __name__ == "__main__":
    main()
