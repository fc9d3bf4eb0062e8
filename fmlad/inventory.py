"""The parts of a fitted detector: what they are, and what the user calls them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from fmlad import draw
from fmlad.errors import OptionError, UnknownNameError
from fmlad.objects.inventory import Part
from fmlad.pipeline import Fitted
from fmlad.sentences import with_names

if TYPE_CHECKING:
    from PIL import Image

_log = logging.getLogger(__name__)


def parts(fitted: Fitted) -> list[Part]:
    """The parts that findings name, by the user's names."""
    return [replace(part, name=with_names(part.name, fitted.names)) for part in _plain(fitted)]


def picture(fitted: Fitted, name: str) -> Image.Image | None:
    """A part as one of the shots shows it; None where no small pictures were kept.

    Raises:
        UnknownNameError: There is no such part.
    """
    known = {part.name: part for part in parts(fitted)}
    if name not in known:
        raise UnknownNameError.of("part", name, known)
    part = known[name]
    if part.shot is None or part.box is None or not fitted.gallery:
        return None
    return draw.crop(fitted.gallery.picture(part.shot), part.box, fitted.sizes[part.shot])


def named(fitted: Fitted, given: Mapping[str, str]) -> Fitted:
    """A copy with the user's names for parts, those given added to those known.

    Raises:
        UnknownNameError: There is no such part.
        OptionError: A name is empty, or two parts would have the same.
    """
    plain = [part.name for part in _plain(fitted)]
    letters = {fitted.names.get(name, name): name for name in plain} | {n: n for n in plain}
    names = dict(fitted.names)
    for part, name in given.items():
        if part not in letters:
            raise UnknownNameError.of("part", part, letters)
        if not isinstance(name, str) or not name.strip():
            raise OptionError(f"The name of {part!r} is empty; give it some letters.")
        names[letters[part]] = name.strip()
    final = [names.get(name, name) for name in plain]
    if twice := {name for name in final if final.count(name) > 1}:
        raise OptionError(f"Two parts would be called {sorted(twice)[0]!r}; name them apart.")
    return replace(fitted, names=names)


def carried_over(before: Fitted, after: Fitted) -> Fitted:
    """A new fit with the old one's names for the parts that still look the same.

    Letters go by frequency, so that other shots may change them.
    """
    looks = {part.name: part.looks for part in _plain(after)}
    same = [part.name for part in _plain(before) if looks.get(part.name) == part.looks]
    kept = {letter: name for letter, name in before.names.items() if letter in same}
    for letter in before.names.keys() - kept.keys():
        _log.warning("%r looks otherwise now and lost its name", before.names[letter])
    return replace(after, names=kept)


def _plain(fitted: Fitted) -> list[Part]:
    known: list[Part] = getattr(fitted.method, "parts", lambda state: [])(fitted.state)
    return known
