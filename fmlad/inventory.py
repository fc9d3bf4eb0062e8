"""The parts of a fitted detector: what they are, and what the user calls them."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fmlad import draw
from fmlad.backbones.roles import Masks
from fmlad.errors import OptionError, UnknownNameError
from fmlad.objects.instances import resized
from fmlad.objects.inventory import Part
from fmlad.objects.proposals import AUTOMATIC, ProposalSource
from fmlad.pipeline import Fitted, limited
from fmlad.sentences import UNNAMED, with_names
from fmlad.views import ImageView

if TYPE_CHECKING:
    from PIL import Image

# Shots that say which phrase a part answers, at most, and the share of its pixels that must.
ASKED, ANSWERED = 16, 0.6

_log = logging.getLogger(__name__)


def parts(fitted: Fitted) -> list[Part]:
    """The parts that findings name, by the user's names."""
    known = _by_letter(fitted).values()
    return [replace(part, name=with_names(part.name, fitted.names)) for part in known]


def picture(fitted: Fitted, name: str) -> Image.Image | None:
    """A part as one of the shots shows it; None where no small pictures were kept.

    Raises:
        UnknownNameError: There is no part of this name, or of this letter.
    """
    part = {**_by_letter(fitted), **{one.name: one for one in parts(fitted)}}.get(name)
    if part is None:
        raise UnknownNameError.of("part", str(name), [one.name for one in parts(fitted)])
    if part.shot is None or part.box is None or not fitted.gallery:
        return None
    return draw.crop(fitted.gallery.picture(part.shot), part.box, fitted.sizes[part.shot])


def named(fitted: Fitted, given: Mapping[str, str]) -> Fitted:
    """A copy with the user's names for parts, those given added to those known.

    Raises:
        UnknownNameError: There is no such part.
        OptionError: A name is empty or a letter of parts, two parts would have the same, or the
            part has its name from a prompt set.
    """
    if not isinstance(given, Mapping):
        raise OptionError(f"Names of parts are {{'part A': 'pin'}}, got {given!r}.")
    plain = list(_by_letter(fitted))
    letters = {name: name for name in plain} | {
        fitted.names.get(name, name): name for name in plain
    }
    names = dict(fitted.names)
    for part, name in given.items():
        if part not in letters:
            raise UnknownNameError.of("part", str(part), letters)
        if not UNNAMED.fullmatch(letters[part]):
            raise OptionError(f"{part!r} has its name from the prompt set; change it there.")
        names[letters[part]] = _checked(part, name)
    final = [names.get(name, name) for name in plain]
    if twice := {name for name in final if final.count(name) > 1}:
        raise OptionError(f"Two parts would be called {sorted(twice)[0]!r}; name them apart.")
    return replace(fitted, names=names)


def carried_over(before: Fitted, after: Fitted) -> Fitted:
    """A new fit with the old one's names for the parts that still look the same.

    Letters go by frequency, so that other shots may exchange them.
    """
    old, new = _by_letter(before), _by_letter(after)
    kept: dict[str, str] = {}
    for letter, name in before.names.items():
        if _by_phrase(before, letter) == name:
            continue  # a phrase gave this name; the new fit finds its own
        description = old[letter].description if letter in old else None
        same = [one for one, part in new.items() if part.description == description]
        alike = [one for one, part in old.items() if part.description == description]
        unique = len(same) == len(alike) == 1
        found = same[0] if unique else letter
        if found in same:
            kept[found] = name
        else:
            _log.warning("%r looks otherwise now and lost its name", name)
    return replace(after, names=kept)


def grounded(fitted: Fitted, views: Sequence[ImageView]) -> Fitted:
    """A fit whose parts have the names of the phrases that their masks answer in the shots.

    Parts that answer the same phrase keep their letters: ``"screw A"`` and ``"screw C"``. Names
    that a part has already stay.
    """
    source: ProposalSource = getattr(fitted.state, "source", AUTOMATIC)
    if not source.phrases:
        return fitted
    pixels: Counter[str] = Counter()
    answered: dict[str, Counter[str]] = defaultdict(Counter)
    for view in (limited(view, fitted.regions) for view in views[:ASKED]):
        segmentation = fitted.method.evidence(view, fitted.state).segmentation
        masks = source.masks(view)
        if segmentation is None or masks.phrases is None:
            continue
        for label, letter in enumerate(segmentation.names):
            inside = segmentation.labels == label
            if not UNNAMED.fullmatch(letter) or not inside.any():
                continue
            pixels[letter] += int(inside.sum())
            for number, covered in _covered(masks, view.size).items():
                answered[letter][source.phrases[number]] += int((covered & inside).sum())
    named = {}
    for letter, phrases in answered.items():
        phrase, shared = phrases.most_common(1)[0]
        if shared >= ANSWERED * pixels[letter]:
            named[letter] = phrase
    several = Counter(named.values())
    for letter, phrase in named.items():
        if several[phrase] > 1:
            named[letter] = f"{phrase} {letter.removeprefix('part ')}"
    taken = set(fitted.names.values())
    fresh = {letter: name for letter, name in named.items() if name not in taken}
    return replace(fitted, names={**fresh, **fitted.names})


def _by_phrase(fitted: Fitted, letter: str) -> str | None:
    """The name of a part if a phrase gave it, as :func:`grounded` does; else None."""
    phrases: Sequence[str] = getattr(fitted.state, "source", AUTOMATIC).phrases
    name = fitted.names[letter]
    plain = name.removesuffix(f" {letter.removeprefix('part ')}")
    return name if name in phrases or plain in phrases else None


def _covered(masks: Masks, size: tuple[int, int]) -> dict[int, npt.NDArray[np.bool_]]:
    """Pixels ``(H, W)`` of all masks of each phrase."""
    found: dict[int, npt.NDArray[np.bool_]] = {}
    for mask, phrase in zip(
        masks.masks, () if masks.phrases is None else masks.phrases, strict=True
    ):
        if phrase >= 0:
            large = resized(mask, size)
            found[int(phrase)] = found[int(phrase)] | large if int(phrase) in found else large
    return found


def renamed_as(fitted: Fitted, names: Mapping[str, str]) -> Fitted:
    """A fit whose parts are those that had these names, and keep them."""
    known = _by_letter(fitted)
    restored = {letter: name for letter, name in names.items() if letter in known}
    others = {one: n for one, n in fitted.names.items() if n not in restored.values()}
    return replace(fitted, names={**others, **restored})


def _checked(part: str, name: object) -> str:
    """A name on one line that is no letter of parts."""
    if not isinstance(name, str) or not name.strip():
        raise OptionError(f"The name of {part!r} is {name!r}; give it some letters.")
    if not name.isprintable() or UNNAMED.fullmatch(name.strip()):
        raise OptionError(
            f"{name!r} cannot be the name of {part!r}: a name is one line, and 'part A' and its "
            f"like are parts without one."
        )
    return name.strip()


def _by_letter(fitted: Fitted) -> dict[str, Part]:
    """The parts by the names that they have without the user's."""
    known: list[Part] = getattr(fitted.method, "parts", lambda state: [])(fitted.state)
    return {part.name: part for part in known}
