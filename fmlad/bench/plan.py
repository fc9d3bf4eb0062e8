"""Plans: who takes part, on what, with how many shots and which seeds."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from fmlad.bench.draw import digest, draw, open_task
from fmlad.bench.model import Cell, Count, Entry, Task, explained
from fmlad.datasets.model import Dataset
from fmlad.errors import OptionError, PromptError, UnknownNameError
from fmlad.progress import Progress

SHOTS = (1, 2, 4, 8)
SEEDS = (0, 1, 2, 3, 4)
CATEGORY = "category"  # value of Entry.prompts: the set of each category

# Prefix of a peer's name -> "module:function", called with (name, options, device). Imported only
# when such a peer takes part.
PEERS: Mapping[str, str] = {"anomalib": "fmlad.bench.peers:make_peer"}

AtLeastOne = Field(min_length=1)


@dataclass(frozen=True)
class Plan:
    """Entries x tasks x shots x seeds.

    Attributes:
        entries: Who takes part; labels are unique.
        tasks: On what; titles are unique.
        shots: How many shots; ``ALL`` (0) for all training images. Without effect on pairs.
        seeds: Of the draws. Pairs draw nothing and take the first one alone.
        name: For reports.
        threads: Threads of every cell, because sums in another order end in other digits; 0 means
            what torch would take on the machine that starts the run.
        only: Label -> datasets or titles of tasks (``"scenes"``, ``"scenes/pushpins"``) that this
            entry takes part in; labels left out take part in all.
        shots_of, seeds_of: Label -> shots or seeds of this entry, instead of the plan's.
    """

    entries: Annotated[tuple[Entry, ...], AtLeastOne]
    tasks: Annotated[tuple[Task, ...], AtLeastOne]
    shots: Annotated[tuple[Count, ...], AtLeastOne] = SHOTS
    seeds: Annotated[tuple[Count, ...], AtLeastOne] = SEEDS
    name: str = ""
    threads: Count = 0
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shots_of: Mapping[str, Annotated[tuple[Count, ...], AtLeastOne]] = field(default_factory=dict)
    seeds_of: Mapping[str, Annotated[tuple[Count, ...], AtLeastOne]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, adapter in _adapters().items():
            try:
                value = adapter.validate_python(getattr(self, name))
            except ValidationError as error:
                raise OptionError(f"{explained(error, name)}.") from None
            object.__setattr__(self, name, value)
        object.__setattr__(self, "entries", tuple(map(_completed, self.entries)))
        labels = [entry.label for entry in self.entries]
        titles = [task.title for task in self.tasks]
        named = {"label": labels, "task": titles, "shots": self.shots, "seeds": self.seeds}
        for what, values in named.items():
            if twice := [value for value, count in Counter(values).items() if count > 1]:
                raise OptionError(f"The {what} {twice[0]!r} is in the plan twice; once is enough.")
        for label in (*self.only, *self.shots_of, *self.seeds_of):
            if label not in labels:
                raise UnknownNameError.of("entry", label, labels)
        for wanted in self.only.values():
            for what in wanted:
                if not any(self._belongs(task, what) for task in self.tasks):
                    raise UnknownNameError.of("task", what, titles)

    def takes_part(self, entry: Entry, task: Task) -> bool:
        """Whether an entry is entered for a task."""
        wanted = self.only.get(entry.label)
        return wanted is None or any(self._belongs(task, what) for what in wanted)

    def _belongs(self, task: Task, what: str) -> bool:
        """Whether a task is the one named, or, where none has that title, one of those below it."""
        if any(one.title == what for one in self.tasks):
            return task.title == what
        return task.title.startswith(f"{what}/")

    def cells(self) -> list[Cell]:
        """All cells (errors: :meth:`opened`)."""
        return self.opened()[0]

    def opened(self, progress: Progress | None = None) -> tuple[list[Cell], dict[str, str]]:
        """All cells, and digests of what they hang on beyond their description.

        Cells of one task follow each other, so that its images are seen once. Opens every dataset,
        so that a wrong folder is found before the work and not in its middle. ``progress`` is told
        of images that are rendered because they are missing.

        Returns:
            The cells; and a digest of each task's images, by its title, and of each file of
            prompts, by its path.

        Raises:
            DatasetError: A folder does not hold what the task promises.
            OptionError: A method has no such option, there are fewer training images than shots,
                or a category has no prompt set for an entry that asks for it.
        """
        for entry in self.entries:
            _check_options(entry)
        cells: list[Cell] = []
        digests: dict[str, str] = {}
        for task in self.tasks:
            dataset = open_task(task, progress)
            digests[task.title] = digest(dataset)
            drawn: set[tuple[int, int]] = set()
            for entry in self.entries:
                if not self.takes_part(entry, task):
                    continue
                words = prompts_of(entry, task, dataset)
                if words is not None and Path(words).is_file():
                    digests[words] = _words_digest(Path(words))
                draws = self._draws(entry, dataset.paired)
                cells += [Cell(entry, task, k, seed) for k, seed in draws]
                drawn |= set(draws)
            for k, seed in sorted(drawn):
                draw(dataset, k, seed, task.each_subtype)
        return cells, digests

    def _draws(self, entry: Entry, paired: bool) -> list[tuple[int, int]]:
        """Shots and seed of each draw of an entry."""
        shots = self.shots_of.get(entry.label, self.shots)
        seeds = self.seeds_of.get(entry.label, self.seeds)
        return list(product((1,), seeds[:1]) if paired else product(shots, seeds))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :func:`plan_from_dict` reads it back."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


def _words_digest(file: Path) -> str:
    """Of a file of prompts, with the sets that a group names."""
    from fmlad.prompts import PromptGroup, load_prompts

    content = file.read_bytes()
    with suppress(PromptError):  # is told by the cells that use it
        if isinstance(found := load_prompts(file), PromptGroup):
            content += json.dumps(found.to_dict(), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


@cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(Plan, include_extras=True)
    return {name: TypeAdapter(hint) for name, hint in hints.items()}


def prompts_of(entry: Entry, task: Task, dataset: Dataset) -> str | None:
    """The prompt set of an entry on a task: a name or a path, or None.

    Raises:
        OptionError: It asks for the category's own, and there is none.
    """
    if entry.prompts != CATEGORY:
        return entry.prompts
    chosen = task.prompts or dataset.prompts
    if chosen is None:
        raise OptionError(
            f"{entry.label!r} asks for the prompt set of each category, and {task.title} has none; "
            f"name one in the task (prompts:), or leave the entry out there (only:)."
        )
    return chosen


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Reads a plan from a YAML or JSON file; its folders are relative to the file.

    Raises:
        OptionError: It cannot be read, is not valid YAML or has an unknown key or value.
    """
    import yaml

    file = Path(path)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        reason = getattr(error, "problem", None) or getattr(error, "strerror", None) or error
        raise OptionError(f"The plan {file}{line} cannot be read: {reason}.") from None
    return plan_from_dict(content, str(file), file.parent)


def plan_from_dict(content: Any, source: str = "plan", folder: Path | None = None) -> Plan:
    """A plan from what a file holds.

    Args:
        content: A mapping with the fields of :class:`Plan`; ``seeds`` may be a number, meaning
            so many from 0; an entry may be the name of a method alone.
        source: What messages call it.
        folder: What relative folders are relative to; None leaves them.

    Raises:
        OptionError: A key is unknown or missing, or a value does not fit.
    """
    given = {"entries": (), "tasks": (), **_mapping(content, Plan, source)}
    for name, kind in (("entries", Entry), ("tasks", Task)):
        if not isinstance(given[name], list | tuple):
            raise OptionError(f"{source}: {name} should be a list; got {given[name]!r}.")
        given[name] = tuple(
            _mapping(one, kind, f"{source}: {name}[{number}]", folder)
            for number, one in enumerate(given[name])
        )
    if isinstance(given.get("seeds"), int) and given["seeds"] is not True:
        given["seeds"] = tuple(range(given["seeds"]))
    try:
        return Plan(**given)
    except UnknownNameError:
        raise
    except OptionError as error:
        raise OptionError(f"{source}: {error}") from None


def _mapping(content: Any, kind: type, where: str, folder: Path | None = None) -> dict[str, Any]:
    """Keys of a dataclass, with its paths where the plan's own folder has them."""
    names = [f.name for f in fields(kind)]
    if kind is Entry and isinstance(content, str):
        content = {"method": content}
    if not isinstance(content, Mapping):
        raise OptionError(f"{where} should be a mapping with {', '.join(names)}; got {content!r}.")
    for key in content:
        if key not in names:
            raise UnknownNameError.of(f"key in {where}", key, names)
    given = dict(content)
    if kind is Entry and "method" in given:
        given.setdefault("label", given["method"])
    if folder is not None:
        if str(given.get("prompts")).endswith((".yaml", ".yml")):
            given["prompts"] = str(folder / given["prompts"])
        if isinstance(given.get("root"), str):
            given["root"] = str(folder / Path(given["root"]).expanduser())
    return given


def _completed(entry: Entry) -> Entry:
    """With its profile spelt out and its options as JSON would give them back."""
    from fmlad.methods.registry import list_methods
    from fmlad.profiles import profile_name

    peer = is_peer(entry.method)
    if not peer and entry.method not in list_methods():
        known = [*list_methods(), *(f"{prefix}:NAME" for prefix in PEERS)]
        raise UnknownNameError.of("method", entry.method, known)
    if peer and entry.profile:
        raise OptionError(f"{entry.label}: a peer has no profile; got {entry.profile!r}.")
    try:
        options = json.loads(json.dumps(dict(entry.options), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise OptionError(f"{entry.label}: options must be plain values ({error}).") from None
    profile = "" if peer else profile_name(entry.profile or None)
    return replace(entry, options=options, profile=profile)


def is_peer(method: str) -> bool:
    """Whether a name is that of a peer (``"anomalib:patchcore"``)."""
    return method.partition(":")[0] in PEERS and ":" in method


def _check_options(entry: Entry) -> None:
    """Options of a method; of a peer the name alone: whether it can be made shows when it is."""
    if is_peer(entry.method):
        try:
            home = importlib.import_module(PEERS[entry.method.partition(":")[0]].partition(":")[0])
        except ModuleNotFoundError:
            return
        known = getattr(home, "list_peers", lambda: [entry.method])()
        if entry.method not in known:
            raise UnknownNameError.of("peer", entry.method, known)
        return
    from fmlad.methods.registry import create_method

    method = create_method(entry.method, entry.options)
    if entry.prompts is not None and "prompts" not in method.takes:
        raise OptionError(f"{entry.label!r}: the method {entry.method!r} makes no use of prompts.")
