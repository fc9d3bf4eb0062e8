"""Stand-ins for tagger, grounder and mask proposer that see coloured blobs, and count calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from fmlad.backbones.roles import Boxes, Masks, Tag
from tests.conftest import Pixels

COLOURS = {"red disc": (200, 40, 40), "blue square": (40, 60, 200)}


def blobs(seed: int, red: int = 3, blue: int = 2, size: tuple[int, int] = (96, 128)) -> Pixels:
    """Red discs and blue squares on a grey table, each in a cell of its own, seen with noise."""
    rng = np.random.default_rng(seed)
    image = np.full((*size, 3), 150.0)
    y, x = np.mgrid[: size[0], : size[1]]
    cells = rng.permutation(12)[: red + blue]
    for number, cell in enumerate(cells):
        cy, cx = 16 + 32 * (cell // 4) + rng.uniform(-3, 3), 16 + 32 * (cell % 4)
        round_one = (x - cx) ** 2 + (y - cy) ** 2 < 9**2
        square = (abs(x - cx) < 8) & (abs(y - cy) < 8)
        image[round_one if number < red else square] = COLOURS[
            "red disc" if number < red else "blue square"
        ]
    return (image + rng.normal(0, 3, image.shape)).clip(0, 255).astype(np.uint8)


def _islands(pixels: npt.NDArray[np.uint8], colour: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    near = np.abs(pixels.astype(int) - colour).sum(2) < 80
    labels, count = ndimage.label(ndimage.binary_opening(near, iterations=2))
    return np.array([labels == number for number in range(1, count + 1)], bool).reshape(
        -1, *near.shape
    )


def _box(mask: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _pixels(image: Tensor) -> npt.NDArray[np.uint8]:
    return image[0].permute(1, 2, 0).numpy()


class Counted:
    """A backbone that counts how often it is asked, by question."""

    expensive = True

    def __init__(self, name: str = "test:chain@1") -> None:
        self.name = self.fingerprint = f"{name} {type(self).__name__}"
        self.asked: list[str] = []
        self.phrases: tuple[str, ...] = ()


class Tagger(Counted):
    """Says which colours it sees, and a word that is of no object."""

    def tags(self, image: Tensor) -> list[Tag]:
        self.asked.append("tags")
        pixels = _pixels(image)
        seen = [word for word, colour in COLOURS.items() if len(_islands(pixels, colour))]
        return [Tag("table", 0.9), *(Tag(word, 0.8) for word in seen)]


class Grounder(Counted):
    """A box for each island of a phrase's colour; the whole image for anything else."""

    def find(self, image: Tensor, phrases: Sequence[str]) -> Boxes:
        self.asked.append("find")
        self.phrases = tuple(phrases)
        pixels = _pixels(image)
        found: list[tuple[tuple[float, ...], int]] = []
        for number, phrase in enumerate(phrases):
            if phrase in COLOURS:
                found += [(_box(mask), number) for mask in _islands(pixels, COLOURS[phrase])]
            else:
                found.append(((0.0, 0.0, pixels.shape[1], pixels.shape[0]), number))
        return Boxes(
            np.array([box for box, _ in found], np.float32).reshape(-1, 4),
            np.array([number for _, number in found], np.int64),
            np.full(len(found), 0.9, np.float32),
        )


class Segmenter(Counted):
    """Islands of any colour, or what differs from the table in a box."""

    def propose(self, image: Tensor) -> Masks:
        self.asked.append("propose")
        pixels = _pixels(image)
        masks = np.concatenate([_islands(pixels, colour) for colour in COLOURS.values()])
        boxes = np.array([_box(mask) for mask in masks], np.float32).reshape(-1, 4)
        return Masks(masks, boxes, np.full(len(masks), 0.95, np.float32))

    def prompt(
        self,
        image: Tensor,
        boxes: npt.NDArray[np.float32] | None = None,
        points: npt.NDArray[np.float32] | None = None,
        labels: npt.NDArray[np.int64] | None = None,
    ) -> Masks:
        self.asked.append("prompt")
        pixels = _pixels(image)
        differs = np.abs(pixels.astype(int) - 150).sum(2) > 80
        masks = np.zeros((len(boxes), *differs.shape), bool) if boxes is not None else None
        assert boxes is not None
        assert masks is not None
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
            whole = (x2 - x1) * (y2 - y1) == differs.size
            mask[y1:y2, x1:x2] = True if whole else differs[y1:y2, x1:x2]
        return Masks(masks, boxes, np.full(len(boxes), 0.97, np.float32))


def chain() -> dict[str, Counted]:
    """The three stand-ins by role."""
    return {"tagger": Tagger(), "grounder": Grounder(), "mask_proposer": Segmenter()}


def asked(backbones: dict[str, Counted]) -> list[str]:
    """All questions so far, sorted; forgotten then."""
    found = sorted(question for one in backbones.values() for question in one.asked)
    for one in backbones.values():
        one.asked.clear()
    return found


def on_tensor(pixels: Pixels) -> Tensor:
    """uint8 ``(1, 3, H, W)``."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
