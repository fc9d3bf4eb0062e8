"""What the options of methods share: a frozen dataclass whose values pydantic checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError

from fmlad.errors import OptionError, UnknownNameError

Config = TypeVar("Config")

CHECKED = ConfigDict(strict=True, arbitrary_types_allowed=True)
"""For ``@pydantic.dataclasses.dataclass(frozen=True, config=CHECKED)``."""


def _several(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


# One name, or what JSON made of a tuple, is a tuple of names.
SEVERAL = BeforeValidator(_several)


def _of_sixty_four(side: int) -> int:
    if side % 64:
        raise ValueError("should be a multiple of 64")
    return side


# Pixels of both sides of the input of networks that halve it six times.
Side = Annotated[int, Field(ge=64), AfterValidator(_of_sixty_four)]


def option_error(error: ValidationError) -> OptionError:
    """The first option that is wrong, as one line: its name, its value, what was expected."""
    first = error.errors()[0]
    place = first["loc"][:1]
    # An option of several types has one complaint a type.
    expected = dict.fromkeys(
        one["msg"].removeprefix("Input ").removeprefix("Value ").removeprefix("error, ")
        for one in error.errors()
        if one["loc"][:1] == place
    )
    name = "".join(map(str, place)) or "options"
    return OptionError(f"{name}={first['input']!r} is not possible: it {' or '.join(expected)}.")


def preset_with(
    presets: Mapping[str, Config], preset: str, changes: Mapping[str, Any], what: str
) -> Config:
    """A preset with changes.

    Args:
        presets: Frozen dataclasses of one class, by name.
        preset: One of the names.
        changes: Values of its fields.
        what: Whose options they are, for messages: ``"the segmenter"``.

    Raises:
        UnknownNameError: There is no such preset or option.
        OptionError: A value that does not fit.
    """
    if preset not in presets:
        raise UnknownNameError.of("preset", preset, presets)
    chosen: Any = presets[preset]
    known = [one.name for one in fields(chosen)]
    for name in changes:
        if name not in known:
            raise UnknownNameError.of(f"option of {what}", name, known)
    try:
        return replace(chosen, **changes)  # type: ignore[no-any-return]
    except ValidationError as error:
        raise option_error(error) from None
