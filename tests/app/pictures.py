"""A tiny product, so that the page's tests are about the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def plate(seed: int, *, scratched: bool = False) -> npt.NDArray[np.uint8]:
    """A grey plate with four dark holes under slightly varying light, uint8 ``(96, 128, 3)``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :128]
    value = 170.0 + 4 * rng.standard_normal()
    picture = np.full((96, 128), value) + 2 * rng.standard_normal((96, 128))
    for row, column in ((28, 34), (28, 94), (68, 34), (68, 94)):
        picture[(y - row) ** 2 + (x - column) ** 2 < 80] = 60
    coloured = np.repeat(picture[..., None], 3, axis=2)
    if scratched:
        coloured[44:54, 56:76] = (220, 20, 20)
    return coloured.clip(0, 255).astype(np.uint8)


def write_plates(folder: Path) -> dict[str, Path]:
    """Three good plates, a scratched one, a good one to judge, and two files that are broken."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for name, seed, scratched in (
        ("good-1", 1, False),
        ("good-2", 2, False),
        ("good-3", 3, False),
        ("fine", 4, False),
        ("scratched", 5, True),
    ):
        made[name] = folder / f"{name}.png"
        Image.fromarray(plate(seed, scratched=scratched)).save(made[name])
    made["torn"] = folder / "torn.png"
    made["torn"].write_bytes(made["good-1"].read_bytes()[:2000])
    made["letter"] = folder / "letter.jpg"
    made["letter"].write_text("Dear reader, this is no picture.\n")
    return made
