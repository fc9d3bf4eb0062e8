"""The page: upload a handful of normal images and some to judge, see the verdicts.

:func:`launch` serves it on this machine alone, :func:`build_page` returns it for a server of your
own. ``service`` holds what the page does, ``words`` how it is said, ``page`` where it stands;
gradio is imported only when the page is built.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__all__ = ["build_page", "launch"]

if TYPE_CHECKING:
    from fmlad.app.page import build_page, launch

# Gradio reads it when it is imported, and would otherwise tell its makers of every launch.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fmlad.app' has no attribute {name!r}")
    return getattr(importlib.import_module("fmlad.app.page"), name)
