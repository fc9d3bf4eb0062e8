"""Plans: who takes part, on what, with how many shots and which seeds."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fmlad.bench.draw import Progress, digest, draw, open_task
from fmlad.bench.model import ALL, Cell, Entry, Task
from fmlad.datasets.model import Dataset
from fmlad.errors import OptionError, UnknownNameError

SHOTS = (1, 2, 4, 8)
SEEDS = (0, 1, 2, 3, 4)
CATEGORY = "category"  # value of Entry.prompts: the set of each category

# Prefix of a peer's name -> "module:function", called with (name, options, device). Imported only
# when such a peer takes part.
PEERS: Mapping[str, str] = {"anomalib": "fmlad.bench.peers:make_peer"}


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
    """

    entries: tuple[Entry, ...]
    tasks: tuple[Task, ...]
    shots: tuple[int, ...] = SHOTS
    seeds: tuple[int, ...] = SEEDS
    name: str = ""
    threads: int = 0
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.entries or not self.tasks:
            raise OptionError("A plan needs at least one entry and at least one task.")
        object.__setattr__(self, "entries", tuple(_checked_entry(e) for e in self.entries))
        object.__setattr__(self, "tasks", tuple(_checked_task(t) for t in self.tasks))
        _unique("label", (entry.label for entry in self.entries))
        _unique("task", (task.title for task in self.tasks))
        for name, least in (("shots", ALL), ("seeds", 0)):
            numbers = tuple(getattr(self, name))
            if not numbers or not all(_is_whole(number, least) for number in numbers):
                raise OptionError(
                    f"{name} must be whole numbers, {least} or more, got {list(numbers)}."
                )
            _unique(name, map(str, numbers))
            object.__setattr__(self, name, numbers)
        if not _is_whole(self.threads, 0):
            raise OptionError(f"threads must be a whole number, 0 or more, got {self.threads!r}.")
        labels = [entry.label for entry in self.entries]
        for label, wanted in self.only.items():
            if label not in labels:
                raise UnknownNameError.of("entry", label, labels)
            for what in wanted:
                if not any(_belongs(task, what) for task in self.tasks):
                    raise UnknownNameError.of("task", what, (task.title for task in self.tasks))

    def takes_part(self, entry: Entry, task: Task) -> bool:
        """Whether an entry is entered for a task."""
        wanted = self.only.get(entry.label)
        return wanted is None or any(_belongs(task, what) for what in wanted)

    def cells(self, progress: Progress | None = None) -> list[Cell]:
        """All cells (errors: :meth:`opened`)."""
        return self.opened(progress)[0]

    def opened(self, progress: Progress | None = None) -> tuple[list[Cell], dict[str, str]]:
        """All cells, and what they hang on that their description does not say.

        Cells of one task follow each other, so that its images are seen once.

        Opens every dataset, so that a wrong folder is found before the work and not in its middle.

        Args:
            progress: Told of images that are rendered because they are missing.

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
            paired = dataset.paired
            shots, seeds = ((1,), self.seeds[:1]) if paired else (self.shots, self.seeds)
            for entry in self.entries:
                if not self.takes_part(entry, task):
                    continue
                words = prompts_of(entry, task, dataset)
                if words is not None and Path(words).is_file():
                    digests[words] = hashlib.sha256(Path(words).read_bytes()).hexdigest()
                cells += [Cell(entry, task, k, seed) for k in shots for seed in seeds]
            for k in shots:
                for seed in seeds:
                    draw(dataset, k, seed)
        return cells, digests

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :func:`plan_from_dict` reads it back."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


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
    given = _mapping(content, Plan, source)
    entries = [
        {"method": entry} if isinstance(entry, str) else entry
        for entry in _list(given.get("entries", []), f"{source}: entries")
    ]
    tasks = _list(given.get("tasks", []), f"{source}: tasks")
    built: dict[str, Any] = {
        "entries": tuple(
            _entry(entry, f"{source}: entries[{i}]", folder) for i, entry in enumerate(entries)
        ),
        "tasks": tuple(
            _task(task, f"{source}: tasks[{i}]", folder) for i, task in enumerate(tasks)
        ),
    }
    for name in ("shots", "seeds"):
        if name in given:
            value = given[name]
            if name == "seeds" and _is_whole(value, 1):
                value = range(value)
            built[name] = tuple(_list(value, f"{source}: {name}"))
    only = given.get("only", {})
    if not isinstance(only, Mapping):
        raise OptionError(f"{source}: only must be a mapping of label to tasks, got {only!r}.")
    built["only"] = {
        str(label): tuple(map(str, _list(where, f"{source}: only")))
        for label, where in only.items()
    }
    built |= {name: given[name] for name in ("name", "threads") if name in given}
    return Plan(**built)


def _entry(content: Any, where: str, folder: Path | None) -> Entry:
    given = _mapping(content, Entry, where)
    if "method" not in given:
        raise OptionError(f"{where} has no method; expected its name, such as 'method: banks'.")
    return Entry(**{"label": given["method"], **_placed(given, folder)})


def _task(content: Any, where: str, folder: Path | None) -> Task:
    given = {"category": "", **_mapping(content, Task, where)}
    for name in ("dataset", "root"):
        if not isinstance(given.get(name), str):
            raise OptionError(f"{where} needs {name!r}: a text, got {given.get(name)!r}.")
    if folder is not None:
        given["root"] = str(folder / Path(given["root"]).expanduser())
    for name in ("category", "subtype", "prompts"):  # YAML reads 1 as a number
        value = given.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            given[name] = str(value)
    return Task(**_placed(given, folder))


def _placed(given: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """With a file of prompts where the plan's own folder has it."""
    prompts = given.get("prompts")
    if folder is None or not isinstance(prompts, str) or not prompts.endswith((".yaml", ".yml")):
        return given
    return {**given, "prompts": str(folder / prompts)}


def _mapping(content: Any, kind: type, where: str) -> dict[str, Any]:
    names = [f.name for f in fields(kind)]
    if not isinstance(content, Mapping):
        raise OptionError(f"{where} must be a mapping with {', '.join(names)}; got {content!r}.")
    for key in content:
        if key not in names:
            raise UnknownNameError.of(f"key in {where}", key, names)
    return {str(key): value for key, value in content.items()}


def _list(value: Any, where: str) -> list[Any]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise OptionError(f"{where} must be a list, got {value!r}.")
    return list(value)


def _checked_entry(entry: Entry) -> Entry:
    """With its profile spelt out and its options as JSON would give them back."""
    from fmlad.methods.registry import list_methods
    from fmlad.profiles import profile_name

    for name in ("label", "method", "profile"):
        if not isinstance(getattr(entry, name), str):
            raise OptionError(f"{name} must be a text, got {getattr(entry, name)!r}.")
    if not entry.label.strip():
        raise OptionError(f"The entry of {entry.method!r} has an empty label; give it a name.")
    if entry.prompts is not None and not isinstance(entry.prompts, str):
        raise OptionError(
            f"{entry.label}: prompts must be a text or nothing, got {entry.prompts!r}."
        )
    if not isinstance(entry.validation, bool):
        raise OptionError(f"{entry.label}: validation must be true or false.")
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


def _checked_task(task: Task) -> Task:
    for name in ("dataset", "category", "subtype", "prompts"):
        value = getattr(task, name)
        optional = value is None and name in ("subtype", "prompts")
        if not isinstance(value, str) and not optional:
            raise OptionError(f"{task.dataset}: {name} of a task must be a text, got {value!r}.")
    if not _is_whole(task.images, 0):
        raise OptionError(
            f"{task.title}: images must be a whole number, 0 (all) or more, got {task.images!r}."
        )
    for name in ("localise", "spread"):
        value = getattr(task, name)
        if not isinstance(value, bool):
            raise OptionError(f"{task.title}: {name} must be true or false, got {value!r}.")
    return replace(task, root=str(task.root))


def is_peer(method: str) -> bool:
    """Whether a name is that of a peer (``"anomalib:patchcore"``)."""
    return method.partition(":")[0] in PEERS and ":" in method


def _check_options(entry: Entry) -> None:
    if is_peer(entry.method):
        _check_peer(entry.method)
        return
    from fmlad.methods.registry import create_method

    method = create_method(entry.method, entry.options)
    if entry.prompts is not None and "prompts" not in method.takes:
        raise OptionError(f"{entry.label!r}: the method {entry.method!r} makes no use of prompts.")


def _check_peer(name: str) -> None:
    """Refuses a name that its makers do not know; whether they can make it shows when they do."""
    try:
        home = importlib.import_module(PEERS[name.partition(":")[0]].partition(":")[0])
    except ModuleNotFoundError:
        return
    known = home.list_peers() if hasattr(home, "list_peers") else [name]
    if name not in known:
        raise UnknownNameError.of("peer", name, known)


def _belongs(task: Task, what: str) -> bool:
    return task.title == what or task.title.startswith(f"{what}/")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _unique(what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise OptionError(f"The {what} {value!r} is in the plan twice; each may be there once.")
        seen.add(value)
