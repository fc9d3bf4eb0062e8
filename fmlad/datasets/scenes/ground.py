"""Tables and cloths to photograph things on, and the odd thing lying about at the edge."""

from __future__ import annotations

import math

import numpy as np

from fmlad.datasets.scenes.canvas import (
    Colour,
    Stage,
    between,
    box,
    capsule,
    circle,
    jitter_colour,
    mix,
    pillow,
    value_noise,
)

WOODS: tuple[tuple[Colour, Colour], ...] = (
    ((0.50, 0.34, 0.20), (0.66, 0.49, 0.32)),
    ((0.36, 0.24, 0.15), (0.52, 0.37, 0.25)),
    ((0.64, 0.53, 0.40), (0.78, 0.68, 0.55)),
)


def wood(stage: Stage) -> None:
    """Planks with wavy grain."""
    rng, height, width = stage.rng, stage.height, stage.width
    dark, light = WOODS[int(rng.integers(len(WOODS)))]
    u, v = stage.full.local(width / 2, height / 2, rng.normal(0, 0.05))
    warp = value_noise(rng, height, width, (width * 0.5, 40.0), 2)
    plank = np.floor((v + rng.uniform(0, 90)) / rng.uniform(70, 110))
    tone = 0.25 * np.sin(plank * 12.9898 + rng.uniform(0, 6))
    rings = np.sin((v + 5.0 * warp + 17 * plank) * rng.uniform(0.25, 0.45) + 0.01 * u)
    fibre = value_noise(rng, height, width, (36.0, 1.6), 2)
    amount = np.clip(0.5 + 0.18 * rings + 0.13 * fibre + 0.15 * warp + tone, 0, 1)
    stage.rgb[:] = mix(dark, light, amount)


def cloth(stage: Stage, colour: Colour, weave: float = 4.0, depth: float = 0.10) -> None:
    """Woven cloth or a mesh mat: crossing threads, soft folds, lint."""
    rng, height, width = stage.rng, stage.height, stage.width
    u, v = stage.full.local(width / 2, height / 2, rng.uniform(-0.5, 0.5))
    wobble = value_noise(rng, height, width, 60, 2)
    over = np.sin(2 * math.pi * (u + wobble) / weave) * np.sin(2 * math.pi * (v - wobble) / weave)
    folds = value_noise(rng, height, width, 150, 2)
    lint = value_noise(rng, height, width, 3, 1)
    tone = 1.0 + depth * over + 0.05 * folds + 0.04 * lint
    stage.rgb[:] = np.asarray(jitter_colour(rng, colour, 0.15)) * tone[..., None]


def slab(stage: Stage, colour: Colour, speckle: float = 0.05) -> None:
    """Laminate or painted metal: nearly even, with speckles and smears."""
    rng, height, width = stage.rng, stage.height, stage.width
    grain = value_noise(rng, height, width, 2.2, 1)
    smear = value_noise(rng, height, width, (120.0, 60.0), 3)
    tone = 1.0 + speckle * grain + 0.04 * smear
    stage.rgb[:] = np.asarray(jitter_colour(rng, colour, 0.2)) * tone[..., None]


def clutter(stage: Stage, keep: float, most: int = 3) -> None:
    """Crumbs anywhere and up to `most` things peeping in at the edge.

    Args:
        stage: The table, before anything else lies on it.
        keep: Things stay farther than this share of the half size from the centre.
        most: Greatest number of things.
    """
    rng = stage.rng
    for _ in range(int(rng.integers(4, 22))):
        x, y = rng.uniform(0, stage.width), rng.uniform(0, stage.height)
        size = rng.uniform(0.7, 1.9)
        window = stage.window(x, y, size + 4)
        u, v = window.local(x, y, rng.uniform(0, 3))
        tone = rng.uniform(0.15, 0.8)
        sdf = box(u, v, size, size * rng.uniform(0.5, 1.2), 0.5)
        stage.put(window, sdf, (tone, tone * 0.9, tone * 0.78), lift=1.0, gloss=0)
    for _ in range(int(rng.integers(0, most + 1)) * (rng.uniform() < 0.6)):
        angle = rng.uniform(0, 2 * math.pi)
        reach = keep * rng.uniform(1.0, 1.12)
        square = max(abs(math.cos(angle)), abs(math.sin(angle)))
        x = stage.width / 2 * (1 + reach * math.cos(angle) / square)
        y = stage.height / 2 * (1 + reach * math.sin(angle) / square)
        _thing(stage, x, y)


def _thing(stage: Stage, x: float, y: float) -> None:
    rng = stage.rng
    window = stage.window(x, y, 60)
    u, v = window.local(x, y, rng.uniform(0, math.pi))
    which = int(rng.integers(4))
    if which == 0:  # a coin
        radius = rng.uniform(11, 16)
        sdf = circle(u, v, radius)
        relief = pillow(sdf, 2.0) + 1.2 * value_noise(rng, *window.shape, 5, 2) * (sdf < -3)
        copper = between(rng, (0.62, 0.42, 0.27), (0.66, 0.62, 0.52))
        stage.put(window, sdf, copper, relief, gloss=0.4, metal=0.5, lift=2)
    elif which == 1:  # a pencil
        sdf = capsule(u, v, (-48, 0), (48, 0), 4.5)
        paint = between(rng, (0.75, 0.55, 0.12), (0.12, 0.32, 0.42))
        stage.put(window, sdf, paint, 0.8 * pillow(sdf, 4.5), gloss=0.35, lift=4)
    elif which == 2:  # a scrap of paper with a line of writing
        sdf = box(u, v, 34, 22)
        tone = (
            np.full((*window.shape, 3), 0.74)
            - 0.03 * value_noise(rng, *window.shape, 20)[..., None]
        )
        ink = (np.abs(np.mod(v, 8) - 4) < 0.8) & (np.abs(u) < 26)
        tone[ink] *= 0.75
        stage.put(window, sdf, tone, gloss=0, lift=1.5)
    else:  # an elastic band
        sdf = np.abs(circle(u * rng.uniform(0.7, 1.0), v, 17)) - 1.5
        rubber = between(rng, (0.66, 0.42, 0.22), (0.35, 0.42, 0.30))
        stage.put(window, sdf, rubber, pillow(sdf, 1.5), lift=1.5)
