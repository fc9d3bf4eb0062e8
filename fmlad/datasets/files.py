"""Folders as people have them: capital letters, hidden files, files that are no images."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from fmlad.errors import DatasetError, UnknownNameError
from fmlad.io.images import IMAGE_SUFFIXES, reason

MANY = 10  # files passed over in one category, from which a note says so
SHOWN = 6  # names listed in a message
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar")


class Lister:
    """Lists images in order of name, and counts what it passes over: hidden, or no image."""

    def __init__(self) -> None:
        self.ignored = 0

    def images(self, folder: Path, needed: bool = False) -> list[Path]:
        """The images straight in a folder, in order of name; suffixes in either case.

        Raises:
            DatasetError: It cannot be listed, or holds no image and images are needed.
        """
        found = []
        for path in entries(folder):
            if path.is_dir():
                continue
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
                _check_name(path)
                found.append(path)
            else:
                self.ignored += 1
        if needed and not found:
            raise DatasetError(
                f"{folder} holds no images; found: {held(folder)}. Expected .png, .jpg, .bmp, .tif "
                "or the like straight in it. Was the archive unpacked completely?"
            )
        return found

    def notes(self) -> list[str]:
        """One sentence where much was passed over, else nothing."""
        if self.ignored < MANY:
            return []
        return [f"Passed over: {self.ignored} files that are hidden or no images."]


def _check_name(path: Path) -> None:
    """Refuses a file name that is not UTF-8: it could stand in no table of results."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        shown = path.name.encode("utf-8", "replace").decode()
        raise DatasetError(
            f"{path.parent} holds a file whose name is no text ({shown!r}); rename it."
        ) from None


def entries(folder: Path) -> list[Path]:
    """All entries of a folder in order of name; DatasetError where it cannot be listed."""
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be listed ({reason(error)}); expected a folder that can be read."
        ) from error


def folders(folder: Path) -> list[Path]:
    """Its sub-folders in order of name, without hidden ones and those that archives leave."""
    return [p for p in entries(folder) if p.is_dir() and p.name[0] != "." and p.name != "__MACOSX"]


def key(name: str) -> str:
    """A name as it is compared: case, spaces and hyphens make no difference."""
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()


def spelled(folder: Path, official: Sequence[str]) -> str:
    """A category's name as the dataset spells it, or else as its folder does."""
    return next((name for name in official if key(name) == key(folder.name)), folder.name)


def child(folder: Path, *names: str) -> Path | None:
    """The first sub-folder that bears one of the names, the exact spelling before any other."""
    there = folders(folder)
    for name in names:
        if folder / name in there:
            return folder / name
        if same := [path for path in there if key(path.name) == key(name)]:
            return same[0]
    return None


def need(folder: Path, *names: str, layout: str) -> Path:
    """As :func:`child`; DatasetError where there is none."""
    if found := child(folder, *names):
        return found
    raise DatasetError(
        f"{folder} has no folder {' or '.join(names)}; found: {held(folder)}. Expected {layout}. "
        "Was the archive unpacked completely?"
    )


def held(folder: Path) -> str:
    """What a folder holds, for a message."""
    names = [path.name + "/" * path.is_dir() for path in entries(folder)]
    if not names:
        return "nothing"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def check_root(root: Path) -> None:
    """Raises :class:`DatasetError` unless the root is a folder."""
    if root.is_dir():
        return
    if root.is_file():
        advice = "Unpack it" if root.suffix.lower() in _ARCHIVES else "Pass the folder it lies in"
        raise DatasetError(f"{root} is a file; expected the folder of a dataset. {advice}.")
    raise DatasetError(
        f"{root} does not exist; expected the folder of a dataset. Check the spelling and the "
        "working directory. Nothing is downloaded."
    )


def categories_in(root: Path, is_category: Callable[[Path], bool]) -> list[Path]:
    """The sub-folders of an existing root that are categories."""
    check_root(root)
    return [path for path in folders(root) if is_category(path)]


def find_category(
    dataset: str,
    root: Path,
    category: str,
    official: Sequence[str],
    is_category: Callable[[Path], bool],
) -> Path:
    """The folder of a category, of whose dataset ``official`` are all names.

    Raises:
        DatasetError: The root is wrong in one of the ways people get it wrong.
        UnknownNameError: There are categories, but none of this name.
    """
    found = categories_in(root, is_category)
    for path in found:
        if category and key(path.name) == key(category):
            return path
    names = [path.name for path in found]
    if is_category(root):
        raise DatasetError(
            f"{root} is itself one category ({held(root)}); expected the folder that holds the "
            f"categories. Pass {root.absolute().parent}."
        )
    known = set(map(key, official))
    for path in folders(root):
        if any(key(inner.name) in known for inner in categories_in(path, is_category)):
            raise DatasetError(
                f"{root} holds the categories of {dataset} one folder deeper than expected. "
                f"Pass {path}."
            )
    half = child(root, category) if category else None
    if half is not None:
        return half  # whoever reads it says what is missing
    if names and key(category) not in known:
        raise UnknownNameError.of(f"category of {dataset} in {root}", category, names)
    archives = [p.name for p in entries(root) if p.suffix.lower() in _ARCHIVES]
    advice = f"Unpack {archives[0]} first" if archives else "Pass the folder that holds it"
    wanted = f"category {category!r}" if category else "category"
    raise DatasetError(
        f"{root} holds no {wanted} of {dataset}; found: {held(root)}. "
        f"Expected folders such as {', '.join(official[:3])}. {advice}."
    )


def read_lines(file: Path) -> list[str]:
    """Lines of a text file; DatasetError where it is missing or no text."""
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{file} cannot be read ({reason(error)}); expected a text file."
        ) from error


def some(number: int, noun: str) -> str:
    """A number and its noun, for a note: "1 image", "2 images"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def unique_names(paths: Collection[Path]) -> list[str]:
    """Stems; whole file names for those whose stem occurs twice."""
    stems = [path.stem for path in paths]
    return [p.name if stems.count(p.stem) > 1 else p.stem for p in paths]
