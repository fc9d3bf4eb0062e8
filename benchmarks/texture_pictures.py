"""Textures: crops of real photographs as images of one product, with drawn damage.

The photographs come with scikit-image. One part of a photograph gives the shots, another the
tests, so that no pixel is in both; which part, and everything else, follows from the seed
(``world``). Crops of one part overlap each other: the photographs are small.

Damage is 2 to 10 % of the width: a scratch (a thin curve with soft edges), a stain (a soft blob
that multiplies the colours) or a hole (dark, with shadow and rim). Its contrast hangs on that of
the ground around it, from faint to plain.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

SIDE = 320  # px of the images
KINDS = ("scratch", "stain", "hole")  # of the damage, in turn
SIZES = 0.02, 0.1  # of the damage, over the width


Box = tuple[int, int, int, int]  # left, top, right, bottom
GREY = (0, 0, 0), (255, 255, 255)
FAINTEST = 12.0  # mean change of the colours in a mask


@dataclass(frozen=True)
class Photograph:
    """What is used of a file of ``skimage/data``.

    Attributes:
        file: Its name.
        crop: Side in px of a crop, before zoom.
        parts: The two parts of which one gives the shots and one the tests.
        turned: Whether crops are turned by quarters by chance. All are mirrored by chance, so that
            the crops of a small photograph do not register to each other.
        tint: Colours of black and of white, for a grey photograph.
    """

    file: str
    crop: int = 208
    parts: tuple[Box, Box] = ((0, 0, 256, 512), (256, 0, 512, 512))
    turned: bool = True
    tint: tuple[tuple[int, int, int], tuple[int, int, int]] = GREY


PHOTOGRAPHS = {
    "gravel": Photograph("gravel.png"),
    "tissue": Photograph("ihc.png"),
    "brick": Photograph("brick.png", turned=False, tint=((60, 0, 0), (255, 240, 215))),
    "grass": Photograph("grass.png", tint=((0, 20, 0), (225, 255, 170))),
    "retina": Photograph("retina.jpg", 300, ((420, 230, 1190, 705), (420, 705, 1190, 1180))),
    "moon": Photograph("moon.png", 160, ((0, 150, 200, 512), (312, 190, 512, 512))),
}
TUNING = ("gravel", "tissue")
REPORTED = ("brick", "grass", "retina", "moon")


def textures(
    name: str, world: int, shots_pool: int, tests: int
) -> tuple[list[Pixels], list[Pixels], list[tuple[Pixels, Mask]]]:
    """Images of one texture, uint8 ``(SIDE, SIDE, 3)``, the same for the same arguments.

    Args:
        name: One of :data:`PHOTOGRAPHS`.
        world: Seed; 1 and 2 tune, others report.
        shots_pool: Number of normal images to draw shots from.
        tests: Number of normal, and of damaged, test images.

    Returns:
        The pool; normal tests; damaged tests with their masks ``(SIDE, SIDE)``, the kinds of
        damage in the order of :data:`KINDS`, again and again.
    """
    photograph = PHOTOGRAPHS[name]
    rng = np.random.default_rng([world, zlib.crc32(name.encode())])
    parts = _parts(photograph)
    shots, rest = parts if rng.random() < 0.5 else parts[::-1]
    pool = [_seen(_crop(shots, photograph, rng), rng) for _ in range(shots_pool)]
    normal = [_seen(_crop(rest, photograph, rng), rng) for _ in range(tests)]
    damaged = []
    for number in range(tests):
        ground = _crop(rest, photograph, rng)
        pixels, mask = damage(ground, KINDS[number % len(KINDS)], rng)
        damaged.append((_seen(pixels, rng), mask))
    return pool, normal, damaged


def damage(ground: Floats, kind: str, rng: np.random.Generator) -> tuple[Floats, Mask]:
    """A copy of ``(H, W, 3)`` colours in [0, 255] with one mark of a kind, and its mask."""
    width = ground.shape[1]
    while True:
        size = width * np.exp(rng.uniform(*np.log(SIZES)))
        centre = rng.uniform(0.08, 0.92, 2) * np.array(ground.shape[:2])
        if kind == "scratch":
            changed, mask = _scratch(ground, centre, max(size, 0.05 * width), rng)
        elif kind == "stain":
            changed, mask = _stain(ground, centre, max(size, 0.03 * width), rng)
        else:
            changed, mask = _hole(ground, centre, size, rng)
        # On black, or between things as bright as itself, a mark cannot be seen: another one then.
        if mask.any() and np.abs(changed - ground).mean(-1)[mask].mean() >= FAINTEST:
            return changed, mask


def _parts(photograph: Photograph) -> list[Image.Image]:
    import skimage.data

    with Image.open(Path(skimage.data.__file__).parent / photograph.file) as opened:
        image = opened.copy()
    if image.mode == "L":
        black, white = (np.array(colour, float) for colour in photograph.tint)
        share = np.asarray(image, float)[..., None] / 255
        image = Image.fromarray((black + share * (white - black)).round().astype(np.uint8))
    return [image.convert("RGB").crop(box) for box in photograph.parts]


def _crop(part: Image.Image, photograph: Photograph, rng: np.random.Generator) -> Floats:
    """Colours ``(SIDE, SIDE, 3)`` of a square from somewhere, a little turned and zoomed."""
    side = photograph.crop
    angle, zoom = np.deg2rad(rng.uniform(-3, 3)), rng.uniform(0.95, 1.05)
    cos, sin = np.cos(angle) * side * zoom / SIDE, np.sin(angle) * side * zoom / SIDE
    reach = (abs(cos) + abs(sin)) * SIDE / 2 + 1
    x, y = (rng.uniform(reach, length - reach) for length in part.size)
    across, down = x - (cos - sin) * SIDE / 2, y - (sin + cos) * SIDE / 2
    matrix = (cos, -sin, across, sin, cos, down)
    square = part.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    colours = np.asarray(square, np.float64)[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    return colours.swapaxes(0, 1) if photograph.turned and rng.random() < 0.5 else colours


def _seen(colours: Floats, rng: np.random.Generator) -> Pixels:
    """As a camera sees it: brighter or darker, unevenly lit, with a little noise."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    slope = rng.uniform(-0.04, 0.04, 2)
    light = rng.uniform(0.93, 1.07) * (1 + slope[0] * x + slope[1] * y)
    noisy = colours * light[..., None] + rng.normal(0, 1.5, (SIDE, SIDE, 1))
    pixels: Pixels = noisy.round().clip(0, 255).astype(np.uint8)
    return pixels


def _scratch(
    ground: Floats, centre: Floats, length: float, rng: np.random.Generator
) -> tuple[Floats, Mask]:
    """A bent line, thinner towards its ends, lighter or darker than the ground."""
    t = np.linspace(-1, 1, 200)
    turn = rng.uniform(0, np.pi)
    along, aside = np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])
    bend, wave = rng.uniform(-0.25, 0.25), rng.uniform(-0.06, 0.06)
    shape = bend * t**2 + wave * np.sin(3 * t)
    line = centre + length / 2 * (t[:, None] * along + shape[:, None] * aside)
    far, nearest = cKDTree(line).query(_places(ground))
    half = rng.uniform(0.7, 1.6) * (1 - 0.6 * np.abs(t[nearest]) ** 3)
    alpha = _soft(half - far, 0.8).reshape(ground.shape[:2])
    step = _contrast(ground, centre, length, rng)
    step *= rng.choice([-1, 1])
    if not 30 < ground[alpha > 0.3].mean() + step < 235:
        step = -step
    return (ground + step * alpha[..., None]).clip(0, 255), alpha > 0.4


def _stain(
    ground: Floats, centre: Floats, size: float, rng: np.random.Generator
) -> tuple[Floats, Mask]:
    """A soft blob that takes away light, of some colours more than of others."""
    alpha = _blob(ground, centre, size, rng, soft=0.08 * size + 0.8)
    grey = np.ptp(ground, axis=-1).max() < 3  # a camera without colours sees stains without
    colour = np.ones(3) if grey else rng.uniform(0.6, 1.4, 3)
    keep = (1 - rng.uniform(0.25, 0.65) * colour).clip(0.1, 1)
    spotted = 1 + 0.1 * gaussian_filter(rng.normal(0, 1, alpha.shape), 3) * 6
    return (ground * (1 - (1 - keep) * (alpha * spotted)[..., None])).clip(0, 255), alpha > 0.4


def _hole(
    ground: Floats, centre: Floats, size: float, rng: np.random.Generator
) -> tuple[Floats, Mask]:
    """Dark, darkest at the side of the light, where its edge casts a shadow; a bright rim."""
    alpha = _blob(ground, centre, size, rng, soft=0.7)
    wide = gaussian_filter(alpha, 1.2)
    towards = rng.uniform(0, 2 * np.pi)
    gap = _places(ground).reshape(*ground.shape[:2], 2) - centre
    side = (gap @ np.array([np.sin(towards), np.cos(towards)]) / (size / 2)).clip(-1, 1)
    depth = rng.uniform(0.15, 0.55)
    floor = ground.mean((0, 1)) * (depth * (1 + 0.4 * side))[..., None]
    rim = (wide - alpha).clip(0, 1) * (0.6 + 0.4 * side) * rng.uniform(0.2, 0.7)
    lit = ground * (1 + rim[..., None])
    return (lit + (floor - lit) * alpha[..., None]).clip(0, 255), alpha > 0.4


def _blob(
    ground: Floats, centre: Floats, size: float, rng: np.random.Generator, soft: float
) -> Floats:
    """Share in [0, 1] of each pixel within a wobbly outline of so many px across."""
    gap = _places(ground) - centre
    angle = np.arctan2(gap[:, 0], gap[:, 1])
    wobble = sum(
        rng.normal(0, 0.16 / order) * np.cos(order * (angle - rng.uniform(0, 2 * np.pi)))
        for order in (2, 3, 4, 5)
    )
    radius = size / 2 * (1 + wobble)
    return _soft(radius - np.hypot(*gap.T), soft).reshape(ground.shape[:2])


def _contrast(ground: Floats, centre: Floats, size: float, rng: np.random.Generator) -> float:
    """Levels by which a scratch differs: more on a busy ground, from faint to plain."""
    near = np.hypot(*(_places(ground) - centre).T).reshape(ground.shape[:2]) < 1.5 * size
    return float(max(22 * rng.uniform(1, 2), rng.uniform(1, 2.5) * ground.mean(-1)[near].std()))


def _places(ground: Floats) -> Floats:
    """Rows and columns of all pixels ``(H * W, 2)``."""
    height, width = ground.shape[:2]
    places: Floats = np.indices((height, width), dtype=np.float64).reshape(2, -1).T
    return places


def _soft(inside: Floats, width: float) -> Floats:
    """From 0 to 1 where the signed distance from an edge goes through 0."""
    result: Floats = 1 / (1 + np.exp(-4 * (inside / width).clip(-8, 8)))
    return result
