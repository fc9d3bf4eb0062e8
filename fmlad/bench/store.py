"""A results folder: what was planned, and one file pair per finished cell.

``plan.json``               the plan that was run last, with digests of the images
``cells/KEY.json``          a finished cell without its rows, with the hash of its rows
``cells/KEY.csv``           its rows: one line per test image
``cells/KEY.failed.json``   why a cell could not be done; it is tried again by the next run
``data/``                   pictures that a suite rendered

Every file is written beside itself and renamed, rows before the cell: a cell is finished once its
JSON is there, and a kill at any time leaves finished cells and nothing that looks like one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fmlad.bench.model import FORMAT, Cell, CellResult, FailedCell, explained
from fmlad.bench.plan import Plan, plan_from_dict
from fmlad.errors import CorruptResultsError, OptionError, UnknownNameError
from fmlad.io.files import whole_file

PLAN, CELLS, DATA = "plan.json", "cells", "data"
FAILED = ".failed.json"
COLUMNS = ("image", "kind", "defect", "score", "threshold", "seconds", "fresh")

_RESULT, _FAILURE = TypeAdapter(CellResult), TypeAdapter(FailedCell)


class Store:
    """The folder of one benchmark."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.cells = self.folder / CELLS

    @property
    def exists(self) -> bool:
        """Whether there are results here, finished or not."""
        return (self.folder / PLAN).is_file()

    def check_folder(self) -> None:
        """Refuses to scatter files among somebody's own.

        Raises:
            OptionError: The folder is a file, or holds something else than results.
        """
        what = "is a file" if self.folder.is_file() else ""
        if self.folder.is_dir() and not self.exists:
            others = sorted({p.name for p in self.folder.iterdir()} - {DATA})
            what = f"holds {others[0]}, which is no benchmark's" if others else ""
        if what:
            raise OptionError(f"{self.folder} {what}; give a new folder, or one with results.")

    def begin(
        self, plan: Plan, cells: Sequence[Cell], digests: Mapping[str, str] | None = None
    ) -> None:
        """Takes in a plan with its cells and digests, from ``Plan.opened``; what is finished stays.

        Raises:
            OptionError: The folder is somebody else's or cannot be written, or a label or task
                stands for something else among the finished cells, or for other images.
        """
        self.check_folder()
        finished = [result.cell for result in self.read()]
        self._check_names(finished, cells)
        known, new = self._planned()[2] if self.exists else {}, dict(digests or {})
        self._check_digests(finished, known, new)
        keys = [cell.key for cell in cells]
        content = {"format": FORMAT, **plan.to_dict(), "cells": keys, "digests": known | new}
        _write(self.folder / PLAN, _json(content))

    def plan(self) -> Plan:
        """The plan that was run last.

        Raises:
            OptionError: There are no results in the folder, or its plan has names, such as a
                plugin's method, that are not installed here.
            CorruptResultsError: The file is damaged.
        """
        content, path = self._planned()[0], self.folder / PLAN
        try:
            return plan_from_dict(content, str(path))
        except UnknownNameError as error:  # a plugin's method or profile, installed elsewhere
            raise OptionError(f"{path} cannot be read here: {error}") from None
        except (OptionError, TypeError) as error:
            raise _damaged(path, str(error)) from None

    def order(self) -> list[str]:
        """Keys of the plan's cells in its order (errors: :meth:`plan`)."""
        return self._planned()[1]

    def has(self, cell: Cell) -> bool:
        """Whether a cell is finished."""
        return self._path(cell, ".json").is_file()

    def keep(self, result: CellResult) -> None:
        """Writes a finished cell.

        Raises:
            OptionError: The folder cannot be written.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in result.rows:  # csv writes floats exactly, and None as nothing
            writer.writerow((*tuple(vars(row).values())[:-1], int(row.fresh)))
        content = {"format": FORMAT, **asdict(replace(result, rows=()))}
        del content["rows"]
        content["rows_sha256"] = _digest(out.getvalue())
        _write(self._path(result.cell, ".csv"), out.getvalue())
        _write(self._path(result.cell, ".json"), _json(content))
        self._path(result.cell, FAILED).unlink(missing_ok=True)

    def keep_failure(self, failed: FailedCell) -> None:
        """Writes why a cell could not be done."""
        _write(self._path(failed.cell, FAILED), _json(asdict(failed)))

    def read(self) -> list[CellResult]:
        """All finished cells, by the name of their file.

        Raises:
            CorruptResultsError: A file of a finished cell is damaged.
        """
        names = sorted(self.cells.glob("[!.]*.json"))
        return [_read_cell(path) for path in names if not path.name.endswith(FAILED)]

    def failures(self) -> list[FailedCell]:
        """All cells that could not be done when they were last tried."""
        names = sorted(self.cells.glob(f"[!.]*{FAILED}"))
        return [_validated(_FAILURE, _read_json(path), path) for path in names]

    def _planned(self) -> tuple[dict[str, Any], list[str], dict[str, str]]:
        """Fields of the plan, keys of its cells, and digests of all plans so far."""
        path = self.folder / PLAN
        if not self.exists:
            raise OptionError(
                f"{self.folder} holds no results ({PLAN} is missing); make some with "
                f"fmlad bench run --out {self.folder}."
            )
        content = _read_json(path, FORMAT)
        keys, digests = content.pop("cells", None), content.pop("digests", None) or {}
        if not isinstance(keys, list) or not isinstance(digests, dict):
            raise _damaged(path, "it has no list of cells, or its digests are no mapping")
        return content, keys, digests

    def _check_names(self, finished: Sequence[Cell], planned: Sequence[Cell]) -> None:
        """One label is one entry and one title one task within a folder, or tables would mix."""

        def facts(cell: Cell) -> dict[tuple[str, str], str]:
            entry, task = asdict(cell.entry), asdict(cell.task)
            del task["root"]  # may lie elsewhere
            named = {("entry", cell.entry.label): entry, ("task", cell.task.title): task}
            return {key: json.dumps(value, sort_keys=True) for key, value in named.items()}

        known = {key: value for cell in finished for key, value in facts(cell).items()}
        for (what, name), new in (item for cell in planned for item in facts(cell).items()):
            if (old := known.get((what, name), new)) != new:
                raise OptionError(
                    f"In {self.folder} the {what} {name!r} stands for {old}, and now for {new}; "
                    f"choose another name, or another folder."
                )

    def _check_digests(
        self, finished: Sequence[Cell], known: Mapping[str, str], digests: Mapping[str, str]
    ) -> None:
        """Finished cells must be of the same images and words as those to come."""
        used = {c.task.title for c in finished}
        used |= {words for c in finished for words in (c.entry.prompts, c.task.prompts) if words}
        for name in sorted(used & set(digests)):
            if known.get(name, digests[name]) != digests[name]:
                raise OptionError(
                    f"{self.folder} holds results of {name!r} as it was before: its files are "
                    f"others now. Choose another folder."
                )

    def _path(self, cell: Cell, suffix: str) -> Path:
        return self.cells / f"{cell.key}{suffix}"


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise OptionError(f"Nothing can be written to {path.parent}: {error}.") from error


def _read_cell(path: Path) -> CellResult:
    content = _read_json(path, FORMAT)
    table = path.with_suffix(".csv")
    try:
        text = table.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, f"its rows cannot be read ({error})") from None
    if content.pop("rows_sha256", None) != _digest(text):
        raise _damaged(table, "its lines are not those that were written")
    content["rows"] = [
        {"name": row.pop("image"), **{key: value or None for key, value in row.items()}}
        for row in csv.DictReader(io.StringIO(text))
    ]
    result: CellResult = _validated(_RESULT, content, path)
    if f"{result.cell.key}.json" != path.name:
        raise _damaged(path, f"it holds the cell {result.cell.key}")
    return result


def _validated(adapter: TypeAdapter[Any], content: Any, path: Path) -> Any:
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        raise _damaged(path, explained(error, "it")) from None


def _read_json(path: Path, version: int | None = None) -> Any:
    """What a file holds; with a version a mapping of that format, which is taken off."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, f"it is not JSON ({error})") from None
    if version and (not isinstance(content, dict) or content.pop("format", None) != version):
        raise _damaged(path, f"it is not of format {version}")
    return content


def _damaged(path: Path, why: str) -> CorruptResultsError:
    return CorruptResultsError(
        f"{path} is damaged: {why}. Delete it and run the benchmark again: no other cell is "
        f"repeated."
    )


def _json(content: Any) -> str:
    return json.dumps(content, indent=1) + "\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
