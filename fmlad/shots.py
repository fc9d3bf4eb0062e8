"""The shots as people look at them: small pictures, which is most alike, how odd each is."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmlad.errors import CorruptDetectorError
from fmlad.scoring.calibration import far_odder

THUMBNAIL_SIDE = 320  # px of the longer side
ALIKE_SIDE = 32  # px of the squares by which pictures are compared


@dataclass(frozen=True)
class ShotReport:
    """One shot compared with the others.

    Attributes:
        name: Name of the shot.
        score: Its leave-one-out score, on the scale of all scores; None with a single shot, or
            where it was not among those left out.
        duplicate_of: Index of an earlier shot with the same pixels, or None.
        suspicious: Whether its score is far above the others' (more than twice the median), so
            that it may be anomalous.
        p_value: Share of the shots that score as high, itself included, in (0, 1]; its floor is one
            over their number. None without a score.
        nearest: Index of the shot that looks most like it, or None: it is the only one, or the
            detector was saved without thumbnails.
        thumbnail: A small picture of it, at most :data:`THUMBNAIL_SIDE` pixels a side; None where
            none was saved.
    """

    name: str
    score: float | None
    duplicate_of: int | None
    suspicious: bool
    p_value: float | None = None
    nearest: int | None = None
    thumbnail: Image.Image | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; without the thumbnail."""
        return {name: value for name, value in vars(self).items() if name != "thumbnail"}


@dataclass(frozen=True)
class Gallery:
    """Small pictures of the shots.

    A loaded detector has the very bytes it was saved with, so that it finds the same shot most
    alike; an empty gallery finds none.

    Attributes:
        names: Name of each shot.
        thumbnails: JPEG of each.
    """

    names: tuple[str, ...] = ()
    thumbnails: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.thumbnails)

    def picture(self, index: int) -> Image.Image:
        """A shot, at most :data:`THUMBNAIL_SIDE` pixels a side.

        Raises:
            CorruptDetectorError: Its saved thumbnail is no picture.
        """
        try:
            with Image.open(io.BytesIO(self.thumbnails[index]), formats=["JPEG"]) as picture:
                return picture.convert("RGB")
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise CorruptDetectorError(
                f"The thumbnail of the shot {self.names[index]} cannot be read ({error}); fit the "
                f"detector again."
            ) from error

    def nearest(
        self, pixels: npt.NDArray[np.uint8], exclude: frozenset[int] = frozenset()
    ) -> int | None:
        """Index of the shot that looks most like a picture, by its colours on a coarse grid.

        Places count, parts and methods do not. Of several equally alike it is the first.

        Args:
            pixels: ``(H, W, 3)`` RGB of any size.
            exclude: Indices of shots that do not count.

        Returns:
            None where no shot is left, or the gallery is empty.
        """
        counted = [index for index in range(len(self)) if index not in exclude]
        if not counted:
            return None
        distances = ((self._coarse[counted] - _coarse(Image.fromarray(pixels))) ** 2).mean(
            (1, 2, 3)
        )
        return counted[int(np.argmin(distances))]

    @cached_property
    def _coarse(self) -> npt.NDArray[np.float32]:
        """float32 ``(n, ALIKE_SIDE, ALIKE_SIDE, 3)``."""
        return np.stack([_coarse(self.picture(index)) for index in range(len(self))])


def thumbnail(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A small JPEG of a picture, ``uint8 (H, W, 3)``."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def report(
    names: Sequence[str],
    scores: Sequence[float | None],
    keys: Sequence[str],
    baseline: float,
    gallery: Gallery,
) -> list[ShotReport]:
    """Compares each shot with the others.

    Args:
        names: Name of each shot.
        scores: Leave-one-out score of each, or None.
        keys: Pixel hash of each.
        baseline: A score up to which none is odd (``Fusion.baseline``).
        gallery: Their small pictures; may be empty.
    """
    known = [score for score in scores if score is not None]
    limit = far_odder(known, baseline)
    reports = []
    for index, (name, score) in enumerate(zip(names, scores, strict=True)):
        first = keys.index(keys[index])
        picture = gallery.picture(index) if gallery else None
        alike = None
        if picture is not None:
            alike = gallery.nearest(np.asarray(picture), frozenset({index}))
        reports.append(
            ShotReport(
                name=name,
                score=score,
                duplicate_of=first if first < index else None,
                suspicious=score is not None and score > limit,
                p_value=None if score is None else _rank(score, known),
                nearest=alike,
                thumbnail=picture,
            )
        )
    return reports


def _rank(score: float, known: Iterable[float]) -> float:
    """Share of scores at least as high, its own among them."""
    at_least = [other >= score for other in known]
    return sum(at_least) / len(at_least)


def _coarse(picture: Image.Image) -> npt.NDArray[np.float32]:
    """Mean colours, float32 ``(ALIKE_SIDE, ALIKE_SIDE, 3)``, in [0, 255]."""
    small = picture.resize((ALIKE_SIDE, ALIKE_SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32)
