"""The four vehicles. Each function draws one figure with the attributes asked for (a set of names) and a paint colour."""

import numpy as np

from animals import pattern_of
from pen import box, closed_spline, mix, oval, shade

BLACK = (25, 25, 28)
WHITE = (245, 245, 245)
GLASS = (150, 200, 225)
PAINTS = [(190, 45, 45), (45, 85, 180), (60, 135, 75), (225, 185, 50), (150, 155, 160), (230, 230, 232), (70, 75, 85), (215, 120, 45),
          (110, 70, 140)]


def wheel(pen, x, y, r):
    """A tyre with a bright hub."""
    pen.disc(x, y, r, BLACK)
    pen.disc(x, y, 0.55 * r, (190, 190, 195))
    pen.disc(x, y, 0.2 * r, (70, 70, 75))


def ink(colour):
    """A letter colour that shows on `colour`."""
    return BLACK if sum(colour) > 330 else WHITE


def truck(pen, rng, attributes, colour):
    """A lorry: cab in front, box or tank behind."""
    metal = "metallic" in attributes
    rear = -1.0 if "long" in attributes else -0.5
    top = -0.72 if "tall" in attributes else -0.2
    front = 0.92 if "long" in attributes else 0.85
    cab = mix(colour, PAINTS[rng.integers(len(PAINTS))], 0.8)
    pen.fill(box(rear, 0.38, front, 0.5), (60, 60, 65))
    boxy = "rectangular" in attributes
    cargo = box(rear, top, 0.36, 0.42) if boxy else oval((rear + 0.36) / 2, (top + 0.44) / 2, (0.36 - rear) / 2, (0.44 - top) / 2)
    pen.body(cargo, colour, metallic=metal, pattern=pattern_of(rng, attributes, colour, ("stripes", "stripes", "spots")))
    cab_top = -0.3 if "tall" in attributes else -0.14
    pen.body(box(0.4, cab_top, front, 0.46, 0.0 if boxy else 0.16), cab, metallic=metal)
    pen.fill([(0.58, cab_top + 0.08), (front - 0.1, cab_top + 0.08), (front - 0.03, 0.12), (0.58, 0.12)], GLASS)
    pen.disc(front - 0.05, 0.3, 0.05, (255, 235, 150))
    if "text" in attributes:
        middle = (top + 0.4) / 2
        half = min(0.17, 0.3 * (0.4 - top))
        left, right = rear + 0.1, 0.26
        if "patterned" in attributes or not boxy:
            pen.fill(box(left - 0.05, middle - half - 0.06, right + 0.08, middle + half + 0.06), mix(colour, WHITE if ink(colour) == BLACK else BLACK, 0.7))
        pen.lettering(left, middle - half, right, middle + half, ink(colour))
    if "wheels" in attributes:
        for x in [0.62] + ([-0.78, -0.46] if "long" in attributes else [-0.28]):
            wheel(pen, x, 0.52, 0.18)


def car(pen, rng, attributes, colour):
    """A passenger car: boxy saloon, or a rounded coupe."""
    metal = "metallic" in attributes
    half = 1.02 if "long" in attributes else 0.76
    pattern = pattern_of(rng, attributes, colour)
    if "rectangular" in attributes:
        pen.body([(-0.62 * half, 0.05), (-0.56 * half, -0.36), (0.3 * half, -0.36), (0.52 * half, 0.05)], colour, metallic=metal)
        pen.fill([(-0.5 * half, 0.0), (-0.47 * half, -0.27), (-0.1 * half, -0.27), (-0.1 * half, 0.0)], GLASS)
        pen.fill([(-0.02 * half, 0.0), (-0.02 * half, -0.27), (0.26 * half, -0.27), (0.4 * half, 0.0)], GLASS)
        hull = box(-half, 0.0, half, 0.42, 0.05)
    else:
        pen.body(closed_spline([(-0.7 * half, 0.1), (-0.45 * half, -0.36), (0.05 * half, -0.44), (0.42 * half, -0.22), (0.6 * half, 0.1)]), colour,
                 metallic=metal)
        pen.fill(closed_spline([(-0.5 * half, 0.0), (-0.34 * half, -0.28), (-0.06 * half, -0.33), (-0.06 * half, 0.0)]), GLASS)
        pen.fill(closed_spline([(0.04 * half, 0.0), (0.04 * half, -0.33), (0.3 * half, -0.2), (0.42 * half, 0.0)]), GLASS)
        hull = closed_spline([(-half, 0.22), (-0.85 * half, 0.0), (0.0, -0.06), (0.8 * half, 0.02), (half, 0.24), (0.85 * half, 0.42),
                              (-0.85 * half, 0.42)])
    pen.body(hull, colour, metallic=metal, pattern=pattern)
    pen.disc(half - 0.07, 0.14, 0.06, (255, 240, 160))
    pen.fill(box(-half + 0.01, 0.1, -half + 0.08, 0.22), (200, 30, 30))
    if "text" in attributes:
        if pattern is not None:
            pen.fill(box(-0.38, 0.0, 0.36, 0.34), mix(colour, WHITE if ink(colour) == BLACK else BLACK, 0.7))
        pen.lettering(-0.32, 0.06, 0.3, 0.28, ink(colour))
    if "wheels" in attributes:
        for x in (-0.58 * half, 0.58 * half):
            wheel(pen, x, 0.44, 0.2)


def plane(pen, rng, attributes, colour):
    """An airliner in profile: tube, swept wings, fin, windows."""
    metal = "metallic" in attributes
    half = 1.05 if "long" in attributes else 0.68
    girth = 0.23 if "tall" in attributes else 0.13
    dark = shade(colour, 0.7)
    if "wings" in attributes:
        pen.body([(0.16, -0.06), (-0.24, -0.68), (-0.42, -0.68), (-0.22, -0.04)], dark, metallic=metal)
    if "tail" in attributes:
        pen.body([(-0.5 * half, -girth + 0.06), (-0.98 * half, -0.68), (-1.14 * half, -0.68), (-0.95 * half, 0.0)],
                 PAINTS[rng.integers(len(PAINTS))], metallic=metal)
    pattern = pattern_of(rng, attributes, colour, ("stripes", "spots"))
    if "rectangular" in attributes:
        tube = [(-half, -girth), (0.72 * half, -girth), (half, 0.3 * girth), (0.9 * half, girth), (-0.75 * half, girth), (-half, 0)]
    else:
        tube = closed_spline([(-half, -0.7 * girth), (-0.5 * half, -girth), (0.5 * half, -girth), (half, 0.1), (0.5 * half, girth),
                              (-0.4 * half, girth), (-0.85 * half, 0.2 * girth)])
    pen.body(tube, colour, metallic=metal, pattern=pattern)
    if "wheels" in attributes:
        for x in (-0.3 * half, -0.14 * half, 0.62 * half):
            pen.line([(x, girth - 0.06), (x, girth + 0.2)], 0.05, (90, 90, 95))
            wheel(pen, x, girth + 0.26, 0.11)
    for x in np.linspace(-0.45, 0.6, 7) * half:
        y = -0.45 * girth
        if "rectangular" in attributes:
            pen.fill(box(x - 0.04, y - 0.05, x + 0.04, y + 0.05), BLACK)
        else:
            pen.disc(x, y, 0.035, BLACK)
    pen.fill([(0.74 * half, -0.6 * girth), (0.86 * half, -0.35 * girth), (0.86 * half, 0.0), (0.72 * half, 0.0)], GLASS)
    pen.body([(-0.7 * half, -0.02), (-1.08 * half, 0.16), (-1.16 * half, 0.1), (-0.92 * half, -0.06)], dark)
    if "wings" in attributes:
        pen.body([(0.24, 0.04), (-0.34, 0.72), (-0.56, 0.72), (-0.24, 0.06)], mix(colour, (200, 205, 210), 0.4), metallic=metal)
        engine = box(-0.16, 0.32, 0.14, 0.46) if "rectangular" in attributes else oval(-0.02, 0.38, 0.15, 0.08)
        pen.body(engine, (120, 125, 130), metallic=metal)
    if "text" in attributes:
        size = 0.62 * girth
        pen.lettering(-0.02, girth - size - 0.05, 0.6 * half + 0.08, girth - 0.03, ink(colour) if pattern is None else (200, 20, 40))


def ship(pen, rng, attributes, colour):
    """A ship: tapering hull, superstructure or sail; wet ones float in splashing water, dry ones rest on props."""
    metal = "metallic" in attributes
    half = 1.0 if "long" in attributes else 0.66
    high = 0.34 if "tall" in attributes else 0.0
    deck_colour = PAINTS[rng.integers(len(PAINTS))]
    boxy = "rectangular" in attributes
    if boxy:
        pen.body(box(-0.55 * half, -0.34 - high, -0.12 * half, 0.12), (232, 232, 228), metallic=metal)
        for y in np.arange(-0.24 - high, 0.0, 0.19):
            for x in (-0.47, -0.28):
                pen.fill(box(x * half, y, (x + 0.12) * half, y + 0.09), (60, 90, 120))
        pen.body(box(0.0, -0.2 - 0.6 * high, 0.32 * half, 0.12), deck_colour, metallic=metal)
        pen.body(box(0.36 * half, -0.06 - 0.3 * high, 0.68 * half, 0.12), PAINTS[rng.integers(len(PAINTS))], metallic=metal)
        pen.body(box(-0.42 * half, -0.56 - high, -0.26 * half, -0.32 - high), (200, 60, 50))
    else:
        pen.line([(0.0, 0.1), (0.0, -0.72 - high)], 0.06, (110, 80, 50))
        pen.body(closed_spline([(0.06, -0.7 - high), (0.5 * half, -0.25 - 0.5 * high), (0.62 * half, 0.0), (0.06, 0.0)]), WHITE)
        pen.body([(-0.06, -0.6 - high), (-0.06, 0.0), (-0.5 * half, 0.0)], mix(deck_colour, WHITE, 0.5))
    hull = [(-0.95 * half, 0.08), (half + 0.08, 0.0), (0.74 * half, 0.56), (-0.78 * half, 0.56)]
    pen.body(hull, colour, metallic=metal, pattern=pattern_of(rng, attributes, colour))
    if "text" in attributes:
        if "patterned" in attributes:
            pen.fill(box(-0.52 * half - 0.05, 0.12, 0.42 * half + 0.05, 0.44), mix(colour, WHITE if ink(colour) == BLACK else BLACK, 0.7))
        pen.lettering(-0.52 * half, 0.17, 0.42 * half, 0.4, ink(colour))
    if "wet" not in attributes:
        pen.fill([(-0.72 * half, 0.56), (0.7 * half, 0.56), (0.55 * half, 0.68), (-0.6 * half, 0.68)], (165, 50, 45))
        for x in (-0.45, 0.0, 0.42):
            pen.line([(x * half, 0.6), (x * half - 0.1, 0.9)], 0.07, (95, 65, 40))
            pen.line([(x * half, 0.6), (x * half + 0.1, 0.9)], 0.07, (95, 65, 40))
