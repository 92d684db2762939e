"""Pillow's resize of formula pictures: tests/goldens/image_resize.json."""

import itertools
import json
import pathlib

import numpy as np
from PIL import Image

from image_formula import digest, picture

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SOURCES = [(1, 1), (1, 9), (8, 1), (2, 3), (5, 7), (31, 17), (64, 64), (97, 53), (225, 223), (333, 500), (1024, 3), (3, 1021)]
TARGETS = [(1, 1), (2, 1), (1, 5), (7, 4), (16, 16), (64, 64), (97, 53), (113, 211), (224, 224)]
# Sizes that networks use, and a long strip, whose nearest neighbours show how positions are added up.
EXTRA = [((500, 375), (341, 256)), ((640, 427), (336, 224)), ((32, 32), (64, 64)), ((4001, 2), (2999, 2)), ((2, 3001), (3, 4007))]
WRITTEN_OUT = 60


def main():
    cases = []
    for source, target in [*itertools.product(SOURCES, TARGETS), *EXTRA]:
        image = Image.fromarray(picture(*source))
        for name, code in FILTERS.items():
            pixels = np.asarray(image.resize(target, code))
            case = {"source": source, "target": target, "filter": name, "sha256": digest(pixels)}
            # A few small ones in full, to find a difference by.
            if pixels.size <= WRITTEN_OUT and source in [(2, 3), (5, 7), (31, 17)]:
                case["pixels"] = pixels.ravel().tolist()
            cases.append(case)
    path = pathlib.Path(__file__).parent.parent / "goldens" / "image_resize.json"
    path.write_text("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")
    print(f"{path}: {len(cases)} cases")


if __name__ == "__main__":
    main()
