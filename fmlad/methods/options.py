"""What the options of methods share: a frozen dataclass whose values pydantic checks."""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator, ConfigDict, ValidationError

from fmlad.errors import OptionError

CHECKED = ConfigDict(strict=True, arbitrary_types_allowed=True)
"""For ``@pydantic.dataclasses.dataclass(frozen=True, config=CHECKED)``."""


def _several(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


# One name, or what JSON made of a tuple, is a tuple of names.
SEVERAL = BeforeValidator(_several)


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
