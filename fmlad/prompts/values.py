"""Single values of a prompt set: a mapping, a list, words, a text; or a message with its place."""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, cast, get_args

from fmlad.errors import PromptError
from fmlad.prompts.model import Decide
from fmlad.prompts.text import Place

LONGEST = 200  # characters of a word or phrase

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


class Reader:
    """Takes values apart that may be anything.

    Args:
        where: Says in a message where a place (keys and positions) is.
    """

    def __init__(self, where: Callable[[Place], str]) -> None:
        self._where = where

    def mapping(
        self, value: Any, at: Place, known: Collection[str] | None, what: str
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            keys = f" with {', '.join(known)}" if known else ""
            self.fail(at, f"expected {what} as 'key: value' pairs{keys}; got {say(value)}.")
        for key in value:
            if not isinstance(key, str):
                self.fail(at, f"expected text as a key of {what}, got {say(key)}.")
            if known is not None and key not in known:
                self.fail(
                    (*at, key),
                    f"unknown key {say(key)} in {what}.{near(key, known)} "
                    f"Known ones: {', '.join(known)}.",
                )
        return cast("dict[str, Any]", value)

    def list(self, value: Any, at: Place, example: str) -> list[Any]:
        if value is None or value in ([], {}, ""):
            self.fail(at, f"{_last(at)} is empty; give at least one entry, such as [{example}].")
        if not isinstance(value, list):
            self.fail(at, f"expected a list such as [{example}], got {say(value)}.")
        return value

    def words(self, value: Any, at: Place) -> tuple[str, ...]:
        words: list[str] = []
        for index, item in enumerate(self.list(value, at, "first word, second word")):
            here = (*at, index)
            text = " ".join(self.text(item, here).split())
            if text.casefold() in (word.casefold() for word in words):
                self.fail(here, f"{text!r} stands here twice; remove one.")
            words.append(text)
        return tuple(words)

    def text(self, value: Any, at: Place, most: int = LONGEST, what: str = "text") -> str:
        if not isinstance(value, str):
            quotes = (
                "" if isinstance(value, (dict, list)) or value is None else "; put it in quotes"
            )
            self.fail(at, f"expected {what}, got {say(value)}{quotes}.")
        plain = " ".join(value.split())
        if not plain:
            self.fail(at, f"expected {what}, got nothing; write a word or remove the entry.")
        if len(plain) > most:
            self.fail(at, f"{say(plain)} has {len(plain)} characters; at most {most} are taken.")
        if not plain.isprintable():
            self.fail(at, f"{plain[:40]!r} holds characters that cannot be printed; remove them.")
        return value.strip()

    def decide(self, mapping: Mapping[str, Any], at: Place, default: Decide) -> Decide:
        value = mapping.get("decide", default)
        if value not in get_args(Decide):
            self.fail((*at, "decide"), f"'decide' is patch or region, not {say(value)}.")
        return cast(Decide, value)

    def fail(self, at: Place, message: str) -> NoReturn:
        raise PromptError(f"{self._where(at)}: {message}")


def is_number(value: Any) -> bool:
    """Whether it is a finite number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def near(name: str, known: Collection[str]) -> str:
    """`` Did you mean ...?``, or nothing where nothing is like it."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


def _last(at: Place) -> str:
    return repr(at[-1]) if at else "it"


def say(value: Any) -> str:
    """A value in a message: short whatever it is."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "what YAML reads as a truth value (yes, no, on, off, true, false)"
    if isinstance(value, dict):
        return "'key: value' pairs"
    return _repr.repr(value)
