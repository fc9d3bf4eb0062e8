"""What users give a detector, read: pictures, labels, and backbones by name."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fmlad import profiles
from fmlad.errors import OptionError
from fmlad.io.cache import DiskCache
from fmlad.io.images import ImageSource, load_image, source_name
from fmlad.io.inputs import expand_sources
from fmlad.methods.registry import create_method
from fmlad.views import BackboneSet, ImageView

if TYPE_CHECKING:
    from fmlad.backbones.roles import Backbone
    from fmlad.methods.protocol import Method

Inputs = ImageSource | Iterable[ImageSource]
Picture = tuple[str, npt.NDArray[np.uint8]]  # name and pixels

_log = logging.getLogger(__name__)


def checked_labels(
    labels: Sequence[npt.NDArray[np.integer]], views: Sequence[ImageView]
) -> list[npt.NDArray[np.integer]]:
    """Part masks that fit their images.

    Raises:
        OptionError: There are more or fewer than images, or one is not whole numbers ``(H, W)``.
    """
    if len(labels) != len(views):
        raise OptionError(f"{len(labels)} labels for {len(views)} images; give one an image.")
    found = [np.asarray(label) for label in labels]
    for view, label in zip(views, found, strict=True):
        if label.shape != view.size or not np.issubdtype(label.dtype, np.integer):
            raise OptionError(
                f"The label of {view.name} is {label.shape} {label.dtype}; expected whole numbers "
                f"of the image's size {view.size}."
            )
    return found


def load_pictures(sources: Inputs) -> list[Picture]:
    """Name and pixels of each image of an argument; an error names the first unreadable one.

    Only what has no path of its own is called by its place in the argument, which does not stay.
    """
    expanded = expand_sources(sources)
    several = len(expanded) > 1
    return [
        (source_name(source, index if several and not _has_path(source) else None), pixels)
        for index, (source, pixels) in enumerate((one, load_image(one)) for one in expanded)
    ]


def _has_path(source: ImageSource) -> bool:
    return isinstance(source, str | os.PathLike)


def without_copies(
    pictures: list[Picture], labels: Sequence[npt.NDArray[np.integer]] | None
) -> tuple[list[Picture], Sequence[npt.NDArray[np.integer]] | None]:
    """The first shot alone where all are the same picture, which a warning then says.

    Copies show no variation: judged by each other they are perfect, and any new image is far off.
    """
    first = pictures[0][1]
    same = all(np.array_equal(first, pixels) for _, pixels in pictures[1:])
    if len(pictures) == 1 or not same:
        return pictures, labels
    _log.warning("all %d shots are the same picture: they count as one", len(pictures))
    alike = labels is not None and len(labels) == len(pictures)
    return pictures[:1], labels[:1] if alike and labels is not None else labels


def make_views(backbone_set: BackboneSet, pictures: Iterable[Picture]) -> list[ImageView]:
    """A view on each picture."""
    return [backbone_set.view(pixels, name) for name, pixels in pictures]


def given(sources: Inputs) -> bool:
    """Whether an optional argument was given: anything but an empty list or tuple."""
    return not (isinstance(sources, list | tuple) and len(sources) == 0)


def choose_backbones(
    method: Method, profile: str | None, backbones: Mapping[str, str | Backbone] | None
) -> tuple[str, dict[str, str | Backbone]]:
    """The profile in force and its backbone for each role of the method, nothing loaded yet."""
    if profile is None:
        profiles.say_default()
    profile = profiles.profile_name(profile)
    roles = method_roles(method, profile, backbones)
    return profile, profiles.resolve(roles, profile, method.declared.get(profile), backbones)


def method_backbones(
    method: str,
    profile: str | None = None,
    backbones: Mapping[str, str | Backbone] | None = None,
    device: str = "auto",
) -> BackboneSet:
    """The backbones of a method, loaded.

    Raises:
        UnknownNameError: A method, profile, role or backbone does not exist.
        OptionError: No backbone fills a needed role, or the device is not usable.
        WeightsUnavailableError: A backbone's weights are not here and cannot be fetched.
    """
    _, chosen = choose_backbones(
        create_method(method, {}), profiles.profile_name(profile), backbones
    )
    return load_backbones(chosen, profiles.pick_device(device))


def load_backbones(chosen: Mapping[str, str | Backbone], device: str) -> BackboneSet:
    """Backbones by role, from their names, with the disk cache."""
    return BackboneSet(profiles.load_backbones(chosen, device), DiskCache.default(), device)


def method_roles(
    method: Method, profile: str, backbones: Mapping[str, str | Backbone] | None = None
) -> tuple[str, ...]:
    """Roles that it needs, and optional ones of this profile or of the argument ``backbones``."""
    optional: Mapping[str, Sequence[str]] = getattr(method, "optional", {})
    wanted = [
        role for role, where in optional.items() if profile in where or role in (backbones or {})
    ]
    return (*method.needs, *wanted)
