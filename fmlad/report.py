"""Self-contained HTML pages and Markdown, from the templates of the package."""

from __future__ import annotations

import html
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from fmlad.draw import embedded
from fmlad.errors import OptionError
from fmlad.explain import verdict_word

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup


@cache
def template(name: str) -> Template:
    """A template of the package by file name; it escapes whatever is not marked as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fmlad"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "embed": embedded, "picture": Image.fromarray, "plain": plain, "verdict": verdict_word,
    }  # fmt: skip
    return environment.get_template(name)


def write(path: Path, name: str, **values: Any) -> Path:
    """Writes one file that needs nothing beside it.

    Args:
        path: The file.
        name: File name of the template.
        values: What it shows.

    Raises:
        OptionError: The file cannot be written.
    """
    page = template(name).render(values)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise OptionError(f"The report cannot be written to {path}: {error}.") from error
    return path


def plain(text: str) -> Markup:
    """Words without a meaning in Markdown or HTML."""
    from markupsafe import Markup

    safe = html.escape(text, quote=False)
    for sign in "\\`*_|[]":
        safe = safe.replace(sign, f"\\{sign}")
    return Markup(" ".join(safe.split()))
