"""Weights and pictures from a formula, so that real-size goldens need no weight files: the twin of `src/weights/formula.rs`.

Each weight follows from its tensor's name and shape and its index alone: `u` in [-1, 1) with 24 bits from a hash, then
`offset + scale * u` by the tensor's role, in f64, rounded once to f32. Both languages give the same bits.

    python tests/reference/formula.py        # writes tests/goldens/formula.json, which the Rust twin's tests read
"""

import json
import math
import pathlib

import numpy as np

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens"
CHUNK = 1 << 18
EMBEDDINGS = ("class_embedding", "position_embedding", "positional_embedding", "token_embedding", "cls_token", "pos_embed")


def seed(name):
    """The FNV-1a hash (64 bits) of a name."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return state


def words(seed, start, count):
    """The 64-bit words `start..start + count` of the splitmix64 stream that starts at `seed`."""
    with np.errstate(over="ignore"):
        z = np.arange(start + 1, start + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def role(name, shape):
    """The offset and the scale of a tensor's values, and whether its input channels are antithetic pairs.

    Matrices get He's scale. In pairs of input channels the second weight is minus the first: rectified activations are positive,
    and without this their mean would drown what tells one input from another within a few layers.
    """
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        return 1.0, 0.3, False
    if leaf == "running_mean" or leaf.endswith("bias"):
        return 0.0, 0.1, False
    if leaf == "logit_scale":
        return 4.0, 0.5, False
    if any(embedding in name for embedding in EMBEDDINGS):
        return 0.0, 1.0, False
    if len(shape) == 1:
        return 1.0, 0.1, False
    if leaf in ("proj", "text_projection"):  # stored as [in, out], unlike every other matrix
        return 0.0, math.sqrt(6.0 / shape[0]), False
    return 0.0, math.sqrt(6.0 / math.prod(shape[1:])), shape[1] % 2 == 0


def tensor(name, shape):
    """The f32 tensor of this name and shape."""
    offset, scale, paired = role(name, shape)
    flat = np.empty(math.prod(shape), np.float32)
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK]
        u = (words(seed(name), start, part.size) >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0
        part[:] = offset + scale * u
    values = flat.reshape(shape)
    if paired:
        values[:, 1::2] = -values[:, 0::2]
    return values


def picture(name, height, width):
    """An RGB picture [height, width, 3] u8: a colour, soft patches and a fine texture, by whole numbers only."""
    colour = words(seed(f"{name}/colour"), 0, 5)
    base = (colour[:3] >> np.uint64(56)).astype(np.int64)
    patches = noise(seed(f"{name}/patches"), height, width, max(height, width) // int(2 + colour[3] % 4))
    texture = noise(seed(f"{name}/texture"), height, width, int(3 + colour[4] % 10))
    return ((80 * base + 112 * patches + 64 * texture) >> 8).astype(np.uint8)


def noise(seed, height, width, cell):
    """Random bytes on a grid of `cell` pixels with straight lines between them: [height, width, 3]."""
    rows, columns = height // cell + 2, width // cell + 2
    grid = (words(seed, 0, rows * columns * 3) >> np.uint64(56)).astype(np.int64).reshape(rows, columns, 3)
    y, v = (part[:, None] for part in np.divmod(np.arange(height), cell))
    x, u = (part[None, :] for part in np.divmod(np.arange(width), cell))
    u, v = u[..., None], v[..., None]
    above = grid[y, x] * (cell - u) + grid[y, x + 1] * u
    below = grid[y + 1, x] * (cell - u) + grid[y + 1, x + 1] * u
    return (above * (cell - v) + below * v) // (cell * cell)


def checksum(words):
    """The sum of `word * (2 * index + 1)`, modulo 2^64."""
    odd = np.arange(words.size, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    with np.errstate(over="ignore"):
        return int((words.ravel().astype(np.uint64) * odd).sum(dtype=np.uint64))


def main():
    """Writes one tensor per role and some pictures: their first and last bits, and a checksum of all."""
    examples = [
        ("conv1.weight", (8, 3, 7, 7)),
        ("layer1.0.conv2.weight", (6, 10, 3, 3)),
        ("layer2.0.downsample.0.weight", (5, 7, 1, 1)),
        ("bn1.weight", (64,)),
        ("bn1.bias", (64,)),
        ("bn1.running_mean", (64,)),
        ("bn1.running_var", (64,)),
        ("fc.weight", (1000, 512)),
        ("fc.bias", (1000,)),
        ("visual.proj", (96, 40)),
        ("text_projection", (64, 40)),
        ("text_projection.weight", (40, 64)),
        ("visual.class_embedding", (96,)),
        ("visual.positional_embedding", (50, 96)),
        ("vision_model.embeddings.patch_embedding.weight", (96, 3, 8, 8)),
        ("vision_model.embeddings.position_embedding.weight", (65, 96)),
        ("text_model.embeddings.token_embedding.weight", (128, 64)),
        ("transformer.resblocks.0.attn.in_proj_weight", (192, 64)),
        ("transformer.resblocks.0.attn.in_proj_bias", (192,)),
        ("logit_scale", ()),
        ("cls_token", (1, 1, 96)),
        ("pos_embed", (1, 17, 96)),
        ("seventy-thousand.weight", (70001,)),
    ]
    tensors = []
    for name, shape in examples:
        bits = tensor(name, shape).reshape(-1).view(np.uint32)
        ends = {"first": bits[:3].tolist(), "last": int(bits[-1]), "checksum": str(checksum(bits))}
        tensors.append({"name": name, "shape": shape, **ends})
    pictures = []
    for name, height, width in [("picture/0", 64, 64), ("picture/1", 75, 61), ("picture/2", 31, 45), ("picture/3", 224, 224)]:
        pixels = picture(name, height, width)
        ends = {"first": pixels[0, 0].tolist(), "last": pixels[-1, -1].tolist(), "checksum": str(checksum(pixels))}
        pictures.append({"name": name, "height": height, "width": width, **ends})
    rows = lambda entries: ",\n".join("  " + json.dumps(entry) for entry in entries)
    text = f'{{\n "tensors": [\n{rows(tensors)}\n ],\n "pictures": [\n{rows(pictures)}\n ]\n}}\n'
    (GOLDENS / "formula.json").write_text(text)


if __name__ == "__main__":
    main()
