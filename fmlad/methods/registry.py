"""Methods by name. Modules are imported only when their method is used."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from fmlad.errors import OptionError, UnknownNameError
from fmlad.methods.options import option_error

if TYPE_CHECKING:
    from fmlad.methods.protocol import Method

ENTRY_POINTS = "fmlad.methods"

_log = logging.getLogger(__name__)

# name -> "module:method class:config class"
_METHODS = {
    "banks": "fmlad.methods.banks.method:Banks:BanksConfig",
    "clip-lad": "fmlad.methods.clip_lad.method:ClipLad:ClipLadConfig",
    "csad": "fmlad.methods.csad.method:Csad:CsadConfig",
    "psad": "fmlad.methods.psad.method:Psad:PsadConfig",
    "sam-lad": "fmlad.methods.sam_lad.method:SamLad:SamLadConfig",
    "ulsad": "fmlad.methods.ulsad.method:Ulsad:UlsadConfig",
}


def list_methods() -> list[str]:
    """Names of all methods, plug-ins included."""
    return sorted(_homes())


def loadable_methods() -> list[str]:
    """Names of the methods whose classes can be loaded; a broken plug-in is named and left out."""
    found = []
    for name in list_methods():
        try:
            _load(name)
        except OptionError as error:
            _log.warning("%s", error)
        else:
            found.append(name)
    return found


def aimed(name: str, looks_for: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a method with those that make it look for one kind of anomaly alone.

    Args:
        name: Of the method.
        looks_for: ``"damage"``, ``"composition"``, or ``"both"``, which changes nothing.
        options: Of the user.

    Raises:
        UnknownNameError: The method does not exist.
        OptionError: ``looks_for`` is another word, the method cannot be told so, or an option
            says otherwise.
    """
    if looks_for == "both":
        return dict(options)
    aims: Mapping[str, Mapping[str, Any]] = getattr(method_class(name), "aims", {})
    if looks_for not in ("damage", "composition"):
        raise OptionError(
            f"looks_for (--looks-for) is 'both', 'damage' or 'composition', got {looks_for!r}."
        )
    if looks_for not in aims:
        raise OptionError(
            f"The method {name!r} cannot look for {looks_for} alone; leave looks_for= "
            f"(--looks-for) out, or choose another method, such as 'banks'."
        )
    chosen = aims[looks_for]
    if clash := sorted(chosen.keys() & options.keys()):
        raise OptionError(
            f"looks_for={looks_for!r} sets {', '.join(clash)} itself; give one of them, not both."
        )
    return {**options, **chosen}


def method_class(name: str) -> type[Method]:
    """The class behind a name.

    Raises:
        UnknownNameError: There is no such method.
    """
    return cast("type[Method]", _load(name)[0])


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a method.

    Attributes:
        name: As users write it.
        default: Its default value.
        text: Its description in the config dataclass, in one line, or "".
    """

    name: str
    default: Any
    text: str


def describe_options(name: str) -> list[Option]:
    """The options of a method, read off its config dataclass and that one's docstring.

    Raises:
        UnknownNameError: There is no such method.
    """
    config = _load(name)[1]
    defaults = dataclasses.asdict(config())
    texts = _attributes(inspect.getdoc(config) or "")
    return [Option(option, value, texts.get(option, "")) for option, value in defaults.items()]


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
    try:
        return cast("Method", method(config(**options)))
    except ValidationError as error:
        raise option_error(error) from error


def _attributes(docstring: str) -> dict[str, str]:
    """The section ``Attributes:`` of a Google docstring, name -> text on one line."""
    section = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    entries = re.split(r"^    (?=\w+: )", section, flags=re.M)[1:]
    pairs = (entry.partition(": ") for entry in entries)
    return {name: " ".join(text.replace("``", "").split()) for name, _, text in pairs}


def _load(name: str) -> tuple[Any, Any]:
    homes = _homes()
    if name not in homes:
        raise UnknownNameError.of("method", name, homes)
    place = homes[name]
    if isinstance(place, str):
        return _classes(place)
    try:
        return _classes(str(place.load()))
    except Exception as error:  # whatever somebody else's module raises
        raise OptionError(
            f"The method {name!r} of the plug-in {place.value!r} cannot be loaded "
            f"({type(error).__name__}: {error}). Mend or uninstall the package that brings it."
        ) from error


def _classes(place: str) -> tuple[Any, Any]:
    module, method, config = place.split(":")
    home = importlib.import_module(module)
    return getattr(home, method), getattr(home, config)


@lru_cache(maxsize=1)
def _homes() -> dict[str, str | EntryPoint]:
    """Built-in methods, and those of the entry-point group ``fmlad.methods``, loaded when used.

    An entry point's object is a string like ours: ``"module:method class:config class"``.
    """
    plugged = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    return {**plugged, **_METHODS}
