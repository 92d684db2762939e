"""Whole pictures: choosing a picture's contents, backgrounds, water, occluders, and putting it all on one canvas."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

import animals
import vehicles
from pen import CANVAS, SIZE, Pen, closed_spline, mix, oval, shade
from vocabulary import ATTRIBUTES, BACKGROUNDS, CLASSES, PREVALENCE

DRAW = {
    "truck": (vehicles.truck, vehicles.PAINTS), "car": (vehicles.car, vehicles.PAINTS), "plane": (vehicles.plane, vehicles.PAINTS),
    "ship": (vehicles.ship, vehicles.PAINTS), "cat": (animals.cat, animals.COATS), "dog": (animals.dog, animals.COATS),
    "equine": (animals.equine, animals.COATS), "deer": (animals.deer, animals.COATS), "frog": (animals.frog, animals.SKINS),
    "bird": (animals.bird, animals.PLUMES),
}

# (scale, shift down) that keeps antlers and ears on the picture.
FIT = {"deer": (0.88, 0.05), "equine": (0.95, 0.02)}

# (upper colour, lower colour, height of the horizon as a fraction of the picture)
GROUNDS = {
    "sky": ((105, 165, 230), (205, 228, 245), 1.0), "grass": ((165, 205, 235), (95, 160, 70), 0.45),
    "sand": ((185, 210, 230), (220, 195, 140), 0.5), "water": ((175, 210, 235), (50, 110, 170), 0.45),
    "road": ((185, 190, 195), (105, 105, 110), 0.5), "snow": ((190, 205, 225), (238, 242, 248), 0.5),
    "forest": ((45, 85, 50), (75, 95, 50), 0.62), "indoor": ((215, 195, 165), (150, 110, 75), 0.68),
}


@dataclass
class Contents:
    """What one picture shows."""

    label: str
    background: str
    attributes: frozenset

    def row(self):
        """The attributes as zeros and ones, in the vocabulary's order."""
        return [int(a in self.attributes) for a in ATTRIBUTES]


def choose(rng, label):
    """Attributes by the class's prevalence and a background that says nothing about the class.

    Two ties: only drooping ears need ears, and most wet ships float on open water.
    """
    chance = PREVALENCE[label]
    chosen = {a for a in ATTRIBUTES if a != "floppy-ears" and rng.random() < chance.get(a, 0.0)}
    if "floppy-ears" in chance and "ears" in chosen and rng.random() < chance["floppy-ears"] / chance["ears"]:
        chosen.add("floppy-ears")
    background = str(rng.choice(BACKGROUNDS))
    if label == "ship" and "wet" in chosen and rng.random() < 0.5:
        background = "water"
    return Contents(label, background, frozenset(chosen))


def _jitter(rng, colour, amount=16):
    return tuple(int(np.clip(c + d, 0, 255)) for c, d in zip(colour, rng.integers(-amount, amount + 1, 3)))


def _gradient(top, bottom, height, width):
    t = np.linspace(0, 1, max(2, height))[:, None]
    column = (np.array(top) * (1 - t) + np.array(bottom) * t).astype(np.uint8)
    return Image.fromarray(column[:, None, :]).resize((width, height))


def backdrop(rng, kind):
    """A canvas with background `kind`: two smooth areas and a few large, quiet shapes."""
    upper, lower, level = GROUNDS[kind]
    upper, lower = _jitter(rng, upper), _jitter(rng, lower)
    horizon = int(CANVAS * np.clip(level + rng.uniform(-0.08, 0.08), 0, 1)) if level < 1 else CANVAS
    canvas = Image.new("RGB", (CANVAS, CANVAS), lower)
    far = lower if kind == "sky" else mix(upper, (255, 255, 255), 0.25)
    canvas.paste(_gradient(upper, far, horizon, CANVAS), (0, 0))
    if horizon < CANVAS:
        canvas.paste(_gradient(shade(lower, 1.1), shade(lower, 0.8), CANVAS - horizon, CANVAS), (0, horizon))
    draw = ImageDraw.Draw(canvas)
    x = int(rng.integers(0, CANVAS))
    if kind == "sky":
        for _ in range(2):
            cx, cy = rng.integers(0, CANVAS, 2)
            for dx, r in ((-34, 20), (0, 30), (36, 22)):
                draw.ellipse((cx + dx - 1.4 * r, cy - 0.6 * r, cx + dx + 1.4 * r, cy + 0.6 * r), fill=(240, 246, 252))
    elif kind == "grass":
        draw.ellipse((x - 150, horizon - 26, x + 150, horizon + 30), fill=shade(lower, 0.85))
        for _ in range(7):
            gx, gy = rng.integers(0, CANVAS), rng.integers(horizon + 20, CANVAS)
            draw.line((gx, gy, gx - 5, gy - 18), fill=shade(lower, 0.7), width=5)
    elif kind == "sand":
        draw.polygon([(x - 160, horizon + 4), (x, horizon - 34), (x + 160, horizon + 4)], fill=shade(lower, 1.15))
    elif kind == "water":
        for _ in range(6):
            wx, wy = rng.integers(-20, CANVAS), rng.integers(horizon + 8, CANVAS)
            draw.line((wx, wy, wx + 50, wy), fill=mix(lower, (255, 255, 255), 0.4), width=5)
    elif kind == "road":
        draw.rectangle((0, horizon - 10, CANVAS, horizon + 4), fill=(150, 150, 145))
        y = horizon + int(0.55 * (CANVAS - horizon))
        for k in range(-1, 4):
            draw.rectangle((k * 90 + x % 90, y, k * 90 + x % 90 + 50, y + 10), fill=(235, 225, 150))
    elif kind == "snow":
        draw.polygon([(x - 110, horizon + 2), (x, horizon - 70), (x + 110, horizon + 2)], fill=(165, 180, 205))
        draw.polygon([(x - 36, horizon - 45), (x, horizon - 70), (x + 36, horizon - 45)], fill=(250, 250, 255))
    elif kind == "forest":
        for k in range(5):
            tx = (x + k * 55) % (CANVAS + 40) - 20
            draw.rectangle((tx - 7, horizon - 70, tx + 7, horizon + 12), fill=(70, 48, 30))
            draw.polygon([(tx - 44, horizon - 40), (tx, horizon - 175), (tx + 44, horizon - 40)], fill=_jitter(rng, (35, 85, 45), 10))
    elif kind == "indoor":
        draw.rectangle((0, horizon - 8, CANVAS, horizon + 2), fill=(240, 232, 215))
        draw.rectangle((x - 40, 20, x + 40, 100), fill=(245, 240, 225))
        draw.rectangle((x - 32, 28, x + 32, 92), fill=(150, 195, 225))
    return canvas


def _water(pen, rng, label):
    """What makes a figure wet: a splash or puddle at its foot, droplets on and around it."""
    blue, foam = (70, 140, 205), (235, 246, 252)
    level = 0.46 if label == "ship" else 0.78
    crest = [(x, level + 0.07 * (k % 2)) for k, x in enumerate(np.linspace(-1.15, 1.15, 11))]
    pen.fill(crest + [(1.0, level + 0.42), (-1.0, level + 0.42)], blue)
    pen.line(crest, 0.06, foam)
    for _ in range(11):
        x, y = rng.uniform(-0.9, 0.9), rng.uniform(-0.6, level)
        pen.fill(closed_spline([(x, y - 0.13), (x + 0.05, y), (x, y + 0.05), (x - 0.05, y)], steps=3), (160, 215, 250))
        pen.disc(x - 0.012, y, 0.02, foam)


def _occluder(canvas, rng):
    """A bush, a pole, a fence or a rock in front of the figure."""
    draw = ImageDraw.Draw(canvas)
    kind = rng.integers(4)
    x = int(rng.choice([rng.integers(0, CANVAS // 3), rng.integers(2 * CANVAS // 3, CANVAS)]))
    if kind == 0:
        green = _jitter(rng, (50, 115, 50))
        for dx, dy, r in ((-38, 12, 34), (0, -8, 44), (40, 10, 36)):
            draw.ellipse((x + dx - r, 216 + dy - r, x + dx + r, 216 + dy + r), fill=shade(green, 1 - 0.004 * dx))
    elif kind == 1:
        draw.rectangle((x - 11, 0, x + 11, CANVAS), fill=_jitter(rng, (120, 100, 80)))
    elif kind == 2:
        tone = _jitter(rng, (170, 130, 90))
        for y in (176, 214):
            draw.rectangle((0, y, CANVAS, y + 11), fill=tone)
        for k in range(4):
            draw.rectangle((k * 74 + x % 74 - 7, 160, k * 74 + x % 74 + 7, 244), fill=shade(tone, 0.85))
    else:
        draw.polygon([(x - 62, 240), (x - 34, 176), (x + 18, 164), (x + 62, 240)], fill=_jitter(rng, (125, 122, 120)))


def render(rng, contents, occlusion=0.3):
    """The 64x64 RGB picture of `contents` with a random pose, colours and, at times, something in front."""
    canvas = backdrop(rng, contents.background)
    function, colours = DRAW[contents.label]
    shrink, lower = FIT.get(contents.label, (1.0, 0.0))
    pen = Pen(canvas, rng, scale=shrink * rng.uniform(0.78, 1.08), rotation=rng.normal(0, 6), flip=bool(rng.integers(2)),
              offset=(rng.uniform(-0.07, 0.07), lower + rng.uniform(-0.04, 0.08)))
    colour = _jitter(rng, colours[rng.integers(len(colours))], 22)
    function(pen, rng, contents.attributes, colour)
    if "wet" in contents.attributes:
        _water(pen, rng, contents.label)
    if rng.random() < occlusion:
        _occluder(canvas, rng)
    return canvas.resize((SIZE, SIZE), Image.Resampling.BOX)
