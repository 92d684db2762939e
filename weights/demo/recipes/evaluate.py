"""Measures the shipped files: both models, the aligner between them, the attacks, and what the heatmaps make of them.

Everything is read back from weights/demo and computed with torch and numpy, independently of heatlens. Prints figures and
exits with 1 if one misses its goal.
"""

import json
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from demo import DEMO, SPLITS, annotations, image_embedding, in_batches, load_classifier, load_clip, load_pixels, load_split, text_embedding
from vocabulary import ATTRIBUTES, CLASSES

MIN_SUPPORT = 5
OFF_DIAGONAL = ~np.eye(len(ATTRIBUTES), dtype=bool)


def unit(x):
    """Rows of length one."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def shuffled(n):
    """0..n-1 in a fixed random order; the shipped order goes round the classes and would line up with any fold."""
    return np.random.default_rng(0).permutation(n)


def auroc(positive, negative):
    """Chance that a positive scores above a negative, ties counting half."""
    positive, negative = np.asarray(positive, dtype=float), np.asarray(negative, dtype=float)
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left")
    return float((below + np.searchsorted(ordered, positive, "right")).mean() / (2 * len(negative)))


def directions(clip, tokenizer, phrase_lists):
    """One unit direction for each list of phrases: all templates and phrases, normalised, averaged, normalised."""
    templates = (DEMO / "templates.txt").read_text().split("\n")[:-1]
    rows = []
    with torch.no_grad():
        for phrases in phrase_lists:
            texts = [t.replace("{}", p) for p in phrases for t in templates]
            rows.append(F.normalize(F.normalize(text_embedding(clip, tokenizer, texts), dim=1).mean(0), dim=0).numpy())
    return np.stack(rows)


class Aligner:
    """Ridge from features z to embeddings g in f64, on centred data; lambda by five-fold cross-validation."""

    def __init__(self, z, g):
        z, g = z.astype(np.float64), g.astype(np.float64)
        scale = np.trace((z - z.mean(0)).T @ (z - z.mean(0))) / z.shape[1]
        folds = shuffled(len(z)) % 5
        errors = []
        for k in range(-6, 2):
            error = 0.0
            for fold in range(5):
                self._fit(z[folds != fold], g[folds != fold], 10.0**k * scale)
                error += ((self(z[folds == fold]) - g[folds == fold]) ** 2).sum()
            errors.append(error)
        self.power = int(np.argmin(errors)) - 6
        self._fit(z, g, 10.0**self.power * scale)

    def _fit(self, z, g, penalty):
        self.z_mean, self.g_mean = z.mean(0), g.mean(0)
        centred = z - self.z_mean
        self.matrix = np.linalg.solve(centred.T @ centred + penalty * np.eye(z.shape[1]), centred.T @ (g - self.g_mean))

    def __call__(self, z):
        return (z - self.z_mean) @ self.matrix + self.g_mean


def single_maps(scores):
    """h_x for every row of scores [n, C]: [n, C, C], 1 where concept i beats concept j."""
    scores = scores.astype(np.float32)
    return (scores[:, :, None] > scores[:, None, :]).astype(np.float64)


def cosine_distance(h, counts, n):
    """1 - <h, P> / (|h| |P|) off the diagonal, with the unbiased square of P = counts / n."""
    h, c = h[:, OFF_DIAGONAL], counts[OFF_DIAGONAL]
    squared = (c * (c - 1)).sum() / (n * (n - 1)) if n > 1 else (c**2).sum()
    return 1 - (h @ c / n) / (np.sqrt(h.sum(1)) * np.sqrt(squared))


def row_means(difference):
    """The change in each concept's win rate."""
    return difference.sum(1) / (len(ATTRIBUTES) - 1)


class Run:
    """One split (or set of attacked pictures) through both models and the aligner."""

    def __init__(self, pixels, labels, classifier, clip):
        self.labels = np.array(labels)
        z = in_batches(classifier.features, pixels)
        with torch.no_grad():
            logits = classifier.fc(z)
        self.z, self.logits = z.numpy(), logits.numpy()
        self.softmax = logits.softmax(1).amax(1).numpy()
        self.predicted = self.logits.argmax(1)
        self.right = self.predicted == self.labels
        self.g = in_batches(lambda x: image_embedding(clip, x), pixels).numpy()


def attacked(split, budget):
    """Paths of the attacked pictures, their originals, and their labels."""
    paths = sorted((DEMO / "attacked" / split / budget).rglob("*.png"))
    originals = [DEMO / "images" / split / p.parent.name / (p.stem + ".jpg") for p in paths]
    return paths, originals, [CLASSES.index(p.parent.name) for p in paths]


def largest_change(paths, originals):
    """The largest difference between attacked pictures and their originals, in grey levels."""
    pairs = ((np.asarray(Image.open(a)).astype(int), np.asarray(Image.open(b).convert("RGB")).astype(int)) for a, b in zip(paths, originals))
    return max(int(np.abs(a - b).max()) for a, b in pairs)


class Filter:
    """The runtime filter's score from the maps of the build split and of its attacked pictures.

    `target` is the class an attacked picture was turned into, -1 where the attack failed.
    """

    def __init__(self, h, run, h_attacked, target):
        k = len(CLASSES)
        self.correct = [self._map(h[run.right & (run.predicted == c)]) for c in range(k)]
        intruders = [self._map(h[~run.right & (run.predicted == c)]) for c in range(k)]
        turned = [self._map(h_attacked[target == c]) for c in range(k)]
        self.defects = [self._pooled(intruders), self._pooled(turned)]

    @staticmethod
    def _map(h):
        return h.sum(0), len(h)

    @staticmethod
    def _pooled(maps):
        everything = (sum(m[0] for m in maps), sum(m[1] for m in maps))
        return [m if m[1] >= MIN_SUPPORT else everything for m in maps]

    def scores(self, h, predicted):
        out = np.zeros(len(h))
        for c in np.unique(predicted):
            rows = h[predicted == c]
            defect = np.minimum(*(cosine_distance(rows, *kind[c]) for kind in self.defects))
            out[predicted == c] = cosine_distance(rows, *self.correct[c]) - defect
        return out


def check_tokenizer(tokenizer):
    """tokenizer.json against the plain byte-pair merges of vocab.json and merges.txt."""
    vocabulary = json.loads((DEMO / "clip/vocab.json").read_text())
    ranks = {tuple(line.split(" ")): k for k, line in enumerate((DEMO / "clip/merges.txt").read_text().split("\n")[1:-1])}
    concepts = (DEMO / "concepts.txt").read_text()
    words = concepts.translate(str.maketrans("|:-", "   ")).split()
    for word in words + CLASSES + ["photo", "something", "zebra"]:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            rank, k = min((ranks.get((a, b), len(ranks)), k) for k, (a, b) in enumerate(zip(parts, parts[1:])))
            if rank == len(ranks):
                break
            parts[k:k + 2] = [parts[k] + parts[k + 1]]
        assert tokenizer(word).input_ids[1:-1] == [vocabulary[p] for p in parts], word


def report_weakness(h, run, tag):
    """Ranks the planted concepts in D_k = H_correct - H_missed of the planted class; returns their ranks among the lost."""
    demo = json.loads((DEMO / "demo.json").read_text())["weakness"]
    c = CLASSES.index(demo["class"])
    hit, missed = run.right & (run.labels == c), ~run.right & (run.labels == c)
    change = row_means(h[hit].mean(0) - h[missed].mean(0))
    order = np.argsort(-change)
    ranks = {name: int(np.flatnonzero(order == ATTRIBUTES.index(name))[0]) + 1 for name in demo["concepts_expected_lost"]}
    print(f"D_{demo['class']} ({tag}; {hit.sum()} correct, {missed.sum()} missed): ranks of the planted lost concepts {ranks}")
    print("  lost:      " + ", ".join(f"{ATTRIBUTES[i]} {change[i]:+.2f}" for i in order[:6]))
    print("  intruding: " + ", ".join(f"{ATTRIBUTES[i]} {change[i]:+.2f}" for i in order[::-1][:6]))
    return ranks


def main():
    torch.set_num_threads(2)
    failures = []

    def goal(name, value, ok):
        print(f"{'ok  ' if ok else 'MISS'} {name}: {value}")
        if not ok:
            failures.append(name)

    classifier = load_classifier()
    clip, tokenizer = load_clip()
    check_tokenizer(tokenizer)
    rows = annotations()
    runs, marks, backgrounds = {}, {}, {}
    for split in SPLITS:
        _, pixels, labels, marks[split] = load_split(split, rows)
        backgrounds[split] = np.array([r["background"] for r in rows if r["file_name"].startswith(f"images/{split}/")])
        runs[split] = run = Run(pixels, [CLASSES.index(name) for name in labels], classifier, clip)
        wrong = [int((~run.right & (run.labels == c)).sum()) for c in range(len(CLASSES))]
        print(f"classifier on {split}: {run.right.mean():.4f} of {len(run.right)}, {sum(wrong)} misclassified "
              f"({', '.join(f'{n} {w}' for n, w in zip(CLASSES, wrong))})")
    test, build = runs["test"], runs["build"]
    goal("classifier accuracy on test, 0.80 to 0.92", f"{test.right.mean():.4f}", 0.80 <= test.right.mean() <= 0.92)
    goal("misclassified in every split, at least 30", min(int((~r.right).sum()) for r in runs.values()),
         all((~r.right).sum() >= 30 for r in runs.values()))

    q_class = directions(clip, tokenizer, [[c] for c in CLASSES])
    lines = [line.split(": ") for line in (DEMO / "concepts.txt").read_text().split("\n")[:-1]]
    assert [line[0] for line in lines] == ATTRIBUTES
    q = directions(clip, tokenizer, [line[1].split(" | ") for line in lines])

    zero_shot = (unit(test.g) @ q_class.T).argmax(1) == test.labels
    goal("CLIP zero-shot on test, at least 0.85", f"{zero_shot.mean():.4f}", zero_shot.mean() >= 0.85)
    clip_scores = unit(test.g) @ q.T
    areas = {a: auroc(clip_scores[marks["test"][:, k] == 1, k], clip_scores[marks["test"][:, k] == 0, k]) for k, a in enumerate(ATTRIBUTES)}
    print("attribute AUROC on test, CLIP space: " + ", ".join(f"{a} {v:.3f}" for a, v in areas.items()))
    goal("median attribute AUROC, at least 0.8", f"{np.median(list(areas.values())):.4f}", np.median(list(areas.values())) >= 0.8)

    align = runs["align"]
    held = shuffled(len(align.z)) % 5 == 4
    aligner = Aligner(align.z[~held], align.g[~held])
    r, g = aligner(align.z[held]), align.g[held]
    r2 = 1 - ((r - g) ** 2).sum() / ((g - g.mean(0)) ** 2).sum()
    same = (unit(r) @ q_class.T).argmax(1) == (unit(g) @ q_class.T).argmax(1)
    goal("aligner R2 on its held-out fifth, at least 0.6", f"{r2:.4f}", r2 >= 0.6)
    print(f"aligner: lambda 1e{aligner.power} of the Gram matrix's mean diagonal, mean cosine {(unit(r) * unit(g)).sum(1).mean():.4f}, "
          f"same zero-shot label {same.mean():.4f}")

    assaults = {}
    for split in ("build", "calibrate", "test"):
        for budget, levels in (("eps4", 4), ("eps8", 8)):
            paths, originals, labels = attacked(split, budget)
            assaults[split, budget] = run = Run(load_pixels(paths), labels, classifier, clip)
            change = largest_change(paths, originals)
            goal(f"attacked {split} {budget} stays within {levels} levels", change, change <= levels)
            unmoved = (unit(run.g) @ q_class.T).argmax(1) == run.labels
            print(f"attacked {split} {budget}: {(~run.right).sum()} of {len(paths)} changed the prediction ({(~run.right).mean():.4f}); "
                  f"CLIP zero-shot still right on {unmoved.mean():.4f}")
            if budget == "eps8":
                goal(f"attack success on {split} at 8/255, at least 0.80", f"{(~run.right).mean():.4f}", (~run.right).mean() >= 0.80)

    def scores(run):
        return unit(aligner(run.z)) @ q.T

    raw = scores(build)
    means = np.stack([raw[build.labels == c].mean(0) for c in range(len(CLASSES))]).mean(0)
    h_build = single_maps(raw)
    areas = {a: auroc(raw[marks["build"][:, k] == 1, k], raw[marks["build"][:, k] == 0, k]) for k, a in enumerate(ATTRIBUTES)}
    print(f"attribute AUROC on build, classifier space: median {np.median(list(areas.values())):.4f}")

    ship = build.labels == CLASSES.index("ship")
    wet = marks["build"][:, ATTRIBUTES.index("wet")] == 1
    print(f"planted weakness on build: ships in water missed {(~build.right[ship & wet]).mean():.3f} of {(ship & wet).sum()}, ships out of water "
          f"{(~build.right[ship & ~wet]).mean():.3f} of {(ship & ~wet).sum()}; other classes on a water background called ship "
          f"{(build.predicted[~ship & (backgrounds['build'] == 'water')] == CLASSES.index('ship')).mean():.3f}")
    before_water = backgrounds["build"] == "water"
    for name, group in (("wet, before water", wet & before_water), ("wet, elsewhere", wet & ~before_water),
                        ("dry, before water", ~wet & before_water), ("dry, elsewhere", ~wet & ~before_water)):
        print(f"  ships {name}: {(~build.right[ship & group]).sum()} of {(ship & group).sum()} missed")
    missed_dry = build.predicted[ship & ~wet & ~build.right]
    print("  ships out of water are mistaken for " + ", ".join(f"{CLASSES[c]} {int((missed_dry == c).sum())}" for c in np.unique(missed_dry)))
    ranks = report_weakness(h_build, build, "raw scores")
    report_weakness(single_maps(raw - means), build, "centred scores")
    goal("a planted lost concept ranks first to third", min(ranks.values()), min(ranks.values()) <= 3)
    intruders = ~build.right & (build.predicted == CLASSES.index("ship"))
    change = row_means(h_build[build.right & ship].mean(0) - h_build[intruders].mean(0))
    print("  members minus false alarms: " + ", ".join(f"{ATTRIBUTES[i]} {change[i]:+.2f}" for i in np.argsort(-change)[:5]))

    oracle = (unit(aligner(build.z)) @ q_class.T).argmax(1) == build.labels
    seen = (unit(build.g) @ q_class.T).argmax(1) == build.labels
    for name, group in (("errors", ~build.right), ("correct images", build.right)):
        head, encoder = (group & seen & oracle).sum(), (group & seen & ~oracle).sum()
        print(f"localisation on build {name}: head {head}, encoder {encoder}, undetermined {(group & ~seen).sum()} of {group.sum()}")

    turned = [assaults["build", b] for b in ("eps4", "eps8")]
    target = np.concatenate([np.where(t.right, -1, t.predicted) for t in turned])
    watch = Filter(h_build, build, np.concatenate([single_maps(scores(t)) for t in turned]), target)
    suspicion = watch.scores(single_maps(scores(test)), test.predicted)
    print("filter on test against correct images, AUROC (heatmap, maximum softmax):")
    print(f"  misclassified  {auroc(suspicion[~test.right], suspicion[test.right]):.4f}  "
          f"{auroc(-test.softmax[~test.right], -test.softmax[test.right]):.4f}")
    for budget in ("eps4", "eps8"):
        run = assaults["test", budget]
        s = watch.scores(single_maps(scores(run)), run.predicted)
        print(f"  attacked {budget}  {auroc(s[~run.right], suspicion[test.right]):.4f}  "
              f"{auroc(-run.softmax[~run.right], -test.softmax[test.right]):.4f}")

    shipped = [p for p in DEMO.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    total = sum(p.stat().st_size for p in shipped)
    goal("total size in bytes, at most 14 MB", total, total <= 14_000_000)
    print("all goals met" if not failures else f"missed: {', '.join(failures)}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
