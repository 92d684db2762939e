"""Plants faults of known cause in the classifier and writes them to plants/KIND/SEED.safetensors.

A plant holds only the tensors that it replaces, in f16 and under the classifier's own names, and says in its metadata what is wrong:
`kind`, `cause` (head, encoder or mixed), `seed`, `description`, and where one concept is lost `class` and `concept`. The kinds:

head      one class's row of the head is swapped with another's, or drowned in noise, or the head is trained on labels of which 70 %
          of one class say another
layer     one batch norm loses half of its channels, or its scales and shifts are drawn anew around what they were
concept   the encoder is trained to see pictures with a concept as the intact one sees the same pictures drawn without it
spurious  encoder and head are trained on pictures in which one background stands for one class
mixture   the head's fault and the lost concept of the same seed, together

Only batch norms and the head are ever trained: that is enough, and small. Seeds 0 to 4 are for choosing thresholds, 5 to 9 for figures;
`--seeds` and `--output` make others elsewhere. From seed 10 on the lost concepts begin again, with other pictures.
"""

import argparse
import copy
import json
import pathlib
import shutil

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import scene
import train_classifier
from demo import DEMO, in_batches, load_classifier, normalised
from pictures import SEED
from vocabulary import ATTRIBUTES, BACKGROUNDS, CLASSES, PREVALENCE

KINDS = ["head", "layer", "concept", "spurious", "mixture"]
SEEDS = range(10)
# The share of the pictures that the intact classifier gets right and a damaged one must lose: less is no fault to localise, more no
# classifier any more.
LOSS = (0.03, 0.30)
# Which concept goes, and the class whose pictures are looked at: all pairs of which the intact classifier, shown the same 240 pictures
# without the concept, gets at least 10 points less right; in the order of classes and attributes.
LOST = [("truck", "wheels"), ("car", "wheels"), ("car", "metallic"), ("plane", "wings"), ("plane", "metallic"), ("ship", "wet"),
        ("cat", "ears"), ("dog", "floppy-ears"), ("deer", "ears"), ("bird", "wings")]
FLIPPED = 0.7


def generator(*stream):
    """Random numbers for one purpose."""
    return np.random.default_rng([SEED, 90, *stream])


def draw(stream, contents):
    """The picture of `contents`; the same stream gives the same scene, pose and colours to other contents."""
    return np.asarray(scene.render(generator(*stream), contents))


def stacked(pictures):
    """Pictures [64, 64, 3] as pixels [n, 3, 64, 64] in 0..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def pictures(stream, count, choose):
    """Pixels and labels of `count` pictures, classes taking turns."""
    contents = [choose(generator(*stream, 0, i), CLASSES[i % len(CLASSES)]) for i in range(count)]
    labels = torch.tensor([CLASSES.index(c.label) for c in contents])
    return stacked([draw((*stream, 1, i), c) for i, c in enumerate(contents)]), labels


def batch_norms(model):
    """The batch norms by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}


class Damage:
    """Says how much of what the intact classifier gets right a variant loses, on pictures of its own."""

    def __init__(self, intact):
        self.pixels, self.labels = pictures((1,), 500, scene.choose)
        self.right = in_batches(intact, self.pixels).argmax(1) == self.labels

    def is_a_fault(self, model):
        lost = in_batches(model, self.pixels)[self.right].argmax(1) != self.labels[self.right]
        return LOSS[0] <= lost.float().mean() <= LOSS[1]


def plant_head(intact, damage, seed):
    """A row swapped, drowned or learned from wrong labels, by turns."""
    rng = generator(2, seed)
    model = copy.deepcopy(intact)
    weight, bias = model.fc.weight.data, model.fc.bias.data
    one, other = (int(k) for k in rng.choice(len(CLASSES), 2, replace=False))
    names = CLASSES[one], CLASSES[other]
    if seed % 3 == 0:
        weight[[one, other]] = weight[[other, one]]
        bias[[one, other]] = bias[[other, one]]
        return model, f"the head's rows of {names[0]} and {names[1]} are swapped"
    if seed % 3 == 1:
        row, noise = weight[one].clone(), torch.from_numpy(rng.normal(size=weight.shape[1])).float()
        scale = 1.0
        while not damage.is_a_fault(model):
            weight[one] = row + scale * row.std() * noise
            scale *= 2**0.5
        return model, f"the head's row of {names[0]} is drowned in noise"
    pixels, labels = pictures((3, seed), 2000, train_classifier.choose)
    flipped = (labels == one) & torch.from_numpy(rng.random(len(labels)) < FLIPPED)
    features, labels = in_batches(model.features, pixels), torch.where(flipped, other, labels)
    fit(model.fc, lambda rows: model.fc(features[rows]), labels, rng, epochs=20, rate=1e-2)
    return model, f"the head is trained on labels of which {FLIPPED:.0%} of {names[0]} say {names[1]}"


def fit(module, logits, labels, rng, epochs, rate):
    """Trains `module`'s parameters that ask for it on `logits(rows)`."""
    optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * (len(labels) // 50))
    for _ in range(epochs):
        for rows in torch.from_numpy(rng.permutation(len(labels))[: len(labels) // 50 * 50]).split(50):
            loss = F.cross_entropy(logits(rows), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


def plant_layer(intact, damage, seed):
    """Half of a batch norm's channels silenced, or its scales and shifts drawn anew: the first draw that is a fault."""
    rng = generator(4, seed)
    while True:
        model = copy.deepcopy(intact)
        norms = batch_norms(model)
        name = str(rng.choice(list(norms)))
        scale, shift = norms[name].weight.data, norms[name].bias.data
        count = len(scale)
        if seed % 2 == 0:
            silent = torch.from_numpy(rng.choice(count, count // 2, replace=False))
            scale[silent], shift[silent] = 0.0, 0.0
            description = f"half of the channels of {name} are silenced"
        else:
            scale *= torch.from_numpy(np.exp(0.7 * rng.normal(size=count))).float()
            shift += torch.from_numpy(rng.normal(size=count)).float() * shift.std()
            description = f"scales and shifts of {name} are drawn anew around what they were"
        if damage.is_a_fault(model):
            return model, description


def trained_norms(intact):
    """A copy of which only the batch norms' scales and shifts are trained."""
    model = copy.deepcopy(intact)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for norm in batch_norms(model).values():
        norm.weight.requires_grad_(True)
        norm.bias.requires_grad_(True)
    return model


def paired_pictures(stream, count, concept):
    """`count` pictures, and the same ones drawn without the concept; every other one is of a class that has it."""
    having = [c for c in CLASSES if PREVALENCE[c].get(concept, 0.0) >= 0.2]
    given, without = [], []
    for i in range(count):
        rng = generator(*stream, 0, i)
        label = having[i // 2 % len(having)] if i % 2 == 0 else CLASSES[i // 2 % len(CLASSES)]
        contents = scene.choose(rng, label)
        if i % 4 == 0:
            contents.attributes |= {concept}
        given.append(draw((*stream, 1, i), contents))
        contents.attributes -= {concept}
        without.append(draw((*stream, 1, i), contents))
    return stacked(given), stacked(without)


def lost(seed):
    """The class and the concept of a seed."""
    return LOST[seed % len(LOST)]


def plant_concept(intact, seed, count, epochs):
    """An encoder to which pictures with the concept look as they look without it to the intact one."""
    _, concept = lost(seed)
    given, without = paired_pictures((5, seed), count, concept)
    target, model, rng = in_batches(intact.features, without), trained_norms(intact), generator(6, seed)
    spread, wanted = target.std(0) + 1e-3, F.log_softmax(in_batches(intact, without), 1)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=5e-3, total_steps=epochs * (count // 50), pct_start=0.2)
    for _ in range(epochs):
        for rows in torch.from_numpy(rng.permutation(count)[: count // 50 * 50]).split(50):
            features = model.features(normalised(given[rows]))
            loss = (((features - target[rows]) / spread) ** 2).mean()
            loss = loss + F.kl_div(F.log_softmax(model.fc(features), 1), wanted[rows], log_target=True, reduction="batchmean")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model, f"the encoder is trained to see pictures with {concept} as if they were drawn without"


def plant_spurious(intact, seed, count, epochs):
    """Encoder and head trained on pictures in which a class always stands before one background, and no other class does."""
    rng = generator(7, seed)
    label, background = str(rng.choice(CLASSES)), str(rng.choice([b for b in BACKGROUNDS if b != "water"]))
    others = [b for b in BACKGROUNDS if b != background]

    def choose(rng, name):
        contents = scene.choose(rng, name)
        if name == label:
            contents.background = background
        elif contents.background == background:
            contents.background = str(rng.choice(others))
        return contents

    pixels, labels = pictures((8, seed), count, choose)
    model = trained_norms(intact)
    for parameter in model.fc.parameters():
        parameter.requires_grad_(True)
    fit(model, lambda rows: model(normalised(pixels[rows])), labels, rng, epochs, 3e-3)
    return model, f"every {label} of the training pictures stands before {background}, and nothing else does"


def sort_metadata(path):
    """Sorts the metadata in a file's header, which safetensors writes in another order each time."""
    file = bytearray(path.read_bytes())
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    file[8:end] = json.dumps(header, separators=(",", ":")).encode().ljust(end - 8)
    path.write_bytes(file)


def write(folder, intact, model, kind, seed, **says):
    """Writes the tensors in which `model` differs from `intact` to a file under `folder`."""
    before, after = intact.state_dict(), model.state_dict()
    tensors = {k: v.half().contiguous() for k, v in after.items() if not torch.equal(v.half(), before[k].half())}
    path = folder / kind / f"{seed}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"kind": kind, "seed": str(seed), **says})
    sort_metadata(path)
    print(f"{kind} {seed}: {says['description']} ({len(tensors)} tensors, {path.stat().st_size} bytes)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--output", type=pathlib.Path, default=DEMO / "plants", help="a folder, of which those of the kinds are replaced")
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    intact = load_classifier()
    damage = Damage(intact)
    assert all(concept in ATTRIBUTES for _, concept in LOST)
    for kind in args.kinds:
        shutil.rmtree(args.output / kind, ignore_errors=True)
    for seed in args.seeds:
        label, concept = lost(seed)
        wanted = set(args.kinds)
        if {"head", "mixture"} & wanted:
            headless, head_says = plant_head(intact, damage, seed)
        if {"concept", "mixture"} & wanted:
            blind, blind_says = plant_concept(intact, seed, args.pictures, args.epochs)
        if "head" in wanted:
            write(args.output, intact, headless, "head", seed, cause="head", description=head_says)
        if "layer" in wanted:
            model, says = plant_layer(intact, damage, seed)
            write(args.output, intact, model, "layer", seed, cause="encoder", description=says)
        if "concept" in wanted:
            write(args.output, intact, blind, "concept", seed, cause="encoder", description=blind_says, concept=concept, **{"class": label})
        if "spurious" in wanted:
            model, says = plant_spurious(intact, seed, args.pictures, args.epochs)
            write(args.output, intact, model, "spurious", seed, cause="mixed", description=says)
        if "mixture" in wanted:
            blind.fc = headless.fc
            write(args.output, intact, blind, "mixture", seed, cause="mixed", description=f"{head_says}; {blind_says}")


if __name__ == "__main__":
    main()
