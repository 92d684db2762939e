"""Projected gradient descent against the shipped classifier, written as PNG.

Untargeted, L-infinity, from a random start, in the 0..1 pixels of the decoded JPEG; the step follows the sign of the
gradient of the margin between the true class and its best rival. The result is rounded to whole pixel values inside the
budget, so what is written is what was measured. Pictures are the first correctly classified ones of each class; nothing is
selected by whether the attack worked.
"""

import argparse
import shutil

import torch
import torch.nn.functional as F
from PIL import Image

from demo import DEMO, in_batches, load_classifier, load_split, normalised
from pictures import SEED
from vocabulary import CLASSES

PER_CLASS = {"build": 8, "test": 7, "calibrate": 8}
BUDGETS = {"eps4": 4, "eps8": 8}


def pgd(model, pixels, labels, budget, steps, generator):
    """Attacked pixels as u8 [n, 3, 64, 64], at most `budget` grey levels from `pixels`."""
    epsilon = budget / 255
    delta = (torch.rand(pixels.shape, generator=generator) * 2 - 1) * epsilon
    own = F.one_hot(labels, len(CLASSES)).bool()
    for _ in range(steps):
        delta.requires_grad_(True)
        logits = model(normalised(pixels + delta))
        margin = logits[own] - logits.masked_fill(own, -torch.inf).amax(1)
        (gradient,) = torch.autograd.grad(margin.sum(), delta)
        delta = delta.detach() - epsilon / 4 * gradient.sign()
        delta = (pixels + delta.clamp(-epsilon, epsilon)).clamp(0, 1) - pixels
    original = (pixels * 255).round()
    changed = ((pixels + delta) * 255).round()
    return changed.clamp(original - budget, original + budget).clamp(0, 255).to(torch.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(2)
    model = load_classifier()
    generator = torch.Generator().manual_seed(SEED)
    shutil.rmtree(DEMO / "attacked", ignore_errors=True)
    for split, per_class in PER_CLASS.items():
        names, pixels, labels, _ = load_split(split)
        labels = torch.tensor([CLASSES.index(name) for name in labels])
        right = in_batches(model, pixels).argmax(1) == labels
        chosen = torch.cat([torch.nonzero(right & (labels == c))[:per_class, 0] for c in range(len(CLASSES))])
        for folder, budget in BUDGETS.items():
            attacked = pgd(model, pixels[chosen], labels[chosen], budget, args.steps, generator)
            for index, picture in zip(chosen.tolist(), attacked):
                kind, stem = names[index].split("/")[2:]
                path = DEMO / "attacked" / split / folder / kind / stem.replace(".jpg", ".png")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path, optimize=True)
            fooled = in_batches(model, attacked.float() / 255).argmax(1) != labels[chosen]
            print(f"{split} {folder}: {len(chosen)} pictures, {fooled.float().mean():.3f} changed")
    total = sum(p.stat().st_size for p in (DEMO / "attacked").rglob("*.png"))
    print(f"attacked pictures: {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
