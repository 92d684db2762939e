"""Vector drawing on a supersampled PIL canvas.

A figure is described in its own coordinates (x to the right, y down, both about -1 to 1, facing right) and lands on the
canvas through one similarity: flip, rotation, scale and position. A `Pen` holds that map, the canvas and the generator
that jitters texture strokes.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

SIZE = 64
OVERSAMPLE = 4
CANVAS = SIZE * OVERSAMPLE
UNIT = 0.40 * CANVAS  # canvas pixels per figure unit at scale 1

# Strokes of a few block letters on a unit square, y down.
LETTERS = {
    "A": [[(0, 1), (0.5, 0), (1, 1)], [(0.22, 0.62), (0.78, 0.62)]],
    "E": [[(1, 0), (0, 0), (0, 1), (1, 1)], [(0, 0.5), (0.8, 0.5)]],
    "F": [[(1, 0), (0, 0), (0, 1)], [(0, 0.5), (0.8, 0.5)]],
    "H": [[(0, 0), (0, 1)], [(1, 0), (1, 1)], [(0, 0.5), (1, 0.5)]],
    "K": [[(0, 0), (0, 1)], [(1, 0), (0, 0.5), (1, 1)]],
    "L": [[(0, 0), (0, 1), (1, 1)]],
    "N": [[(0, 1), (0, 0), (1, 1), (1, 0)]],
    "O": [[(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]],
    "T": [[(0, 0), (1, 0)], [(0.5, 0), (0.5, 1)]],
    "U": [[(0, 0), (0, 1), (1, 1), (1, 0)]],
    "X": [[(0, 0), (1, 1)], [(1, 0), (0, 1)]],
    "Z": [[(0, 0), (1, 0), (0, 1), (1, 1)]],
}


def shade(colour, factor):
    """`colour` made darker (factor < 1) or lighter (factor > 1)."""
    if factor <= 1:
        return tuple(int(c * factor) for c in colour)
    return tuple(int(c + (255 - c) * min(1.0, factor - 1)) for c in colour)


def mix(a, b, t):
    """The colour a fraction `t` of the way from `a` to `b`."""
    return tuple(int(x + (y - x) * t) for x, y in zip(a, b))


def closed_spline(points, steps=6):
    """A closed Catmull-Rom curve through `points`, as a polygon."""
    p = np.asarray(points, dtype=float)
    before, after, later = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    p, before, after, later = p[:, None], before[:, None], after[:, None], later[:, None]
    curve = 0.5 * (2 * p + (after - before) * t + (2 * before - 5 * p + 4 * after - later) * t**2
                   + (3 * p - before - 3 * after + later) * t**3)
    return curve.reshape(-1, 2)


def oval(cx, cy, rx, ry, angle=0.0, steps=28):
    """An ellipse as a polygon; `angle` in degrees, clockwise on the canvas."""
    t = np.linspace(0, 2 * math.pi, steps, endpoint=False)
    a = math.radians(angle)
    x, y = rx * np.cos(t), ry * np.sin(t)
    return np.stack([cx + x * math.cos(a) - y * math.sin(a), cy + x * math.sin(a) + y * math.cos(a)], 1)


def box(x0, y0, x1, y1, rounding=0.0):
    """A rectangle as a polygon, its corners cut by `rounding`."""
    r = min(rounding, abs(x1 - x0) / 2, abs(y1 - y0) / 2)
    if r <= 0:
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)
    corners = [(x1 - r, y0 + r, -90), (x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180)]
    points = []
    for cx, cy, start in corners:
        for k in range(5):
            a = math.radians(start + 22.5 * k)
            points.append((cx + r * math.cos(a), cy + r * math.sin(a)))
    return np.array(points)


class Pen:
    """Draws figure-coordinate shapes on `canvas` through one similarity."""

    def __init__(self, canvas, rng, scale=1.0, rotation=0.0, flip=False, offset=(0.0, 0.0)):
        self.canvas = canvas
        self.draw = ImageDraw.Draw(canvas)
        self.rng = rng
        self.scale = scale
        a = math.radians(rotation)
        mirror = -1.0 if flip else 1.0
        self.matrix = UNIT * scale * np.array([[mirror * math.cos(a), -math.sin(a)], [mirror * math.sin(a), math.cos(a)]])
        self.origin = np.array([CANVAS / 2 + offset[0] * CANVAS, CANVAS / 2 + offset[1] * CANVAS])

    def place(self, points):
        """Canvas coordinates of figure `points`, as PIL wants them."""
        placed = np.asarray(points, dtype=float) @ self.matrix.T + self.origin
        return [tuple(p) for p in placed]

    def fill(self, points, colour):
        """A filled polygon."""
        self.draw.polygon(self.place(points), fill=colour)

    def line(self, points, width, colour):
        """A polyline with round ends; `width` in figure units."""
        placed = self.place(points)
        w = max(1, round(width * UNIT * self.scale))
        self.draw.line(placed, fill=colour, width=w, joint="curve")
        r = w / 2
        for x, y in (placed[0], placed[-1]):
            self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def disc(self, cx, cy, r, colour):
        """A filled circle."""
        self.fill(oval(cx, cy, r, r), colour)

    def body(self, points, colour, metallic=False, pattern=None):
        """A body part: outline, shading from above, and optionally a metal finish and a pattern.

        `pattern` is None or (kind, colour) with kind "spots" or "stripes".
        """
        points = np.asarray(points, dtype=float)
        placed = self.place(points)
        xs, ys = [p[0] for p in placed], [p[1] for p in placed]
        x0, y0 = max(0, int(min(xs)) - 2), max(0, int(min(ys)) - 2)
        x1, y1 = min(CANVAS, int(max(xs)) + 3), min(CANVAS, int(max(ys)) + 3)
        if x1 <= x0 or y1 <= y0:
            return
        mask = Image.new("L", (x1 - x0, y1 - y0))
        ImageDraw.Draw(mask).polygon([(x - x0, y - y0) for x, y in placed], fill=255)
        paint = Image.fromarray(self._finish(y1 - y0, colour, metallic)).resize((x1 - x0, y1 - y0))
        if pattern is not None:
            self._pattern(ImageDraw.Draw(paint), points, (x0, y0), *pattern)
        if metallic:
            self._glint(paint, points, (x0, y0))
        self.canvas.paste(paint, (x0, y0), mask)
        self.draw.line(placed + placed[:1], fill=shade(colour, 0.45), width=3)

    @staticmethod
    def _finish(height, colour, metallic):
        """A one-pixel-wide column [height, 1, 3]: soft shading, or the light-dark-light bands of polished metal."""
        t = np.linspace(0, 1, height)
        base = np.array(colour, dtype=float)
        if metallic:
            knots = [0, 0.15, 0.3, 0.5, 0.56, 0.8, 1]
            light = np.interp(t, knots, [0.25, 0.7, 0.9, 0.15, -0.35, -0.05, 0.25])
        else:
            light = np.interp(t, [0, 1], [0.12, -0.22])
        light = light[:, None]
        column = np.where(light > 0, base + (255 - base) * light, base * (1 + light))
        return column.clip(0, 255).astype(np.uint8)[:, None, :]

    def _pattern(self, draw, points, corner, kind, colour):
        """Spots or stripes over the bounding box of `points`."""
        (left, top), (right, bottom) = points.min(0), points.max(0)
        phase = self.rng.uniform(0, 1)
        shapes = []
        if kind == "stripes":
            x = left - 0.18 * phase
            while x < right:
                shapes.append([(x, top), (x + 0.085, top), (x + 0.13, bottom), (x + 0.045, bottom)])
                x += 0.19
        else:
            row, y = 0, top + 0.02 + 0.06 * phase
            while y < bottom + 0.05:
                x = left + 0.1 * (row % 2) + 0.03
                while x < right + 0.05:
                    jx, jy = self.rng.uniform(-0.02, 0.02, 2)
                    shapes.append(oval(x + jx, y + jy, 0.055, 0.05, steps=10))
                    x += 0.2
                y += 0.15
                row += 1
        for shape in shapes:
            draw.polygon([(x - corner[0], y - corner[1]) for x, y in self.place(shape)], fill=colour)

    def _glint(self, paint, points, corner):
        """A white diagonal flash on polished metal."""
        (left, top), (right, bottom) = points.min(0), points.max(0)
        x = left + (right - left) * self.rng.uniform(0.25, 0.7)
        h = bottom - top
        flash = [(x, top), (x + 0.07, top), (x + 0.07 - 0.3 * h, bottom), (x - 0.3 * h, bottom)]
        ImageDraw.Draw(paint).polygon([(a - corner[0], b - corner[1]) for a, b in self.place(flash)], fill=(250, 252, 255))

    def fur(self, points, colour, length=0.1, density=1.0):
        """Tufts of hair: strokes outward from an outline, and shorter ones inside it."""
        points = np.asarray(points, dtype=float)
        centre = points.mean(0)
        count = int(46 * density)
        index = self.rng.integers(0, len(points), count)
        outward = points[index] - centre
        outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-6
        lean = np.stack([-0.5 * np.ones(count), 0.5 * np.ones(count)], 1)
        reach = length * self.rng.uniform(0.5, 1.0, (count, 1))
        start = points[index] - 0.03 * outward
        for s, e in zip(start, start + reach * (outward + lean) + 0.03 * outward):
            self.line([s, e], 0.025, shade(colour, self.rng.uniform(0.6, 0.95)))
        inner = points[index] + (centre - points[index]) * self.rng.uniform(0.15, 0.95, (count, 1))
        for s in inner[: count // 2]:
            self.line([s, s + np.array([-0.6, 0.5]) * length], 0.018, shade(colour, self.rng.choice([0.6, 0.7, 1.3])))

    def lettering(self, x0, y0, x1, y1, colour):
        """Two to four block letters filling a rectangle."""
        height = y1 - y0
        count = int(np.clip((x1 - x0) / (0.85 * height), 2, 4))
        pitch = (x1 - x0) / count
        mirrored = self.matrix[0, 0] < 0
        for k, letter in enumerate(self.rng.choice(sorted(LETTERS), count)):
            for stroke in LETTERS[letter]:
                points = []
                for u, v in stroke:
                    # Mirrored figures still carry readable letters.
                    u = 1 - u if mirrored else u
                    slot = count - 1 - k if mirrored else k
                    points.append((x0 + pitch * (slot + 0.12 + 0.7 * u), y0 + height * v))
                self.line(points, 0.055, colour)
