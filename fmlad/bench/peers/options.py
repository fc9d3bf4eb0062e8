"""Options of peers: a frozen dataclass each, filled from JSON-ready values and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from fmlad.errors import OptionError, UnknownNameError

C = TypeVar("C")


def option(
    default: Any, what: str, *, least: float | None = None, most: float | None = None
) -> Any:
    """A field of an options class, with ``what`` it is, in a line, and its range."""
    return Field(
        default,
        description=what,
        ge=least,
        le=most,
        strict=not isinstance(default, tuple),  # JSON has lists in the place of tuples
        allow_inf_nan=False if isinstance(default, float) else None,
    )


def fill(kind: type[C], options: Mapping[str, Any], peer: str) -> C:
    """A dataclass whose fields are made by :func:`option`, from values as JSON gives them.

    Raises:
        UnknownNameError: There is no such option.
        OptionError: A value is of the wrong kind or out of range.
    """
    given = dataclasses.fields(kind)  # type: ignore[arg-type]
    fields: dict[str, Any] = {one.name: one.default for one in given}
    for name in options:
        if name not in fields:
            raise UnknownNameError.of(f"option of {peer}", name, fields)
    try:
        return TypeAdapter(kind).validate_python(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        name, expected = str(first["loc"][0]), first["msg"].replace("Input should be", "expected")
        why = f"{name} is {options[name]!r}; {expected}: {fields[name].description}"
        raise OptionError(f"{peer}: {why}.") from None
