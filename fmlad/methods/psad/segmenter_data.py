"""Images for PSAD's segmenter: squares of one side, altered copies, and an encoder's maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from fmlad.errors import OptionError, ShotsError
from fmlad.methods.psad.augmentation import Labels, Places, recoloured, turned
from fmlad.methods.psad.segmenter_config import SegmenterConfig
from fmlad.networks.part_segmenter import coordinates
from fmlad.progress import Progress
from fmlad.training.augment import Pixels

AT_ONCE = 4  # images that a frozen encoder sees together


@dataclass(frozen=True)
class Square:
    """An image at the working size, with black below or to the right of it.

    Attributes:
        pixels: uint8 ``(S, S, 3)``.
        size: Rows and columns that the image fills.
        labels: int32 ``(S, S)``, or None; 0 in the padding.
        places: Coordinates, float32 ``(2, S, S)``, or None where they are those of the square.
    """

    pixels: Pixels
    size: tuple[int, int]
    labels: Labels | None = None
    places: Places | None = None

    @property
    def inside(self) -> tuple[float, float]:
        """Shares of rows and columns that the image fills."""
        side = len(self.pixels)
        return self.size[0] / side, self.size[1] / side


def squared(pixels: Pixels, side: int, labels: npt.NDArray[np.integer] | None = None) -> Square:
    """Brings the longer side to ``side``, keeping the aspect, and pads at the right or below.

    Args:
        pixels: uint8 ``(H, W, 3)``.
        side: Of the square, in pixels.
        labels: Integer ``(H, W)``; by nearest neighbour.
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    rows, columns = max(1, int(height * scale)), max(1, int(width * scale))
    square = np.zeros((side, side, 3), np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    square[:rows, :columns] = np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR))
    if labels is None:
        return Square(square, (rows, columns))
    padded = np.zeros((side, side), np.int32)
    given = Image.fromarray(np.ascontiguousarray(labels, dtype=np.int32))
    padded[:rows, :columns] = np.asarray(given.resize((columns, rows), Image.Resampling.NEAREST))
    return Square(square, (rows, columns), padded)


def checked(labelled: Sequence[tuple[Pixels, npt.NDArray[np.integer]]], classes: int) -> None:
    """Refuses what no segmenter can be trained with.

    Raises:
        ShotsError: There is no labelled image.
        OptionError: Fewer than two classes; labels of another size than their image, of another
            kind than integers, or beyond the classes.
    """
    if not labelled:
        raise ShotsError(
            "There is no labelled image; the segmenter needs at least one normal image with the "
            "part of each of its pixels."
        )
    if classes < 2:
        raise OptionError(f"classes={classes} must be 2 or more, the background included.")
    for number, (pixels, labels) in enumerate(labelled):
        which = f"The labels of labelled image {number}"
        if labels.shape != pixels.shape[:2] or not np.issubdtype(labels.dtype, np.integer):
            raise OptionError(
                f"{which} are {labels.dtype} {labels.shape}; expected integers "
                f"{pixels.shape[:2]}, one for each pixel of the image."
            )
        least, most = int(labels.min()), int(labels.max())
        if least < 0 or most >= classes:
            wrong = least if least < 0 else most
            raise OptionError(
                f"{which} contain {wrong}; with {classes} classes they are 0 (background) to "
                f"{classes - 1}."
            )


def altered(square: Square, config: SegmenterConfig, rng: np.random.Generator) -> Square:
    """A copy that is turned and recoloured, with labels and coordinates turned alike."""
    assert square.labels is not None  # of a labelled image
    places = coordinates(*square.labels.shape).numpy()
    pixels, labels, moved = turned(
        square.pixels, square.labels, places, config.degrees, rng, config.shift
    )
    return Square(recoloured(pixels, rng, config.recolour), square.size, labels, moved)


def images(squares: Sequence[Square]) -> Tensor:
    """uint8 ``(B, 3, S, S)``."""
    return torch.from_numpy(np.stack([one.pixels for one in squares])).permute(0, 3, 1, 2)


def places(squares: Sequence[Square]) -> Tensor:
    """float32 ``(B, 2, S, S)``."""
    plain = coordinates(*squares[0].pixels.shape[:2])
    return torch.stack([plain if s.places is None else torch.from_numpy(s.places) for s in squares])


def labels_of(squares: Sequence[Square]) -> Tensor:
    """int64 ``(B, S, S)`` of labelled images."""
    return torch.from_numpy(
        np.stack([one.labels for one in squares if one.labels is not None])
    ).long()


def class_areas(squares: Sequence[Square], classes: int) -> Tensor:
    """Share of each class in labelled images, float32 ``(L, K)``."""
    counts = [torch.bincount(labels.ravel(), minlength=classes) for labels in labels_of(squares)]
    return torch.stack(counts) / float(squares[0].pixels[..., 0].size)


def sampled(labels: Tensor, grid: Sequence[int]) -> Tensor:
    """Labels ``(B, H, W)`` at the cells of a grid whose corner cells are the corner pixels."""
    rows, columns = (
        torch.linspace(0, side - 1, cells, device=labels.device).round().long()
        for side, cells in zip(labels.shape[-2:], grid, strict=True)
    )
    return labels[:, rows[:, None], columns]


@torch.no_grad()
def maps(
    encoder: nn.Module, squares: Sequence[Square], device: str, progress: Progress, what: str
) -> tuple[Tensor, ...]:
    """Levels of a frozen encoder for all images, float16 ``(N, C, h, w)`` each, on the CPU.

    In half precision: 0.34 MB an image of 256 px with EfficientNet-Lite0.
    """
    parts: list[list[Tensor]] = []
    for start in range(0, len(squares), AT_ONCE):
        some = squares[start : start + AT_ONCE]
        parts.append([level.half().cpu() for level in encoder(images(some).to(device))])
        progress(min(start + AT_ONCE, len(squares)), len(squares), what)
    return tuple(torch.cat(levels) for levels in zip(*parts, strict=True))


def moments(levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of all levels, float32 ``(C,)`` each."""
    flat = [level.float().transpose(0, 1).flatten(1) for level in levels]
    return torch.cat([one.mean(1) for one in flat]), torch.cat([one.std(1) for one in flat])
