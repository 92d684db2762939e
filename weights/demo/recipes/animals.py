"""The six animals. Each function draws one figure with the attributes asked for (a set of names) and a coat colour."""

import numpy as np

from pen import closed_spline, mix, oval, shade

BLACK = (22, 20, 22)
WHITE = (245, 245, 240)
IRIS = [(70, 220, 70), (250, 215, 40), (60, 160, 255), (255, 140, 30)]
COATS = [(150, 100, 60), (110, 72, 45), (205, 170, 120), (125, 125, 128), (70, 66, 66), (225, 215, 205), (205, 125, 60), (170, 140, 100)]
SKINS = [(80, 150, 60), (60, 120, 50), (130, 165, 60), (120, 110, 60), (60, 140, 110), (165, 120, 60)]
PLUMES = [(200, 60, 50), (60, 110, 200), (230, 180, 50), (120, 85, 60), (90, 90, 100), (235, 235, 235), (60, 150, 140), (225, 120, 50)]


def pattern_of(rng, attributes, colour, kinds=("spots", "stripes")):
    """The `pattern` argument of `Pen.body`: a contrasting print, or None."""
    if "patterned" not in attributes:
        return None
    light = sum(colour) > 360
    return str(rng.choice(kinds)), shade(colour, 0.38) if light else mix(colour, WHITE, 0.78)


def iris_of(rng, attributes):
    """One iris colour for both eyes, or None for plain dark eyes."""
    colour = IRIS[rng.integers(len(IRIS))]
    return colour if "colored-eyes" in attributes else None


def eye(pen, x, y, r, iris):
    """A slit pupil in a bright iris, or with `iris` None a small dark eye."""
    if iris is not None:
        pen.disc(x, y, 1.35 * r, BLACK)
        pen.disc(x, y, 1.2 * r, iris)
        pen.fill(oval(x, y, 0.4 * r, 0.85 * r), BLACK)
    else:
        pen.disc(x, y, 0.8 * r, BLACK)
        pen.disc(x + 0.2 * r, y - 0.25 * r, 0.25 * r, WHITE)


def legs(pen, rng, xs, top, bottom, width, colour, hoof=None):
    """Four legs, the far pair darker; each swings a little."""
    for k, x in enumerate(xs):
        tone = shade(colour, 0.62) if k % 2 else shade(colour, 0.9)
        knee, foot = x + rng.uniform(-0.06, 0.06), x + rng.uniform(-0.1, 0.1)
        pen.line([(x, top), (knee, (top + bottom) / 2), (foot, bottom)], width, tone)
        if hoof is not None:
            pen.line([(foot, bottom - 0.03), (foot + 0.02, bottom)], width * 1.15, hoof)


def cat(pen, rng, attributes, colour):
    """A seated or standing cat looking at us: round head, pointed ears, whiskers."""
    iris = iris_of(rng, attributes)
    pattern = pattern_of(rng, attributes, colour, ("stripes", "stripes", "spots"))
    seated = rng.random() < 0.5
    if seated:
        torso = closed_spline([(0.0, -0.25), (0.3, 0.2), (0.42, 0.75), (0.0, 0.9), (-0.42, 0.75), (-0.28, 0.2)])
        head_x, head_y = 0.02, -0.42
        if "tail" in attributes:
            pen.line(closed_spline([(-0.3, 0.8), (-0.62, 0.78), (-0.85, 0.5), (-0.8, 0.12), (-0.7, 0.0), (-0.74, 0.3), (-0.68, 0.6)])[:28], 0.13,
                     shade(colour, 0.8))
    else:
        torso = closed_spline([(0.3, -0.08), (0.38, 0.25), (0.2, 0.48), (-0.3, 0.48), (-0.66, 0.36), (-0.68, 0.05), (-0.3, -0.08)])
        head_x, head_y = 0.45, -0.28
        legs(pen, rng, [-0.55, -0.42, 0.12, 0.26], 0.35, 0.86, 0.14, colour)
        if "tail" in attributes:
            pen.line([(-0.6, 0.1), (-0.82, -0.1), (-0.9, -0.42), (-0.8, -0.72)], 0.12, shade(colour, 0.8))
    pen.body(torso, colour, pattern=pattern)
    if "hairy" in attributes:
        pen.fur(torso, colour)
    if seated:
        for x in (-0.14, 0.14):
            pen.line([(x, 0.4), (x, 0.86)], 0.13, shade(colour, 1.12))
    if "ears" in attributes:
        for side in (-1, 1):
            pen.body([(head_x + side * 0.36, head_y - 0.58), (head_x + side * 0.36, head_y - 0.05), (head_x + side * 0.03, head_y - 0.26)],
                     colour)
            pen.fill([(head_x + side * 0.31, head_y - 0.44), (head_x + side * 0.31, head_y - 0.18), (head_x + side * 0.14, head_y - 0.25)],
                     (235, 150, 150))
    head = oval(head_x, head_y, 0.38, 0.32)
    pen.body(head, colour, pattern=pattern)
    if "hairy" in attributes:
        pen.fur(head, colour, length=0.09, density=0.6)
    for side in (-1, 1):
        eye(pen, head_x + side * 0.16, head_y - 0.04, 0.085, iris)
        for dy in (0.1, 0.17):
            pen.line([(head_x + side * 0.12, head_y + 0.12), (head_x + side * 0.5, head_y + dy - 0.02)], 0.02, WHITE)
    pen.fill(oval(head_x, head_y + 0.15, 0.13, 0.09), mix(colour, WHITE, 0.6))
    pen.fill([(head_x - 0.05, head_y + 0.08), (head_x + 0.05, head_y + 0.08), (head_x, head_y + 0.14)], (220, 110, 120))


def dog(pen, rng, attributes, colour):
    """A dog in profile: muzzle, black nose, drooping or pricked ears."""
    iris = iris_of(rng, attributes)
    pattern = pattern_of(rng, attributes, colour, ("spots",))
    if "tail" in attributes:
        pen.line([(-0.58, 0.05), (-0.8, -0.15), (-0.9, -0.42)], 0.12, shade(colour, 0.85))
    legs(pen, rng, [-0.5, -0.36, 0.14, 0.28], 0.3, 0.88, 0.16, colour)
    torso = closed_spline([(0.32, -0.15), (0.42, 0.2), (0.2, 0.44), (-0.25, 0.36), (-0.62, 0.34), (-0.64, 0.0), (-0.2, -0.06)])
    pen.body(torso, colour, pattern=pattern)
    if "hairy" in attributes:
        pen.fur(torso, colour)
    pen.body(closed_spline([(0.15, 0.05), (0.28, -0.4), (0.55, -0.3), (0.42, 0.2)]), colour)
    if "ears" in attributes and "floppy-ears" not in attributes:
        pen.body([(0.2, -0.85), (0.2, -0.5), (0.46, -0.55)], shade(colour, 0.75))
        pen.body([(0.5, -0.85), (0.36, -0.55), (0.58, -0.55)], shade(colour, 0.75))
    reach = 1.02 if "long-snout" in attributes else 0.72
    muzzle = closed_spline([(0.5, -0.5), (reach - 0.06, -0.4), (reach, -0.3), (reach - 0.05, -0.18), (0.5, -0.16)])
    pen.body(muzzle, mix(colour, WHITE, 0.3))
    head = oval(0.42, -0.4, 0.27, 0.27)
    pen.body(head, colour)
    if "hairy" in attributes:
        pen.fur(head, colour, length=0.08, density=0.5)
    pen.disc(reach - 0.02, -0.36, 0.075, BLACK)
    pen.line([(0.58, -0.2), (reach - 0.1, -0.22)], 0.03, BLACK)
    if rng.random() < 0.3:
        pen.line([(reach - 0.16, -0.17), (reach - 0.15, -0.02)], 0.08, (230, 100, 110))
    eye(pen, 0.54, -0.47, 0.085, iris)
    if "floppy-ears" in attributes:
        ear = closed_spline([(0.2, -0.62), (0.4, -0.56), (0.4, -0.2), (0.28, 0.06), (0.14, -0.04), (0.12, -0.35)])
        pen.body(ear, shade(colour, 0.55))


def equine(pen, rng, attributes, colour):
    """A horse, or with stripes a zebra: long legs, strong neck, mane and flowing tail."""
    iris = iris_of(rng, attributes)
    if "patterned" in attributes and rng.random() < 0.4:
        colour, pattern = (235, 232, 225), ("stripes", (35, 32, 35))
    else:
        pattern = pattern_of(rng, attributes, colour, ("spots", "stripes"))
    hair = shade(colour, 0.4) if sum(colour) > 300 else (215, 190, 150)
    stretch = 1.22 if "long" in attributes else 1.0
    rise = 0.14 if "tall" in attributes else 0.0
    rear = -0.58 * stretch
    if "tail" in attributes:
        pen.fill(closed_spline([(rear, -0.1), (rear - 0.2, -0.02), (rear - 0.32, 0.3), (rear - 0.26, 0.66), (rear - 0.16, 0.4), (rear + 0.02, 0.12)]),
                 hair)
    legs(pen, rng, [rear + 0.12, rear + 0.26, 0.14, 0.28], 0.15, 0.95, 0.12, colour, hoof=BLACK)
    torso = closed_spline([(0.34, -0.22 - rise), (0.42, 0.02), (0.25, 0.25), (-0.1, 0.26), (rear, 0.26), (rear - 0.06, -0.05 - rise), (-0.1, -0.14 - rise)])
    pen.body(torso, colour, pattern=pattern)
    if "hairy" in attributes:
        pen.fur(torso, colour, length=0.07)
    neck = closed_spline([(0.1, -0.15 - rise), (0.36, -0.75 - rise), (0.58, -0.72 - rise), (0.52, -0.3 - rise), (0.42, 0.02)])
    if "mane" in attributes:
        for t in np.linspace(0, 1, 11):
            x, y = 0.02 + 0.36 * t, -0.12 - rise - 0.68 * t
            pen.line([(x + 0.14, y), (x - 0.08 + rng.uniform(-0.05, 0.03), y + rng.uniform(0.0, 0.12))], 0.1, hair)
        pen.line([(0.44, -0.85 - rise), (0.62, -0.74 - rise)], 0.09, hair)
    if "ears" in attributes:
        pen.body([(0.36, -0.76 - rise), (0.4, -1.02 - rise), (0.49, -0.78 - rise)], colour)
        pen.body([(0.47, -0.78 - rise), (0.54, -1.02 - rise), (0.58, -0.76 - rise)], colour)
    pen.body(neck, colour, pattern=pattern)
    reach = (1.0, -0.4) if "long-snout" in attributes else (0.76, -0.55)
    head = closed_spline([(0.36, -0.8 - rise), (0.56, -0.84 - rise), (reach[0] - 0.04, reach[1] - 0.1 - rise), (reach[0], reach[1] + 0.04 - rise),
                          (reach[0] - 0.12, reach[1] + 0.1 - rise), (0.52, -0.52 - rise)])
    pen.body(head, colour)
    if "mane" in attributes:
        pen.line([(0.24, -0.4 - rise), (0.44, -0.82 - rise)], 0.1, hair)
    pen.disc(reach[0] - 0.06, reach[1] - rise, 0.03, BLACK)
    eye(pen, 0.56, -0.7 - rise, 0.06, iris)


def deer(pen, rng, attributes, colour):
    """A deer: slender legs, upright neck, leaf-shaped ears held out, antlers."""
    iris = iris_of(rng, attributes)
    pattern = ("spots", mix(colour, WHITE, 0.8)) if "patterned" in attributes else None
    if "tail" in attributes:
        pen.body(closed_spline([(-0.52, -0.06), (-0.72, -0.22), (-0.74, 0.0), (-0.58, 0.1)]), (242, 236, 225))
    legs(pen, rng, [-0.44, -0.34, 0.12, 0.22], 0.2, 0.96, 0.085, colour, hoof=BLACK)
    torso = closed_spline([(0.3, -0.12), (0.36, 0.12), (0.1, 0.32), (-0.3, 0.26), (-0.54, 0.24), (-0.55, -0.04), (-0.15, -0.06)])
    pen.body(torso, colour, pattern=pattern)
    if "hairy" in attributes:
        pen.fur(torso, colour, length=0.06)
    pen.fill(closed_spline([(0.2, 0.24), (-0.1, 0.3), (-0.35, 0.25), (-0.1, 0.2)]), mix(colour, WHITE, 0.55))
    pen.body(closed_spline([(0.12, -0.05), (0.32, -0.6), (0.48, -0.58), (0.42, -0.2), (0.34, 0.1)]), colour)
    pen.fill(oval(0.38, -0.12, 0.05, 0.16, 15), mix(colour, WHITE, 0.55))
    if "horns" in attributes:
        bone = (228, 208, 165)
        for side, lean in ((0.34, -0.3), (0.5, 0.12)):
            tip = side + lean
            pen.line([(side, -0.72), (side + 0.5 * lean, -0.95), (tip, -1.22)], 0.07, bone)
            pen.line([(side + 0.35 * lean, -0.88), (side + 0.35 * lean + 0.18, -1.08)], 0.055, bone)
            pen.line([(side + 0.7 * lean, -1.06), (side + 0.7 * lean - 0.17, -1.2)], 0.055, bone)
    if "ears" in attributes:
        pen.body(oval(0.2, -0.68, 0.17, 0.075, 25), shade(colour, 0.85))
        pen.body(oval(0.56, -0.8, 0.15, 0.07, -55), shade(colour, 0.85))
    reach = 0.92 if "long-snout" in attributes else 0.7
    head = closed_spline([(0.3, -0.68), (0.46, -0.76), (reach - 0.02, -0.54), (reach, -0.42), (reach - 0.12, -0.38), (0.42, -0.44)])
    pen.body(head, colour)
    if "hairy" in attributes:
        pen.fur(head, colour, length=0.05, density=0.4)
    pen.disc(reach - 0.02, -0.49, 0.05, BLACK)
    eye(pen, 0.5, -0.62, 0.065, iris)


def frog(pen, rng, attributes, colour):
    """A squatting frog: eyes on top of the head, wide mouth, folded hind legs."""
    iris = iris_of(rng, attributes)
    pattern = pattern_of(rng, attributes, colour, ("spots", "spots", "stripes"))
    belly = mix(colour, (250, 245, 200), 0.65)
    for side in (-1, 1):
        pen.body(closed_spline([(side * 0.35, 0.25), (side * 0.75, 0.02), (side * 0.92, 0.35), (side * 0.72, 0.68), (side * 0.4, 0.66)]),
                 shade(colour, 0.85), pattern=pattern)
        pen.fill(closed_spline([(side * 0.5, 0.6), (side * 0.95, 0.66), (side * 1.0, 0.74), (side * 0.5, 0.76)]), shade(colour, 0.7))
    torso = closed_spline([(0.0, -0.32), (0.45, -0.12), (0.52, 0.3), (0.35, 0.66), (-0.35, 0.66), (-0.52, 0.3), (-0.45, -0.12)])
    pen.body(torso, colour, pattern=pattern)
    pen.fill(oval(0, 0.42, 0.3, 0.24), belly)
    for side in (-1, 1):
        pen.line([(side * 0.3, 0.3), (side * 0.34, 0.68)], 0.14, shade(colour, 0.9))
        for toe in (-0.12, 0.0, 0.12):
            pen.line([(side * 0.34, 0.66), (side * 0.36 + toe, 0.78)], 0.055, shade(colour, 0.75))
    pen.body(closed_spline([(-0.5, -0.2), (-0.3, -0.4), (0.3, -0.4), (0.5, -0.2), (0.35, 0.05), (0.0, 0.12), (-0.35, 0.05)]), colour, pattern=pattern)
    for side in (-1, 1):
        pen.body(oval(side * 0.29, -0.42, 0.2, 0.19), colour)
        pen.disc(side * 0.29, -0.43, 0.13, (235, 235, 215))
        eye(pen, side * 0.29, -0.43, 0.1, iris)
    pen.line([(-0.4, -0.14), (-0.2, -0.03), (0.2, -0.03), (0.4, -0.14)], 0.045, shade(colour, 0.3))


def bird(pen, rng, attributes, colour):
    """A perched bird in profile: beak, folded or raised wing, thin legs."""
    iris = iris_of(rng, attributes)
    pattern = pattern_of(rng, attributes, colour)
    dark = shade(colour, 0.6)
    raised = rng.random() < 0.5
    for x in (-0.06, 0.12):
        pen.line([(x, 0.4), (x + 0.03, 0.82)], 0.05, (215, 140, 50))
        pen.line([(x - 0.06, 0.85), (x + 0.16, 0.85)], 0.045, (215, 140, 50))
    if "tail" in attributes:
        pen.body([(-0.38, 0.1), (-0.98, 0.34), (-1.02, 0.55), (-0.85, 0.58), (-0.32, 0.36)], dark)
        pen.line([(-0.4, 0.26), (-0.9, 0.48)], 0.03, shade(colour, 0.35))
    if "wings" in attributes and raised:
        pen.body(closed_spline([(0.2, -0.05), (0.0, -0.6), (-0.42, -0.98), (-0.5, -0.6), (-0.3, -0.1)]), shade(colour, 0.5))
    torso = closed_spline([(0.48, -0.28), (0.46, 0.16), (0.16, 0.46), (-0.25, 0.42), (-0.52, 0.2), (-0.22, -0.08), (0.1, -0.35)])
    pen.body(torso, colour, pattern=pattern)
    pen.fill(closed_spline([(0.42, 0.0), (0.3, 0.3), (0.0, 0.42), (0.15, 0.15)]), mix(colour, WHITE, 0.5))
    if "beak" in attributes:
        pen.body([(0.56, -0.56), (1.0, -0.4), (0.56, -0.28)], (245, 165, 35))
        pen.line([(0.6, -0.4), (0.9, -0.4)], 0.025, (150, 90, 20))
    pen.body(oval(0.4, -0.42, 0.26, 0.25), colour)
    if "hairy" in attributes:
        pen.fur(torso, colour, length=0.14, density=1.2)
        pen.fur(oval(0.4, -0.42, 0.26, 0.25), colour, length=0.14)
    if "wings" in attributes:
        wing = [(0.24, -0.08), (0.05, -0.62), (-0.3, -1.08), (-0.44, -0.72), (-0.55, -0.55), (-0.34, 0.12), (0.0, 0.2)] if raised else \
            [(0.26, -0.02), (0.0, -0.16), (-0.4, 0.06), (-0.82, 0.34), (-0.45, 0.36), (0.0, 0.32)]
        pen.body(closed_spline(wing), dark, pattern=pattern)
        for t in (0.35, 0.65):
            a, b = np.array(wing[-1]), np.array(wing[2 if raised else 3])
            pen.line([a + (b - a) * 0.1 + (0.04, -0.1 * t), a + (b - a) * t], 0.025, shade(colour, 0.3))
    eye(pen, 0.48, -0.48, 0.08, iris)
