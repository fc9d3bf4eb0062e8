"""Pictures of object proposals: preferred ones in colours, on scenes and photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import skimage
import sklearn
import torch
from PIL import Image

from fmlad import profiles
from fmlad.backbones.roles import Masks
from fmlad.datasets import SCENE_CATEGORIES, render_scene
from fmlad.draw import part_colour
from fmlad.objects.appearance import NONE
from tools.docs.sheets import Picture, panel, save, sheet

# Photographs that come with scikit-image and scikit-learn.
PHOTOGRAPHS = (
    *(Path(str(skimage.__file__)).parent / "data" / name for name in (
        "coins.png", "coffee.png", "clock_motion.png", "motorcycle_left.png", "chelsea.png",
        "ihc.png", "rocket.jpg", "astronaut.png",
    )),
    *(Path(str(sklearn.__file__)).parent / "datasets" / "images" / n
      for n in ("china.jpg", "flower.jpg")),
)  # fmt: skip
ACROSS, HEIGHT = 5, 250


def outlined(pixels: npt.NDArray[np.uint8], masks: Masks) -> Picture:
    """A picture under the outlines of its preferred proposals, the large ones first."""
    from scipy import ndimage

    large = Image.fromarray(pixels)
    large = large.resize((2 * HEIGHT * large.width // large.height, 2 * HEIGHT))
    shown = np.array(large)
    best = masks.best()
    kept = best.masks[best.scores > NONE]
    for number, mask in enumerate(sorted(kept, key=lambda mask: -mask.sum())):
        whole = np.array(Image.fromarray(mask).resize(large.size, Image.Resampling.NEAREST))
        shown[whole & ~ndimage.binary_erosion(whole, iterations=3)] = part_colour(number + 1)
    return Image.fromarray(shown)


def scene_masks() -> None:
    """Two scenes of each category."""
    pictures = [
        render_scene(category, 0, "train", "good", index).image
        for category in SCENE_CATEGORIES
        for index in (0, 1)
    ]
    _save(pictures, "masks-scenes.jpg")


def photograph_masks() -> None:
    """Ten photographs."""
    _save([np.array(Image.open(f).convert("RGB")) for f in PHOTOGRAPHS], "masks-photographs.jpg")


def _save(pictures: list[npt.NDArray[np.uint8]], name: str) -> None:
    proposer: Any = profiles.load_backbones(profiles.resolve(("mask_proposer",), "builtin"), "cpu")[
        "mask_proposer"
    ]
    panels = []
    for pixels in pictures:
        masks = proposer.propose(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None])
        panels.append(panel(outlined(pixels, masks), HEIGHT))
    rows = [("", panels[i : i + ACROSS]) for i in range(0, len(panels), ACROSS)]
    save(sheet(rows), name)


SHEETS = {"masks-scenes": scene_masks, "masks-photographs": photograph_masks}
