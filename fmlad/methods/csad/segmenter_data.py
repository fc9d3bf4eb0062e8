"""Images for CSAD's segmenter: squares of the encoder's size, and their altered copies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.errors import OptionError, ShotsError
from fmlad.methods.csad.lsa import Labelled, pasted
from fmlad.methods.csad.segmentation import Labels
from fmlad.methods.csad.segmenter_config import SegmenterConfig
from fmlad.methods.shared_encoder import Pixels, SharedEncoder
from fmlad.progress import Progress
from fmlad.training.augment import Augmentation
from fmlad.views import ImageView

Scalar = TypeVar("Scalar", bound=np.generic)

AT_ONCE = 4  # images that the encoder sees together
# Small changes of place and colour, each in half of all draws (released code).
CHANGES = Augmentation(degrees=2, shift=0.01, zoom=0.01, brightness=0.05, contrast=0.05, chance=0.5)


@dataclass(frozen=True)
class Copies:
    """Altered copies of labelled images, seen by the encoder once.

    Attributes:
        levels: float16 ``(n, C, h, w)`` each, on the CPU; 0.34 MB a copy of 256 px with
            EfficientNet-Lite0.
        labels: int32 ``(n, S, S)``.
    """

    levels: tuple[Tensor, ...]
    labels: npt.NDArray[np.int32]


def labelled_square(
    view: ImageView,
    labels: npt.NDArray[np.integer],
    encoder: SharedEncoder,
    instances: npt.NDArray[np.integer] | None = None,
    background: npt.NDArray[np.bool_] | None = None,
) -> Labelled:
    """A labelled image, squashed to the encoder's input; labels by nearest neighbour.

    Args:
        view: The image.
        labels: ``(h, w)`` over it, 0 the background.
        encoder: Whose size it is.
        instances: ``(h, w)``: components that may be pasted; None: connected pieces of a class.
        background: ``(h, w)``: where none is put; None: it is not known.
    """
    side = encoder.side
    own = squashed(labels.astype(np.int32), side)
    behind = np.zeros((side, side), bool) if background is None else squashed(background, side)
    pieces = _pieces(own) if instances is None else squashed(instances.astype(np.int32), side)
    pixels = encoder.square(view.pixels).permute(1, 2, 0).contiguous().numpy()
    return Labelled(pixels, own, pieces, behind)


def checked(labelled: Sequence[Labelled], classes: int) -> None:
    """Refuses what no segmenter can be trained with.

    Raises:
        ShotsError: There is no labelled image.
        OptionError: Fewer than two classes, or labels beyond them.
    """
    if not labelled:
        raise ShotsError(
            "There is no labelled image; the segmenter needs at least one normal image with the "
            "part of each of its pixels."
        )
    if classes < 2:
        raise OptionError("There are no classes but the background; the segmenter needs one part.")
    least = min(int(one.labels.min()) for one in labelled)
    most = max(int(one.labels.max()) for one in labelled)
    if least < 0 or most >= classes:
        raise OptionError(
            f"Labels are {least} to {most}; with {classes} classes they are 0 (background) to "
            f"{classes - 1}."
        )


def digest(labelled: Sequence[Labelled]) -> str:
    """Of pixels and labels: a checkpoint is of the images that it was trained on."""
    found = hashlib.sha256()
    for one in labelled:
        for array in (one.pixels, one.labels, one.instances, one.background):
            found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def altered(
    labelled: Sequence[Labelled], row: int, config: SegmenterConfig, rng: np.random.Generator
) -> tuple[Pixels, Labels]:
    """A labelled image with parts pasted into it, then moved and recoloured a little."""
    own = labelled[row]
    source = own if config.paste_from == "same" else labelled[int(rng.integers(len(labelled)))]
    pixels, labels = pasted(
        config.paste, own, source, rng, distance=config.distance, largest=config.largest
    )
    return CHANGES(pixels, labels, rng)


def drawn(
    labelled: Sequence[Labelled],
    encoder: SharedEncoder,
    config: SegmenterConfig,
    seed: int,
    progress: Progress,
) -> Copies:
    """``config.copies`` altered images, of each labelled one as often as of any other.

    At least one of each. As many images as there are labelled ones are taken as they are, too.
    """
    count = max(config.copies, len(labelled))
    some: list[tuple[Pixels, Labels]] = [(one.pixels, one.labels) for one in labelled]
    levels: list[list[Tensor]] = []
    for copy in range(count):
        rng = np.random.default_rng((seed, copy, 2, 1))
        some.append(altered(labelled, copy % len(labelled), config, rng))
    for start in range(0, len(some), AT_ONCE):
        pixels = [one for one, _ in some[start : start + AT_ONCE]]
        levels.append([level.half().cpu() for level in encoder.encode(squares(pixels))])
        progress(min(start + AT_ONCE, len(some)), len(some), "segmenter: features of copies")
    joined = tuple(torch.cat(level) for level in zip(*levels, strict=True))
    return Copies(joined, np.stack([labels for _, labels in some]))


def areas(labels: Sequence[Labels], classes: int) -> Tensor:
    """Share of each class, float32 ``(n, K)``."""
    counts = [np.bincount(one.ravel(), minlength=classes) / one.size for one in labels]
    return torch.from_numpy(np.stack(counts)).float()


def squares(pixels: Sequence[Pixels]) -> Tensor:
    """uint8 ``(B, 3, S, S)`` of images ``(S, S, 3)``."""
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)


def squashed(labels: npt.NDArray[Scalar], side: int) -> npt.NDArray[Scalar]:
    """Labels ``(h, w)`` at ``(side, side)``, each cell that of its centre."""
    rows, columns = (
        ((np.arange(side) + 0.5) * length / side).astype(int) for length in labels.shape
    )
    return np.ascontiguousarray(labels[rows[:, None], columns])


def sampled(labels: Tensor, grid: Sequence[int]) -> Tensor:
    """Labels ``(B, H, W)`` at the centres of the cells of a grid, int64."""
    rows, columns = (
        ((torch.arange(cells, device=labels.device) + 0.5) * side / cells).long()
        for side, cells in zip(labels.shape[-2:], grid, strict=True)
    )
    return labels[:, rows[:, None], columns].long()


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps ``(B, C, h, w)`` at another size, bilinear; cells span the image."""
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def _pieces(labels: Labels) -> Labels:
    """Connected pieces of all classes, numbered."""
    from scipy import ndimage

    found = np.zeros_like(labels)
    for one in np.unique(labels[labels > 0]):
        numbers, _ = ndimage.label(labels == one)
        found[numbers > 0] = numbers[numbers > 0] + found.max()
    return found
