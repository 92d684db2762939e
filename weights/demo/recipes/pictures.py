"""Training pictures: drawn in parallel, passed through JPEG like the shipped ones, and cached outside the repository."""

import io
import os
import tempfile
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image

import scene
from vocabulary import BACKGROUNDS, CLASSES

JPEG = {"format": "JPEG", "quality": 88, "subsampling": 0, "optimize": True}

# One stream of random numbers per set: every picture is drawn from default_rng([SEED, stream, index]).
SEED = 20250417
STREAMS = {"align": 1, "build": 2, "calibrate": 3, "test": 4, "train-classifier": 5, "train-clip": 6}


def jpeg_bytes(picture):
    """`picture` as JPEG, full chroma resolution so that all decoders agree."""
    buffer = io.BytesIO()
    picture.save(buffer, **JPEG)
    return buffer.getvalue()


def draw_one(stream, index, choose=scene.choose):
    """Picture `index` of a stream: its contents and its JPEG bytes. Classes take turns."""
    rng = np.random.default_rng([SEED, STREAMS[stream], index])
    contents = choose(rng, CLASSES[index % len(CLASSES)])
    return contents, jpeg_bytes(scene.render(rng, contents))


def _decoded(job):
    contents, data = draw_one(*job)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return pixels, CLASSES.index(contents.label), BACKGROUNDS.index(contents.background), contents.row()


def training_set(stream, count, choose):
    """Arrays pixels [count, 64, 64, 3] u8, labels, backgrounds, attributes [count, 18], cached by stream and count.

    The cache lives under $DEMO_CACHE or the temporary folder; delete it after changing the drawings.
    """
    folder = Path(os.environ.get("DEMO_CACHE", Path(tempfile.gettempdir()) / "demo-pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stream}-{count}.npz"
    if not path.exists():
        with Pool(2) as pool:
            rows = pool.map(_decoded, [(stream, i, choose) for i in range(count)], chunksize=64)
        pixels, labels, backgrounds, attributes = (np.array(column) for column in zip(*rows))
        np.savez(path, pixels=pixels, labels=labels, backgrounds=backgrounds, attributes=attributes.astype(np.uint8))
    loaded = np.load(path)
    return loaded["pixels"], loaded["labels"], loaded["backgrounds"], loaded["attributes"]
