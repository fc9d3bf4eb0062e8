"""Templates of the report, and the environment that renders them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

DASHES = ("", "6 3", "2 3", "8 3 2 3")  # of the lines of a plot


def render(name: str, **values: Any) -> str:
    """A template with its values; every one of them is text, whatever it looks like."""
    return _environment().get_template(name).render(values)


def macro(name: str, function: str) -> Any:
    """A macro of a template, to be called with values."""
    return getattr(_environment().get_template(name).module, function)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from fmlad.report import embed

    made = Environment(
        loader=PackageLoader("fmlad.bench"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"embed": embed, "dashes": DASHES}
    return made
