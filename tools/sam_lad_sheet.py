"""Matched pairs in one colour each: python tools/sam_lad_sheet.py docs/images/sam-lad-pairs.jpg

One logical anomaly of each of three worlds beside the reference that it fits best; what has no
counterpart is white. World 1, which no benchmark reports.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fmlad
from fmlad.datasets import render_digits, render_scene
from fmlad.draw import outlines, pairs
from fmlad.methods.sam_lad.method import SamLad
from fmlad.methods.sam_lad.report import matched_objects, reference_objects
from fmlad.methods.sam_lad.state import SamLadState
from fmlad.views import ImageView

WIDE, SHOTS = 720, 4
Pixels = npt.NDArray[np.uint8]


def row(shots: list[Pixels], query: Pixels) -> Image.Image:
    """A query beside its best reference."""
    detector = fmlad.Detector.from_shots(shots, method="sam-lad", profile="builtin")
    method, state = detector._fitted.method, detector._fitted.state
    if not isinstance(method, SamLad) or not isinstance(state, SamLadState):
        raise TypeError(type(method))
    view: ImageView = detector._backbones.view(query)
    compared = method.compared(method._maps(view, state.selection), state)
    best = min(compared, key=lambda comparison: comparison.cost)
    maps = method._maps(view, state.selection)
    shot = shots[state.numbers[best.number]]
    here, there = matched_objects(maps, best), reference_objects(best)
    picture = pairs(
        outlines(Image.fromarray(query), here.labels, here.names),
        outlines(Image.fromarray(shot), there.labels, there.names),
    )
    return picture.resize((WIDE, round(picture.height * WIDE / picture.width)))


def main() -> None:
    large = 4  # digits are small
    worlds = [
        (
            [np.kron(render_digits(1, "train", i).image, np.ones((large, large, 1), np.uint8))
             for i in range(SHOTS)],
            np.kron(
                render_digits(1, "test", 2, "missing").image, np.ones((large, large, 1), np.uint8)
            ),
        ),
        *(
            (
                [render_scene(name, 1, "train", "good", i).image for i in range(SHOTS)],
                render_scene(name, 1, "test", "logical_anomalies", index).image,
            )
            for name, index in (("pushpins", 0), ("screw_bag", 0))
        ),
    ]  # fmt: skip
    rows = [row(shots, query) for shots, query in worlds]
    sheet = Image.new("RGB", (WIDE, sum(r.height for r in rows) + 8 * (len(rows) - 1)), "white")
    top = 0
    for picture in rows:
        sheet.paste(picture, (0, top))
        top += picture.height + 8
    sheet.save(sys.argv[1], quality=85)


if __name__ == "__main__":
    main()
