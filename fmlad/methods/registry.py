"""Methods by name. Modules are imported only when their method is used."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

from fmlad.errors import OptionError, UnknownNameError

if TYPE_CHECKING:
    from fmlad.methods.protocol import Method

ENTRY_POINTS = "fmlad.methods"

# name -> "module:method class:config class"
_METHODS = {
    "banks": "fmlad.methods.banks:Banks:BanksConfig",
    "clip-lad": "fmlad.methods.clip_lad:ClipLad:ClipLadConfig",
    "sam-lad": "fmlad.methods.sam_lad:SamLad:SamLadConfig",
}


def list_methods() -> list[str]:
    """Names of all methods, plug-ins included."""
    return sorted(_homes())


def method_class(name: str) -> type[Method]:
    """The class behind a name.

    Raises:
        UnknownNameError: There is no such method.
    """
    return cast("type[Method]", _load(name)[0])


def create_method(name: str, options: Mapping[str, Any]) -> Method:
    """Builds a method from its options.

    Raises:
        UnknownNameError: There is no such method.
        OptionError: It has no such option, or a value is out of range.
    """
    method, config = _load(name)
    known = [f.name for f in dataclasses.fields(config)]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise OptionError(
                f"The method {name!r} has no option {option!r}.{hint} "
                f"Its options: {', '.join(known)}."
            )
    return cast("Method", method(config(**options)))


def _load(name: str) -> tuple[Any, Any]:
    homes = _homes()
    if name not in homes:
        raise UnknownNameError.of("method", name, homes)
    module, method, config = homes[name].split(":")
    home = importlib.import_module(module)
    return getattr(home, method), getattr(home, config)


@lru_cache(maxsize=1)
def _homes() -> dict[str, str]:
    """Built-in methods and those of the entry-point group ``fmlad.methods``.

    An entry point's object is a string like ours: ``"module:method class:config class"``.
    """
    plugged = {point.name: str(point.load()) for point in entry_points(group=ENTRY_POINTS)}
    return {**plugged, **_METHODS}
