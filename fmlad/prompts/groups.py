"""Groups of prompt sets: one product in several kinds, each with words of its own.

A group is a YAML file with the key ``sets``, or the bundled sets that share a name up to the last
``_``: ``"scenes/juice_bottle"`` stands for ``scenes/juice_bottle_banana`` and its sisters.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmlad.errors import PromptError, UnknownNameError
from fmlad.prompts import text
from fmlad.prompts.sets import ENDINGS, PromptSet, list_prompt_sets

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

KEYS = ("name", "description", "sets", "shots")
LEAST = 2  # kinds of a group


@dataclass(frozen=True)
class PromptGroup:
    """Prompt sets of the kinds of one product.

    Attributes:
        name: As given in the file, else the file's or the bundled group's own.
        sets: The set of each kind, by the name of the kind; two or more.
        shots: Kind of a shot, by the shot's file name with its ending (``"007.png"``). Of others
            the method finds it out.
        description: For people.

    Raises:
        PromptError: There are fewer than two kinds, or a shot is said to be of another.
    """

    name: str
    sets: Mapping[str, PromptSet]
    shots: Mapping[str, str] = field(default_factory=dict)
    description: str = ""

    def __post_init__(self) -> None:
        if len(self.sets) < LEAST:
            raise PromptError(
                f"The group {self.name!r} has {len(self.sets)} prompt sets; expected {LEAST} or "
                f"more. A product of one kind needs no group: give its set."
            )
        for kind in self.shots.values():
            if kind not in self.sets:
                raise PromptError(str(UnknownNameError.of("kind", kind, self.sets)))

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> PromptGroup:
        """Reads a bundled group by name or a YAML file with the key ``sets`` by path.

        Raises:
            PromptError: There is no such group, or it or one of its sets is not valid.
        """
        found = load_prompts(name_or_path)
        if isinstance(found, PromptGroup):
            return found
        raise PromptError(
            f"{os.fsdecode(name_or_path)!r} is one prompt set; expected a group: a YAML file with "
            f"'sets', or one of {', '.join(list_prompt_groups())}."
        )

    @classmethod
    def from_dict(cls, data: Any) -> PromptGroup:
        """The reverse of :meth:`to_dict`; exemplar pictures are not looked for.

        Raises:
            PromptError: It is not valid.
        """
        if not isinstance(data, dict) or not isinstance(data.get("sets"), dict):
            raise PromptError("prompt group: expected 'sets', the set of each kind.")
        sets = {str(kind): PromptSet.from_dict(one) for kind, one in data["sets"].items()}
        shots = _named(data.get("shots", {}), "prompt group")
        return cls(str(data.get("name", "")), sets, shots, str(data.get("description", "")))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :meth:`from_dict` makes an equal group of it."""
        kinds: dict[str, list[str]] = defaultdict(list)
        for shot, kind in self.shots.items():
            kinds[kind].append(shot)
        return {
            "name": self.name,
            "description": self.description,
            "sets": {kind: one.to_dict() for kind, one in self.sets.items()},
            "shots": dict(kinds),
        }

    def exemplar_pictures(self) -> dict[str, npt.NDArray[np.uint8]]:
        """Pictures that exemplars are cut from, uint8 ``(H, W, 3)`` RGB, by kind and name.

        Raises:
            PromptError: As :meth:`PromptSet.exemplar_pixels`.
        """
        return {
            f"{kind}/{name}": pixels
            for kind, one in self.sets.items()
            for name, pixels in one.exemplar_pictures().items()
        }

    def with_pictures(self, pictures: Mapping[str, npt.NDArray[np.uint8]]) -> PromptGroup:
        """A copy that has its exemplar pictures with it; see :meth:`exemplar_pictures`."""

        def own(kind: str) -> dict[str, npt.NDArray[np.uint8]]:
            start = f"{kind}/"
            return {k.removeprefix(start): v for k, v in pictures.items() if k.startswith(start)}

        sets = {kind: one.with_pictures(own(kind)) for kind, one in self.sets.items()}
        return replace(self, sets=sets)


Prompts = PromptSet | PromptGroup


def list_prompt_groups() -> list[str]:
    """Names of all bundled groups, for :func:`load_prompts`."""
    return sorted(_bundled())


def load_prompts(name_or_path: str | os.PathLike[str]) -> Prompts:
    """Reads a prompt set or a group of them: a bundled one by name, or a YAML file by path.

    Raises:
        PromptError: There is no such set or group, or it is not valid: names file, line and fix.
    """
    if isinstance(name_or_path, str) and name_or_path in (groups := _bundled()):
        sets = {kind: PromptSet.load(name) for kind, name in groups[name_or_path].items()}
        return PromptGroup(name_or_path, sets)
    is_path = isinstance(name_or_path, (str, os.PathLike))
    path = Path(os.fsdecode(name_or_path)) if is_path else Path()
    if path.suffix in ENDINGS and path.is_file():
        data, lines = text.parse(text.read_file(path), str(path))
        if isinstance(data, dict) and "sets" in data:
            return _from_file(path, data, lines)
    return PromptSet.load(name_or_path)


def prompts_from_dict(data: Any) -> Prompts:
    """A set or a group, from what ``to_dict`` of either gave; PromptError where it is neither."""
    grouped = isinstance(data, dict) and "sets" in data
    return PromptGroup.from_dict(data) if grouped else PromptSet.from_dict(data)


def _bundled() -> dict[str, dict[str, str]]:
    """Name of each bundled group -> kind -> name of the set."""
    known = list_prompt_sets()
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in known:
        start, underscore, kind = name.rpartition("_")
        if underscore and start not in known:
            found[start][kind] = name
    return {start: sets for start, sets in found.items() if len(sets) >= LEAST}


def _from_file(path: Path, data: dict[str, Any], lines: text.Lines) -> PromptGroup:
    for key in data:
        if key not in KEYS:
            where = f"{path}, line {lines[(key,)]}"
            raise PromptError(f"{where}: {UnknownNameError.of('key of a group', key, KEYS)}")
    where = f"{path}, line {lines[('sets',)]}"
    sets: dict[str, PromptSet] = {}
    if not isinstance(data["sets"], dict):
        raise PromptError(
            f"{where}: expected 'sets' as 'kind: set' pairs, such as 'banana: banana.yaml'."
        )
    for kind, source in data["sets"].items():
        if not isinstance(kind, str) or not isinstance(source, str):
            raise PromptError(
                f"{where}: expected text for each kind and its set, got {kind!r}: {source!r}."
            )
        file = path.parent / source
        sets[kind] = PromptSet.load(file if file.suffix in ENDINGS else source)
    try:
        shots = _named(data.get("shots") or {}, str(path))
        name, about = str(data.get("name") or path.stem), str(data.get("description") or "")
        return PromptGroup(name, sets, shots, about)
    except PromptError as error:
        message = str(error)
        raise PromptError(message if str(path) in message else f"{path}: {message}") from None


def _named(data: Any, source: str) -> dict[str, str]:
    """Kind of each named shot, from a list of shots a kind."""
    found: dict[str, str] = {}
    if not isinstance(data, dict) or not all(isinstance(v, list) for v in data.values()):
        raise PromptError(f"{source}: expected 'shots' as a list of file names for each kind.")
    for kind, names in data.items():
        for name in map(str, names):
            if found.get(name, kind) != kind:
                raise PromptError(
                    f"{source}: the shot {name!r} is of two kinds, {found[name]} and {kind}."
                )
            found[name] = str(kind)
    return found
