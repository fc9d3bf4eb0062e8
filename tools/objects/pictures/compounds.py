"""Things of several limbs, and thin bent ones; and the choice among all families."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tools.objects.pictures import families as fam
from tools.objects.pictures import outlines as out
from tools.objects.pictures.noise import Array, Rng, chance, colour, near, pick
from tools.objects.pictures.surface import metal, paint
from tools.objects.pictures.things import Part, Thing, fitted


def tool(rng: Rng) -> Thing:
    """A handle, a shaft and a head that differ: tools, cutlery, brushes, keys."""
    grip = paint(rng, relief=pick(rng, ("round", "bevel")))
    steel = metal(rng) if chance(rng, 0.7) else paint(rng)
    at, half = rng.uniform(-0.5, 0.2), rng.uniform(0.05, 0.16)
    thin = half * rng.uniform(0.25, 1.0)
    handle = out.box(-1, -half, at, half, half * rng.random())
    tip = thin * rng.uniform(0.3, 1.2)
    shaft = out.profile(np.array([at - 0.05, 0.75]), np.array([thin]), np.array([tip]))
    spine = np.array([(at, 0.0, thin), (0.75, 0.0, tip)])
    parts = [Part((shaft,), steel, spine=spine), Part((handle,), grip)]
    head = pick(rng, ("none", "simple", "fork", "hammer", "ring", "open"))
    wide = rng.uniform(0.08, 0.3)
    if head == "simple":
        parts.append(Part((out.simple(rng) * (wide * 1.4, wide) + (0.8, 0),), steel))
    elif head == "fork":
        tines = [out.box(0.6, y - 0.03, 1.1, y + 0.03, 0.03) for y in np.linspace(-wide, wide, 4)]
        base = out.box(0.5, -wide, 0.65, wide, 0.05)
        parts += [Part((o,), steel) for o in (*tines, base)]
    elif head == "hammer":
        parts.append(Part((out.box(0.7, -wide * 1.5, 0.7 + wide, wide, 0.03),), steel))
    elif head == "ring":
        hole = out.circle(0.85, 0, wide * 0.55)
        parts.append(Part((out.circle(0.85, 0, wide), hole), steel))
    elif head == "open":
        jaw = [(0.65, -wide), (1.1, -wide), (1.1, -wide * 0.4), (0.85, -wide * 0.4)]
        mirrored = [(x, -y) for x, y in reversed(jaw)]
        parts.append(Part((np.array(jaw + mirrored),), steel))
    if chance(rng, 0.4):  # bands on the handle
        x = rng.uniform(-0.95, at - 0.1)
        band = out.box(x, -half, x + rng.uniform(0.04, 0.2), half)
        parts.append(Part((band,), paint(rng, fam.ink(rng, grip.colour)), printed=True))
    return fitted(parts)


def limbs(rng: Rng) -> Thing:
    """A body with limbs on one axis, often mirrored, each of its own colour or not."""
    coats = [paint(rng) for _ in range(3)]
    for index in (1, 2):
        if chance(rng, 0.4):
            coats[index] = replace(coats[0], colour=near(rng, coats[0].colour, 0.12))
    body = out.simple(rng, pick(rng, ("ellipse", "box", "super", "disc", "blob", "regular")))
    parts = [Part((body,), coats[0])]
    for _ in range(int(rng.integers(1, 4))):
        scale, turn = rng.uniform(0.15, 0.6), rng.uniform(0, 2 * np.pi)
        rim = body[int(rng.integers(len(body)))]
        cos, sin = np.cos(turn), np.sin(turn)
        limb = out.simple(rng, pick(rng, ("bar", "ellipse", "box", "disc", "drop", "super")))
        limb = limb * scale @ np.array([[cos, sin], [-sin, cos]]) + 0.95 * rim
        coat = coats[int(rng.integers(3))]
        behind = chance(rng, 0.5)
        for outline in (limb, limb * (1, -1)) if chance(rng, 0.6) else (limb,):
            parts.insert(0 if behind else len(parts), Part((outline,), coat))
    return fitted(parts)


def wire(rng: Rng) -> Thing:
    """A bent wire or a strip: hooks, clips, springs, rubber bands, chains of loops."""
    coat = metal(rng) if chance(rng, 0.6) else paint(rng)
    kind = pick(rng, ("hook", "clip", "spring", "band", "free"))
    width = rng.uniform(0.06, 0.16)
    if kind == "hook":
        arc = np.linspace(0, np.pi * rng.uniform(0.8, 1.5), 24)
        line = np.concatenate([[[0.4, -1.4]], 0.4 * np.stack([np.cos(arc), np.sin(arc)], 1)])
    elif kind == "clip":
        ends = [(-0.8, -0.3), (0.8, -0.3), (1, 0), (0.8, 0.3), (-0.8, 0.3), (-1, 0.05)]
        line = out.spline(np.array([*ends, (-0.7, -0.12), (0.5, -0.12)]), 70)
    elif kind == "spring":
        x = np.linspace(-1, 1, 90)
        line = np.stack([x, rng.uniform(0.15, 0.3) * np.sin(x * rng.uniform(14, 28))], 1)
    elif kind == "band":
        line = out.simple(rng, pick(rng, ("ellipse", "blob", "disc", "bean")))
        line = np.concatenate([line, line[:1]])
    else:
        steps = rng.normal((0.5, 0), (0.2, 0.5), (5, 2))
        line = out.spline(np.cumsum(steps, 0))
    return fitted([Part((line,), replace(coat, relief="round"), width)])


def fastener(rng: Rng) -> Thing:
    """One of the rods in metal alone, at times thin: bolts, nails, needles."""
    thing = fam.rod(rng)
    coat = metal(rng)
    parts = []
    for part in thing.parts:
        pattern = "thread" if part.paint.pattern == "thread" or chance(rng, 0.2) else coat.pattern
        parts.append(replace(part, paint=replace(coat, pattern=pattern, period=0.08)))
    return replace(thing, parts=tuple(parts))


FAMILIES: tuple[tuple[Callable[[Rng], Thing], float], ...] = (
    (fam.plain, 5.0), (fam.ring, 2.0), (fam.rod, 3.5), (fastener, 2.0), (fam.topdown, 2.0),
    (fam.block, 2.5), (fam.brick, 1.5), (fam.lathed, 2.5), (fam.cube, 1.0), (fam.fruit, 2.0),
    (fam.letter, 0.8), (tool, 2.0),
    (limbs, 2.5), (wire, 0.8),
)  # fmt: skip


def thing(rng: Rng) -> Thing:
    """A random thing of any family."""
    shares = np.cumsum([weight for _, weight in FAMILIES])
    found = int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))
    return FAMILIES[found][0](rng)


def prototypes(rng: Rng, ground: Array) -> list[Thing]:
    """What a scene repeats: some things, one in several colours, or some like the ground."""
    count = int(rng.integers(1, 6))
    kinds = [thing(rng) for _ in range(count)]
    if chance(rng, 0.25):
        kinds = [kinds[0]] + [kinds[0].recoloured([colour(rng)]) for _ in range(1, count)]
    elif chance(rng, 0.15):
        kinds = [kinds[0].recoloured([colour(rng) for _ in kinds[0].parts]) for _ in range(count)]
    if chance(rng, 0.2):
        kinds = [kind.recoloured([near(rng, ground, 0.12) for _ in kind.parts]) for kind in kinds]
    return kinds
