"""Random things of many kinds; every one is a whole, whatever its parts look like."""

from dataclasses import replace

import cv2
import numpy as np

from tools.objects.pictures import outlines as out
from tools.objects.pictures.noise import Array, Rng, chance, colour, near, pick
from tools.objects.pictures.surface import Paint, metal, paint
from tools.objects.pictures.things import Part, Thing, fitted


def ink(rng: Rng, ground: Array) -> Array:
    """A colour that is read on a ground."""
    for _ in range(6):
        found = colour(rng)
        if float(np.abs(found - ground).sum()) > 0.8:
            return found
    return np.full(3, 0.05 if float(ground.mean()) > 0.5 else 0.95, np.float32)


def _contrast(rng: Rng, body: Paint, relief: str = "bevel") -> Paint:
    return paint(rng, ink(rng, body.colour), relief)


def _coat(rng: Rng, shiny: float = 0.35) -> Paint:
    return metal(rng) if chance(rng, shiny) else paint(rng, relief=pick(rng, ("round", "bevel")))


def plain(rng: Rng) -> Thing:
    """One outline of one paint."""
    body = paint(rng)
    parts = [Part((out.simple(rng),), body)]
    opacity = rng.uniform(0.6, 0.9) if chance(rng, 0.08) else 1.0
    return Thing(tuple(parts), rng.uniform(0.6, 1.0), opacity)


def ring(rng: Rng) -> Thing:
    """Washers, rings, nuts, gears: with a hole, filled in the truth."""
    kind = pick(rng, ("disc", "disc", "regular", "gear", "super"))
    hole = out.circle(a=rng.uniform(0.25, 0.75 if kind == "disc" else 0.5))
    if kind == "regular":
        at = np.arange(6) * np.pi / 3
        outer = np.stack([np.cos(at), np.sin(at)], 1)
    else:
        outer = out.simple(rng, kind)
    body = metal(rng, pick(rng, ("bevel", "round", "flat"))) if chance(rng, 0.6) else paint(rng)
    return Thing((Part((outer, hole), body),), rng.uniform(0.75, 1.0))


def rod(rng: Rng) -> Thing:
    """A shaft with heads, collars, thread or a point: screws, pins, pens, plugs, candles."""
    count = int(rng.integers(2, 6))
    stations = np.concatenate([[0.0], np.sort(rng.uniform(0.08, 0.92, count - 1)), [1.0]])
    stations = np.sort(stations + np.where((stations > 0) & (stations < 1), 1e-3, 0))
    left = rng.uniform(0.02, 0.13, count)
    right = np.where(rng.random(count) < 0.65, left, rng.uniform(0.02, 0.13, count))
    if chance(rng, 0.6):  # a head, wide and short
        stations[1] = rng.uniform(0.06, 0.3)
        left[0] = right[0] = rng.uniform(0.07, 0.22)
        if chance(rng, 0.4):
            right[0] = left[0] * rng.uniform(0.4, 1.5)
    if chance(rng, 0.25):
        left[-1] = right[-1] = rng.uniform(0.05, 0.2)
    elif chance(rng, 0.45):  # a point
        right[-1] = 0.004
        left[-1] = min(left[-1], rng.uniform(0.015, 0.08))
    stations = np.sort(stations)
    coats = [_coat(rng) for _ in range(2)]
    shaft = int(np.argmax(np.diff(stations)))
    parts = []
    for index in range(count):
        a, b = stations[index], stations[index + 1]
        outline = out.profile(np.array([a, b]), left[index : index + 1], right[index : index + 1])
        coat = coats[0 if chance(rng, 0.5) else 1] if index != shaft else coats[0]
        if index == shaft and chance(rng, 0.4):
            coat = replace(coat, pattern="thread", period=rng.uniform(0.03, 0.12))
        elif chance(rng, 0.1):
            coat = replace(coat, pattern="knurl", period=rng.uniform(0.04, 0.1))
        spine = np.array([(a, 0.0, left[index]), (b, 0.0, right[index])])
        parts.append(Part((outline,), replace(coat, relief="round"), spine=spine))
    if chance(rng, 0.3):  # the head as it is seen from slightly above
        half = float(left[0])
        cap = out.circle(0.0, 0.0, half * rng.uniform(0.2, 0.6), half)
        parts.append(Part((cap,), parts[0].paint))
    return fitted(parts)


def topdown(rng: Rng) -> Thing:
    """Round things from above: coins, caps, buttons, screw heads, wheels, bearings."""
    body = metal(rng, "bevel") if chance(rng, 0.5) else paint(rng, relief="bevel")
    parts = [Part((out.circle(),), body)]
    radius = 1.0
    for _ in range(int(rng.integers(0, 4))):
        radius *= rng.uniform(0.55, 0.92)
        coat = (
            body if chance(rng, 0.5) else (_coat(rng) if chance(rng, 0.6) else _contrast(rng, body))
        )
        coat = replace(coat, relief=pick(rng, ("bevel", "dome", "round", "flat")))
        parts.append(Part((out.circle(a=radius),), coat))
    top = parts[-1].paint
    mark = pick(rng, ("none", "cross", "slot", "hex", "letter", "holes"))
    dark = replace(top, colour=top.colour * 0.3, metal=0.0, pattern="plain", relief="flat")
    long = radius * rng.uniform(0.4, 0.8)
    wide = long * rng.uniform(0.12, 0.3)
    slot = out.box(-long, -wide, long, wide)
    if mark == "cross":
        parts += [Part((slot,), dark, printed=True), Part((slot[:, ::-1],), dark, printed=True)]
    elif mark == "slot":
        parts.append(Part((slot,), dark, printed=True))
    elif mark == "hex":
        parts.append(Part((out.simple(rng, "regular") * long * 0.7,), dark, printed=True))
    elif mark == "letter":
        letter = out.glyph(out.LETTERS[rng.integers(len(out.LETTERS))], 1)
        parts.append(Part(tuple(o * long for o in letter), _contrast(rng, top), printed=True))
    elif mark == "holes":
        many = int(rng.integers(2, 7))
        turns = np.arange(many) * 2 * np.pi / many
        dots = [out.circle(long * np.cos(t), long * np.sin(t), radius * 0.12) for t in turns]
        parts.append(Part(tuple(dots), dark, printed=True))
    return Thing(tuple(parts), rng.uniform(0.7, 1.0) if chance(rng, 0.5) else 1.0)


def block(rng: Rng) -> Thing:
    """A body with rows of insets, levers, windows or buttons: housings, plugs, chips, toys."""
    long, deep = 1.0, rng.uniform(0.3, 1.0)
    body = paint(rng, relief=pick(rng, ("bevel", "round"), (4, 1)))
    parts = [Part((out.box(-long, -deep, long, deep, rng.random() * 0.15),), body)]
    legs = chance(rng, 0.25)
    if legs:
        count, pin = int(rng.integers(2, 9)), metal(rng, "bevel")
        step, reach = 2 * long / count, rng.uniform(0.1, 0.4)
        half = step * rng.uniform(0.15, 0.35)
        for side in (-1, 1) if chance(rng, 0.6) else (1,):
            for index in range(count):
                x = -long + (index + 0.5) * step
                y0, y1 = sorted((side * deep * 0.95, side * (deep + reach)))
                parts.insert(0, Part((out.box(x - half, y0, x + half, y1),), pin))
    if chance(rng, 0.25):  # one end is of another material
        split, other = rng.uniform(-0.5, 0.7), _contrast(rng, body)
        parts.append(Part((out.box(split, -deep, long, deep),), other))
    for _ in range(int(rng.integers(0 if legs else 1, 3))):
        parts += _row(rng, body, long, deep)
    if chance(rng, 0.3):  # a lid, a strip or a window across
        y = rng.uniform(-0.6, 0.4) * deep
        strip = out.box(-long * rng.uniform(0.5, 1), y, long, y + deep * rng.uniform(0.1, 0.4))
        parts.append(Part((strip,), _contrast(rng, body)))
    if chance(rng, 0.2):
        line = out.text(rng, _word(rng), -0.8, -0.15 * deep, 0.8, 0.2 * deep)
        if line:
            parts.append(Part(tuple(line), _contrast(rng, body), printed=True))
    return fitted(parts)


def _row(rng: Rng, body: Paint, long: float, deep: float) -> list[Part]:
    count = int(rng.integers(1, 7))
    step = 2 * long / count
    y0 = rng.uniform(-0.9, 0.3) * deep
    y1 = min(0.92 * deep, y0 + rng.uniform(0.2, 0.9) * deep)
    inset = _contrast(rng, body)
    over = rng.uniform(0.0, 0.35) if chance(rng, 0.3) else 0.0  # levers stick out
    half, corner = step * rng.uniform(0.15, 0.45), rng.random() * 0.1
    kind = pick(rng, ("box", "box", "circle", "slot"))
    row = []
    for index in range(count):
        x = -long + (index + 0.5) * step
        if kind == "circle":
            outline = out.circle(x, 0.5 * (y0 + y1), min(half, 0.5 * (y1 - y0)))
        elif kind == "slot":
            outline = out.box(x - 0.3 * half, y0, x + 0.3 * half, y1, corner)
        else:
            outline = out.box(x - half, y0 - over, x + half, y1, corner)
        row.append(Part((outline,), inset))
    return row


def _word(rng: Rng) -> str:
    letters = rng.integers(0, len(out.LETTERS), int(rng.integers(2, 9)))
    return "".join(out.LETTERS[index] for index in letters)


def brick(rng: Rng) -> Thing:
    """A box with two or three faces in view and rows of insets on its front: devices, plugs."""
    deep = rng.uniform(0.35, 0.9)
    body = paint(rng, relief="bevel")
    shift = rng.uniform(-0.5, 0.5, 2)
    square = out.box(-1, -deep, 1, deep)
    front = out.box(-1, -deep, 1, deep, rng.random() * 0.1)
    parts = []
    for axis, edge in ((0, 1.0), (1, deep)):
        side = square[square[:, axis] == np.copysign(edge, shift[axis])]
        face = np.concatenate([side, side[::-1] + shift])
        shade = replace(body, colour=body.colour * rng.uniform(0.45, 0.95), relief="flat")
        parts.append(Part((face,), shade))
    parts.append(Part((front,), body))
    for _ in range(int(rng.integers(1, 3))):
        parts += _row(rng, body, 0.95, deep)
    return fitted(parts)


def lathed(rng: Rng) -> Thing:
    """A turned body seen from above at a slant: pins, cups, knobs, cans, cones, chess pieces."""
    lift = rng.uniform(0.25, 1.3)  # 0: from the side; half pi: from above
    count = int(rng.integers(2, 6))
    at = np.concatenate([[0.0], np.cumsum(rng.uniform(0.1, 1.0, count))])
    long = rng.uniform(0.6, 3.5)
    at = at / at[-1] * long * np.cos(lift)
    left = rng.uniform(0.12, 0.7, count)
    right = np.where(rng.random(count) < 0.7, left, rng.uniform(0.05, 0.7, count))
    if chance(rng, 0.35):
        right[0] = 0.01
        left[0] = min(left[0], rng.uniform(0.05, 0.3))
    coats = [_coat(rng) for _ in range(2)]
    parts = []
    flat = np.sin(lift)
    for index in range(count):
        far = out.circle(at[index], 0.0, right[index] * flat, right[index])
        close = out.circle(at[index + 1], 0.0, left[index] * flat, left[index])
        both = np.concatenate([far, close]).astype(np.float32)
        hull = cv2.convexHull(both)[:, 0].astype(float)
        coat = coats[int(chance(rng, 0.5))]
        spine = np.array([(at[index], 0.0, right[index]), (at[index + 1], 0.0, left[index])])
        parts.append(Part((hull,), replace(coat, relief="round"), spine=spine))
        lid = replace(coat, relief=pick(rng, ("flat", "bevel", "dome")))
        if index + 1 == count and chance(rng, 0.3):  # hollow: a cup
            lid = replace(lid, colour=coat.colour * rng.uniform(0.3, 0.7), relief="flat")
        parts.append(Part((close,), lid))
    return fitted(parts)


def cube(rng: Rng) -> Thing:
    """A cube with one to three faces in view, spots on them: dice, bricks, parcels."""
    body = paint(rng, relief="bevel")
    dx, dy = rng.uniform(-0.35, 0.35, 2) * (0.0 if chance(rng, 0.3) else 1.0)
    corner = rng.uniform(0, 0.35)
    shades = rng.uniform(0.5, 0.95, 2)
    front = out.box(-1, -1, 1, 1, corner)
    parts = []
    if abs(dx) + abs(dy) > 0.1:
        square = out.box(-1, -1, 1, 1)
        side_x, side_y = (1.0 if dx > 0 else -1.0), (1.0 if dy > 0 else -1.0)
        shift = 2 * np.array([dx, dy])
        right = square[square[:, 0] == side_x]
        below = square[square[:, 1] == side_y]
        for edge, shade in ((right, shades[0]), (below, shades[1])):
            face = np.concatenate([edge, edge[::-1] + shift])
            parts.append(Part((face,), replace(body, colour=body.colour * shade, relief="flat")))
    parts.append(Part((front,), body))
    if chance(rng, 0.75):
        spots = _contrast(rng, body)
        number = int(rng.integers(1, 7))
        grid = {
            1: [(0, 0)], 2: [(-1, -1), (1, 1)], 3: [(-1, -1), (0, 0), (1, 1)],
            4: [(-1, -1), (1, 1), (-1, 1), (1, -1)],
            5: [(-1, -1), (1, 1), (-1, 1), (1, -1), (0, 0)],
            6: [(-1, -1), (1, 1), (-1, 1), (1, -1), (-1, 0), (1, 0)],
        }[number]  # fmt: skip
        radius, gap = rng.uniform(0.12, 0.24), rng.uniform(0.42, 0.6)
        dots = tuple(out.circle(gap * x, gap * y, radius) for x, y in grid)
        parts.append(Part(dots, spots, printed=True))
    return fitted(parts)


def fruit(rng: Rng) -> Thing:
    """Round and glossy or mottled, with a stalk or a pit: fruits, eggs, sweets, balls."""
    body = replace(
        paint(
            rng, colour(rng, saturation=rng.uniform(0.2, 1.0), value=rng.uniform(0.4, 1)), "dome"
        ),
        pattern=pick(rng, ("plain", "grain", "mottled", "speckle", "gradient")),
        relief=pick(rng, ("dome", "round")),
        gloss=rng.uniform(0, 0.7),
    )
    body = replace(body, second=near(rng, body.colour, 0.2))
    shape = out.simple(rng, pick(rng, ("disc", "ellipse", "disc", "drop", "bean", "blob")))
    parts = [Part((shape,), body)]
    if chance(rng, 0.5):
        x, y = rng.uniform(-0.6, 0.6, 2)
        pit = out.circle(x, y, rng.uniform(0.06, 0.2))
        parts.append(Part((pit,), replace(body, colour=body.colour * 0.4), printed=True))
    if chance(rng, 0.25):
        leaf = out.box(0.9, -0.05, 1.25, 0.05)
        parts.append(Part((leaf,), paint(rng, colour(rng, value=0.4))))
    return fitted(parts, squeeze=rng.uniform(0.8, 1.0))


def letter(rng: Rng) -> Thing:
    """One printed or cut letter or digit."""
    coat = paint(rng, relief=pick(rng, ("flat", "bevel", "round")))
    found = out.glyph(out.LETTERS[rng.integers(len(out.LETTERS))], int(rng.integers(0, 8)))
    return fitted([Part(found, coat)], upright=chance(rng, 0.7))
