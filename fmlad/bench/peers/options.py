"""Options of peers: a frozen dataclass each, filled from JSON-ready values and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from fmlad.errors import OptionError, UnknownNameError

C = TypeVar("C")

_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list of texts",
}


def option(
    default: Any, what: str, *, least: float | None = None, most: float | None = None
) -> Any:
    """A field of an options class.

    Args:
        default: Its type is that of the option; None stands for a text that may be absent.
        what: One line on it, for the documentation.
        least: Smallest value.
        most: Largest value.
    """
    return dataclasses.field(default=default, metadata={"what": what, "least": least, "most": most})


def fill(kind: type[C], options: Mapping[str, Any], peer: str) -> C:
    """An options object.

    Args:
        kind: Its dataclass, whose fields are made by :func:`option`.
        options: Name -> value, as JSON gives them.
        peer: Name of the peer, for messages.

    Raises:
        UnknownNameError: There is no such option.
        OptionError: A value is of the wrong kind or out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in options:
        if name not in fields:
            raise UnknownNameError.of(f"option of {peer}", name, fields)
    return kind(**{name: _checked(value, fields[name], peer) for name, value in options.items()})


def _checked(value: Any, field: dataclasses.Field[Any], peer: str) -> Any:
    wanted = str if field.default is None else type(field.default)
    least, most = field.metadata["least"], field.metadata["most"]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None and field.default is None:
        return None
    if wanted is float and number:
        value = float(value)
    if wanted is tuple and isinstance(value, list | tuple) and all(type(v) is str for v in value):
        value = tuple(value)
    if type(value) is not wanted:
        raise OptionError(
            f"{peer}: {field.name} is {value!r}; expected {_KINDS[wanted]}: "
            f"{field.metadata['what']}."
        )
    # Written so that NaN, of which nothing is true, does not pass.
    if (least is not None and not value >= least) or (most is not None and not value <= most):
        limits = f"at least {least:g}" + (f" and at most {most:g}" if most is not None else "")
        raise OptionError(f"{peer}: {field.name} is {value!r}; expected {limits}.")
    return value
