"""Whatever names images, as a flat list of single ones: folders, patterns, lists, iterators."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from fmlad.errors import ShotsError
from fmlad.io.images import (
    IMAGE_SUFFIXES,
    ImageSource,
    is_tensor,
    missing_path,
    reason,
    source_name,
)

MAX_SOURCES = 1_000_000  # an endless iterator must end somewhere
_SINGLE = (str, os.PathLike, bytes, bytearray, memoryview)
_WANTED = "Pass a folder, one image, or a list of paths, PIL images or arrays"


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Lists the images of one folder in natural order (``img2`` before ``img10``).

    Chosen by suffix in either case; hidden files and sub-folders are left out.

    Raises:
        ShotsError: The folder does not exist, cannot be read or holds no images; where its
            sub-folders hold some, they are named.
    """
    try:
        path = Path(folder)
        if found := _only_images(path.iterdir()):
            return found
        others = sorted(p.name for p in path.iterdir())
    except (OSError, ValueError, TypeError) as error:
        raise ShotsError(
            f"{source_name(folder)} cannot be listed ({reason(error)}); expected a folder."
            " Pass the folder that holds the images."
        ) from error
    walk = islice(os.walk(path), 1000)
    inner = sorted(root for root, _, names in walk if any(map(_has_image_suffix, names)))
    inner = [root for root in inner if not Path(root).name.startswith(".")]
    if inner:
        more = f" and {len(inner) - 3} more" if len(inner) > 3 else ""
        raise ShotsError(
            f"{path} holds no images itself; its sub-folders do: {', '.join(inner[:3])}{more}."
            " Pass the one with the normal images."
        )
    held = f"{len(others)} other entries such as {others[0]}" if others else "nothing"
    raise ShotsError(f"{path} holds {held}; expected images such as .png or .jpg. {_WANTED}.")


def expand_sources(sources: object, *, strict: bool = True) -> list[ImageSource]:
    """Turns whatever names images into a flat list of single images, in order.

    A folder becomes its images, a pattern such as ``"shots/*.png"`` (where no file has that very
    name) the images that match, a 4-D array its slices, and a list, tuple or iterator the images,
    folders and patterns in it; one image stays one. Nothing is decoded.

    Args:
        sources: One image of any kind, a folder, a pattern, or an iterable of these.
        strict: Whether a missing path in a list is an error at once. Otherwise it stays in the
            list, so that :func:`load_image` reports it and the others go on.

    Returns:
        At least one source, each for :func:`load_image`.

    Raises:
        ShotsError: There is no image at all, or nothing that could hold images.
        InvalidImageError: A path that does not exist.
    """
    items: Iterable[object]
    if _is_single(sources):
        items, strict = (sources,), True
    elif isinstance(sources, Iterable) and not isinstance(sources, Mapping | set | frozenset):
        items = sources
    else:
        raise ShotsError(f"Got {source_name(sources)}; expected images in some order. {_WANTED}.")
    found: list[ImageSource] = []
    for item in items:
        found.extend(_expand_one(item, strict=strict))
        if len(found) > MAX_SOURCES:
            raise ShotsError(f"Got more than {MAX_SOURCES:,} images. Pass fewer at a time.")
    if not found:
        raise ShotsError(f"Got {source_name(sources)} without any image in it. {_WANTED}.")
    return found


def one_by_one(images: object) -> Iterable[ImageSource]:
    """Images to judge: a folder or single image is expanded, anything else is taken as it comes.

    Raises:
        ShotsError: An empty or missing folder, or nothing that could hold images.
    """
    if _is_single(images) or isinstance(images, np.ndarray) or not isinstance(images, Iterable):
        return expand_sources(images)
    return images


def _is_single(source: object) -> bool:
    if isinstance(source, np.ndarray):
        return not (source.ndim == 1 and source.dtype.kind in "OU")  # an array of paths
    return (
        isinstance(source, (*_SINGLE, Image.Image)) or hasattr(source, "read") or is_tensor(source)
    )


def _expand_one(item: object, *, strict: bool) -> list[ImageSource]:
    if isinstance(item, np.ndarray) and item.ndim == 4:
        return list(item)
    if isinstance(item, str | os.PathLike):
        with suppress(OSError, ValueError, TypeError):  # a path that cannot even be looked up
            path = Path(os.fsdecode(item))
            if path.is_dir():
                return list(list_images(path))
            if not os.path.lexists(path) and glob.has_magic(str(path)):
                matches = glob.iglob(str(path), recursive=True)  # noqa: PTH207 (absolute as well)
                if found := _only_images(Path(match) for match in islice(matches, MAX_SOURCES)):
                    return list(found)
            if strict and not os.path.lexists(path):
                raise missing_path(item)
    return [cast(ImageSource, item)]  # load_image says what is wrong with it, if anything


def _has_image_suffix(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def _only_images(paths: Iterable[Path]) -> list[Path]:
    def natural(path: Path) -> tuple[list[str | int], str]:
        # Splitting at digits alternates text and number, so that like is compared with like.
        parts = re.split(r"([0-9]+)", str(path).casefold())
        return [int(p) if i % 2 else p for i, p in enumerate(parts)], str(path)

    # Not is_file(): a broken link called img.png shall be reported, not passed over.
    return sorted((p for p in paths if _has_image_suffix(p.name) and not p.is_dir()), key=natural)
