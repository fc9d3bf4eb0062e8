"""What part labels are, and what their readers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmlad.errors import OptionError

Ints = npt.NDArray[np.integer[Any]]
Labels = npt.NDArray[np.uint8]
Size = tuple[int, int]

BACKGROUND = "background"
MOST_CLASSES = 256  # background included: a label map is stored as 8 bits
SHOWN = 5  # names in one message
_BACKGROUNDS = ("background", "_background_", "__background__", "bg")
# What is done to a stored array so that it is seen upright, by EXIF orientation; these exchange
# height and width, so that an unturned label tells itself by its size.
_TURNS: dict[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: np.rot90,
}

T = TypeVar("T")


class Shot(NamedTuple):
    """An image that labels are wanted for.

    Attributes:
        name: For messages.
        path: Its file, by whose name labels are found; None: it has none.
        size: Height and width as it is seen (EXIF orientation applied).
    """

    name: str
    path: Path | None
    size: Size


@dataclass(frozen=True)
class PartLabels:
    """Part labels of some shots.

    Attributes:
        names: Of the classes; ``names[0]`` is ``"background"``.
        maps: For each shot in order uint8 ``(H, W)``, indices into ``names``, of the shot's size as
            it is seen; None where the shot has no label.
        source: Where they come from, in words.
    """

    names: tuple[str, ...]
    maps: tuple[Labels | None, ...] = field(repr=False)
    source: str

    def __post_init__(self) -> None:
        """Checks that every class has a name.

        Raises:
            OptionError: One has none, or the first name is not the background's.
        """
        if not self.names or self.names[0] != BACKGROUND:
            raise OptionError(
                f"The names of classes are {self.names}; expected {BACKGROUND!r} as the first."
            )
        for number, label in enumerate(self.maps):
            if label is not None and not np.isin(label, range(len(self.names))).all():
                raise OptionError(
                    f"Label {number} has classes beside 0 to {len(self.names) - 1}, which have no "
                    "name; name them, or paint them as a known class."
                )

    def shared_out(self, images: Sequence[T]) -> tuple[list[T], list[Labels], list[T]]:
        """The images that have a label, their labels, and the other images.

        Args:
            images: One for each label.
        """
        pairs = list(zip(images, self.maps, strict=True))
        known = [(image, label) for image, label in pairs if label is not None]
        rest = [image for image, label in pairs if label is None]
        return [image for image, _ in known], [label for _, label in known], rest

    def pixels(self, shot: int) -> dict[str, int]:
        """Pixels of each class in the label of a shot, background included; empty without one."""
        label = self.maps[shot]
        if label is None:
            return {}
        counts = np.bincount(label.ravel(), minlength=len(self.names))
        return dict(zip(self.names, counts.tolist(), strict=True))


@dataclass
class Reading:
    """What a reader found, before it is checked as a whole.

    Attributes:
        source: In words.
        maps: For each shot a label ``(H, W)`` of whole numbers of its size, or None.
        names: Of the classes, background first; None: classes have numbers alone.
        problems: Errors, one sentence or two each.
        warnings: What is odd, but no error.
        spare: Labels of no shot, by name.
        unused: Whether classes that no label has are left out without a word.
        by_stem: Whether labels are found by the names of images, wherever these lie.
    """

    source: str
    maps: list[Ints | None]
    names: list[str] | None = None
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    spare: list[str] = field(default_factory=list)
    unused: bool = False
    by_stem: bool = False


def default_names(classes: int) -> tuple[str, ...]:
    """Default names of a number of classes, background included."""
    return (BACKGROUND, *(f"class {number}" for number in range(1, classes)))


def is_background(name: str) -> bool:
    """Whether a class of this name is the background."""
    return name.strip().casefold() in _BACKGROUNDS


def some(names: Iterable[object]) -> str:
    """A list for a message, cut where it is long."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def class_list(names: Sequence[str], where: object) -> list[str]:
    """Class names, background first, of a list that has the background or has not.

    Raises:
        OptionError: There is none, there are too many, or two are the same.
    """
    parts = [name.strip() for name in names]
    parts = [name for name in parts if not is_background(name)]
    if not parts:
        raise OptionError(f"{where} names no class; expected the name of one part at least.")
    if len(parts) >= MOST_CLASSES:
        raise OptionError(
            f"{where} names {len(parts)} classes; expected at most {MOST_CLASSES - 1}."
        )
    for number, name in enumerate(parts):
        if not name or not name.isprintable():
            raise OptionError(f"{where}: {name!r} is no name of a class; give each one a name.")
        if name in parts[:number]:
            raise OptionError(f"{where} names {name!r} twice; give each class a name of its own.")
    return [BACKGROUND, *parts]


def turned(shot: Shot, size: Size) -> int:
    """EXIF orientation that a label ``size`` is to be turned by: that of its image, or 1.

    A label of the size that the image has as it is seen needs no turning. One of the size as the
    image is stored, which its EXIF orientation turns by a quarter, is turned as the image is.

    Raises:
        OptionError: The label's size is neither; it says no file name.
    """
    if size == shot.size:
        return 1
    orientation = _orientation(shot.path) if shot.path and size == shot.size[::-1] else 1
    if orientation in _TURNS:
        return orientation
    high, wide = shot.size
    raise OptionError(
        f"is {size[1]} x {size[0]} pixels (width x height), its image {shot.name} {wide} x {high}; "
        "expected the same size. Draw it on the image as it is, or scale it without smoothing"
    )


def upright(label: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """A label as its image is seen, by what :func:`turned` gave."""
    turn = _TURNS.get(orientation)
    return label if turn is None else np.ascontiguousarray(turn(label))


def _orientation(path: Path) -> int:
    try:
        with Image.open(path) as image:
            return int(image.getexif().get(0x0112, 1))
    except Exception:  # what is wrong with an image is said where it is read
        return 1
