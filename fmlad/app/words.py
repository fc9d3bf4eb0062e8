"""What the page says, as HTML: the macros of ``templates/app.html``."""

from __future__ import annotations

from importlib.resources import files

from fmlad.report import template

STYLE = files("fmlad").joinpath("templates/app.css").read_text(encoding="utf-8")


def say(macro: str, *values: object) -> str:
    """A macro's piece of the page, every word of an upload escaped; empty with nothing to say."""
    return str(getattr(template("app.html").module, macro)(*values)).strip()
