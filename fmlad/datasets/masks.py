"""Finds the masks of images by name, and decides what a missing one means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from fmlad.datasets import truths
from fmlad.datasets.files import Lister, folders
from fmlad.datasets.model import Truth
from fmlad.errors import DatasetError

Reader = Callable[[], Truth]
ENDINGS = ("_mask", "", "_gt")  # what a mask's name has behind that of its image


class MaskFinder:
    """Pairs images with what was drawn of them in one folder of masks.

    A sub-folder named like the image holds one region a file (LOCO); a file named like the image,
    or like it with ``_mask`` or ``_gt`` behind, holds all regions as its connected components.
    """

    def __init__(
        self,
        folder: Path,
        lister: Lister,
        config: Mapping[int, truths.Saturation] | None = None,
    ) -> None:
        self._config = config
        self._layers = {
            path.name.lower(): tuple(found)
            for path in folders(folder)
            if (found := lister.images(path))
        }
        self._files = {path.stem.lower(): path for path in lister.images(folder)}
        self._used: set[str] = set()
        self._layered = bool(self._layers)
        self._folder = folder

    def reader(self, image: Path) -> Reader | None:
        """What reads the truth of an image; None where there is no mask of it."""
        stem = image.stem.lower()
        if stem in self._layers:
            self._used.add(stem)
            return partial(truths.layers, image, self._layers[stem], self._config)
        for ending in ENDINGS:
            if (name := stem + ending) in self._files:
                self._used.add(name)
                return partial(truths.components, image, self._files[name])
        return None

    def expected(self, image: Path) -> Path:
        """Where the mask of an image should lie."""
        return self._folder / (
            f"{image.stem}/000.png" if self._layered else f"{image.stem}{ENDINGS[0]}.png"
        )

    def spare(self) -> int:
        """Number of masks for which no image has asked."""
        return len((self._layers.keys() | self._files.keys()) - self._used)


def settle(
    found: Mapping[Path, Reader | None],
    expected: Callable[[Path], Path],
    drawn: Path | None,
) -> tuple[dict[Path, Reader | None], list[str]]:
    """Decides about missing masks: all or none may be missing.

    Args:
        found: Each anomalous image and what reads its truth.
        expected: Where the mask of an image should lie, for the message.
        drawn: The folder of masks, or None where there is none.

    Returns:
        The same, and notes.

    Raises:
        DatasetError: Some have a mask and some have none.
    """
    without = [image for image, reader in found.items() if reader is None]
    if not without:
        return dict(found), []
    if len(without) == len(found):
        note = "There are no masks: nothing can be said about where anomalies are."
        if drawn is not None:
            note = (
                f"No mask in {drawn} bears the name of an image; expected some such as "
                f"{expected(without[0])}. Nothing can be said about where anomalies are."
            )
        return dict(found), [note]
    raise DatasetError(
        f"{without[0]} has no mask ({len(without)} of {len(found)} anomalous images have none); "
        f"expected {expected(without[0])}. Copy the masks again, or take the folder of masks away "
        "to go without any."
    )
