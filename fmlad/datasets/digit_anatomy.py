"""DigitAnatomy: nine handwritten digits whose order is the rule.

After the synthetic images of SQUID (Xiang et al., CVPR 2023), rebuilt from the handwriting that
ships with scikit-learn (``load_digits``: 1797 digits of 8 x 8 pixels from 43 writers): the digits 1
to 9 in reading order on a 3 x 3 grid, white on black, each in a size of its own. One thing at most
is wrong: a digit is missing, two have changed places, one is a mirror image, or one is a zero.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from fmlad.errors import DatasetError, OptionError

DIGITS_VERSION = "digits-v1"
DigitAnomaly = Literal["missing", "swapped", "flipped", "zero"]
DIGIT_ANOMALIES: tuple[DigitAnomaly, ...] = get_args(DigitAnomaly)
SIDE = 96  # px of the image
CELL = 32  # px of a digit's place
LARGE = 24  # px of a digit at scale 1
SCALES = (0.6, 1.3)
# Digits whose mirror image is another shape; a mirrored 1 or 8 is no anomaly that anyone could see.
MIRRORED = (2, 3, 4, 5, 6, 7, 9)
SPLITS = ("train", "test")


@dataclass(frozen=True)
class DigitPage:
    """One page of nine digits with all that is true of it.

    Attributes:
        image: uint8 ``(96, 96, 3)``.
        digits: What stands in each place in reading order; None where nothing does.
        samples: Number of the handwriting sample in each place; None where there is none.
        places: Numbers, from 0 in reading order, of the places concerned.
        mask: bool ``(96, 96)``: the places concerned as whole cells.
    """

    image: npt.NDArray[np.uint8]
    digits: tuple[int | None, ...]
    samples: tuple[int | None, ...]
    anomaly: DigitAnomaly | None
    places: tuple[int, ...]
    mask: npt.NDArray[np.bool_]


def render_digits(
    seed: int = 0, split: str = "train", index: int = 0, anomaly: DigitAnomaly | None = None
) -> DigitPage:
    """Renders one page; its randomness hangs on these arguments alone.

    Args:
        seed: Of all pages, >= 0.
        split: ``"train"`` or ``"test"``; no handwriting sample is in both.
        index: Number of the page, >= 0.
        anomaly: What is to be wrong, test split only; None gives a normal page.

    Raises:
        OptionError: A negative number, an unknown split or anomaly, or an anomaly in training.
    """
    if seed < 0 or index < 0:
        raise OptionError(f"seed={seed} and index={index} must both be 0 or more.")
    if split not in SPLITS:
        raise OptionError(f"split={split!r} is not one of {SPLITS}.")
    if anomaly is not None and (anomaly not in DIGIT_ANOMALIES or split == "train"):
        raise OptionError(
            f"anomaly={anomaly!r} is not possible in the {split} split; "
            f"known: {DIGIT_ANOMALIES}, in the test split alone."
        )
    kind = 0 if anomaly is None else 1 + DIGIT_ANOMALIES.index(anomaly)
    rng = np.random.default_rng([seed, SPLITS.index(split), kind, index])
    digits: list[int | None] = list(range(1, 10))
    places: tuple[int, ...] = ()
    if anomaly == "swapped":
        first, second = sorted(rng.choice(9, 2, replace=False).tolist())
        digits[first], digits[second] = digits[second], digits[first]
        places = (first, second)
    elif anomaly is not None:
        allowed = [d - 1 for d in MIRRORED] if anomaly == "flipped" else list(range(9))
        place = int(rng.choice(allowed))
        digits[place] = {"missing": None, "zero": 0}.get(anomaly, digits[place])
        places = (place,)
    page, mask = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE), bool)
    samples: list[int | None] = [None] * 9
    for place, digit in enumerate(digits):
        top, left = place // 3 * CELL, place % 3 * CELL
        mask[top : top + CELL, left : left + CELL] = place in places
        if digit is None:
            continue
        samples[place], ink = _handwriting(digit, split, rng)
        if anomaly == "flipped" and place in places:
            ink = ink[:, ::-1]
        side = len(ink)
        top, left = top + (CELL - side) // 2, left + (CELL - side) // 2
        page[top : top + side, left : left + side] = ink
    image = np.repeat(page.round().astype(np.uint8)[..., None], 3, axis=-1)
    return DigitPage(image, tuple(digits), tuple(samples), anomaly, places, mask)


def make_digits(root: str | Path, seed: int = 0, counts: Mapping[str, int] | None = None) -> Path:
    """Writes pages to ``train/good``, ``test/good`` and ``test/ANOMALY``, with masks beside them.

    ``ground_truth/ANOMALY/NNN/000.png`` holds the places concerned. Written beside ``root`` first
    and renamed.

    Args:
        root: Folder to make; must not exist yet, or be empty.
        seed: Of all pages, >= 0.
        counts: How many: ``train``, ``test_good``, and ``test_anomalies`` of each kind; those left
            out keep their default (64, 100, 25).

    Raises:
        OptionError: Unknown or negative counts, or a negative seed.
        DatasetError: ``root`` is not empty, or cannot be written.
    """
    from fmlad.datasets.scenes.write import checked_counts, new_folder

    numbers = checked_counts(counts, {"train": 64, "test_good": 100, "test_anomalies": 25})
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DatasetError(f"{root} is not an empty folder; choose another name.")
    folders: list[tuple[str, DigitAnomaly | None, int]] = [
        ("train", None, numbers["train"]),
        ("test", None, numbers["test_good"]),
        *(("test", anomaly, numbers["test_anomalies"]) for anomaly in DIGIT_ANOMALIES),
    ]
    with new_folder(root, "digits") as partial:
        for split, anomaly, count in folders:
            (partial / split / (anomaly or "good")).mkdir(parents=True)
            for index in range(count):
                _save(partial, render_digits(seed, split, index, anomaly), split, index)
        facts = {"version": DIGITS_VERSION, "seed": seed, "counts": numbers}
        (partial / "digits.json").write_text(json.dumps(facts, indent=1) + "\n")
    return root


@lru_cache(maxsize=1)
def _samples() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """All handwriting: ink ``(1797, 8, 8)`` in [0, 255] and the digit of each."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return np.asarray(found.images) * (255 / 16), np.asarray(found.target, np.int64)


def _handwriting(
    digit: int, split: str, rng: np.random.Generator
) -> tuple[int, npt.NDArray[np.float64]]:
    """A random sample of a digit in a random size: its number and its ink, square."""
    from PIL import Image

    ink, target = _samples()
    # Every other sample of each digit, so that all writers are in both splits.
    mine = np.flatnonzero(target == digit)[SPLITS.index(split) :: len(SPLITS)]
    sample = int(rng.choice(mine))
    side = round(LARGE * float(rng.uniform(*SCALES)))
    small = Image.fromarray(ink[sample].astype(np.float32))
    large = small.resize((side, side), Image.Resampling.BICUBIC)
    return sample, np.asarray(large, np.float64).clip(0, 255)


def _save(folder: Path, page: DigitPage, split: str, index: int) -> None:
    from PIL import Image

    Image.fromarray(page.image).save(folder / split / (page.anomaly or "good") / f"{index:03d}.png")
    if page.anomaly is not None:
        masks = folder / "ground_truth" / page.anomaly / f"{index:03d}"
        masks.mkdir(parents=True)
        Image.fromarray(page.mask).convert("L").save(masks / "000.png")
