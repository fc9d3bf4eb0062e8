"""What the page says, as HTML: the macros of ``templates/app.html``."""

from __future__ import annotations

from importlib.resources import files

from fmlad.report import template

STYLE = files("fmlad").joinpath("templates/app.css").read_text(encoding="utf-8")


def say(macro: str, *values: object) -> str:
    """A piece of the page, with every word of an upload escaped; empty if there is nothing to say.

    Args:
        macro: ``"headline"``, ``"strip"``, ``"details"``, ``"problems"``, ``"shots"``, ...
        values: Its arguments.
    """
    return str(getattr(template("app.html").module, macro)(*values)).strip()
