"""Draws the four shipped splits, writes them as JPEG, and annotates them."""

import csv
import hashlib
import shutil
from multiprocessing import Pool

from demo import DEMO, SPLITS
from pictures import draw_one
from vocabulary import ATTRIBUTES, CLASSES, PHRASES

COUNTS = {"align": 600, "build": 1200, "calibrate": 500, "test": 600}

# Filled with class names and concept phrases alike; the text tower was trained on both with and without the article.
TEMPLATES = ["a photo of a {}.", "a picture of a {}.", "a drawing of a {}.", "a photo of {}."]


def draw_split(split):
    """(split, index, contents, JPEG bytes) for every picture of a split."""
    with Pool(2) as pool:
        drawn = pool.starmap(draw_one, [(split, i) for i in range(COUNTS[split])], chunksize=32)
    return [(split, i, contents, data) for i, (contents, data) in enumerate(drawn)]


def main():
    shutil.rmtree(DEMO / "images", ignore_errors=True)
    hashes, rows = set(), []
    for split in SPLITS:
        for _, index, contents, data in draw_split(split):
            digest = hashlib.sha256(data).digest()
            assert digest not in hashes, f"{split} {index} repeats another picture"
            hashes.add(digest)
            name = f"images/{split}/{contents.label}/{index:04d}.jpg"
            (DEMO / name).parent.mkdir(parents=True, exist_ok=True)
            (DEMO / name).write_bytes(data)
            rows.append([name, contents.label, contents.background, *contents.row()])
    with open(DEMO / "annotations.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file_name", "label", "background", *ATTRIBUTES])
        writer.writerows(rows)
    (DEMO / "classes.txt").write_text("".join(f"{c}\n" for c in CLASSES))
    lines = [f"{a}: {' | '.join(PHRASES[a])}\n" for a in ATTRIBUTES]
    (DEMO / "concepts.txt").write_text("".join(lines))
    (DEMO / "templates.txt").write_text("".join(f"{t}\n" for t in TEMPLATES))
    print(f"{len(rows)} pictures, {sum((DEMO / r[0]).stat().st_size for r in rows) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
