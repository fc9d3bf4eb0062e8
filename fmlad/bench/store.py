"""A results folder: what was planned, and one file pair a finished cell.

``plan.json``               the plan that was run last, with digests of the images
``cells/KEY.json``          a finished cell without its rows, with the hash of its rows
``cells/KEY.csv``           its rows: one line a test image
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
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fmlad.bench.model import FORMAT, Cell, CellResult, FailedCell, ImageRecord
from fmlad.bench.plan import Plan, plan_from_dict
from fmlad.errors import CorruptResultsError, OptionError, UnknownNameError

PLAN, CELLS, DATA = "plan.json", "cells", "data"
FAILED = ".failed.json"
COLUMNS = ("image", "kind", "defect", "score", "threshold", "seconds", "fresh")


class Store:
    """The folder of one benchmark."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    @property
    def cells(self) -> Path:
        """Where cells are kept."""
        return self.folder / CELLS

    def check_folder(self) -> None:
        """Refuses to scatter files among somebody's own.

        Raises:
            OptionError: The folder is a file, or holds something else than results.
        """
        if self.folder.is_dir() and not self.exists:
            others = sorted({p.name for p in self.folder.iterdir()} - {DATA})
            what = f"holds {others[0]}, which is no benchmark's" if others else ""
        else:
            what = "is a file" if self.folder.is_file() else ""
        if what:
            raise OptionError(f"{self.folder} {what}; give a new folder, or one with results.")

    def begin(
        self, plan: Plan, cells: Sequence[Cell], digests: Mapping[str, str] | None = None
    ) -> None:
        """Takes a plan in; what is finished stays.

        Args:
            plan: What is to be run.
            cells: Of it.
            digests: Of the images of its tasks and of its files of prompts.

        Raises:
            OptionError: The folder is somebody else's or cannot be written, or a label or task
                stands for something else among the finished cells, or for other images.
        """
        self.check_folder()
        finished = [result.cell for result in self.read()]
        self._agree(finished, cells)
        known = self._digests()
        self._unchanged(finished, known, digests or {})
        content = {
            "format": FORMAT,
            **plan.to_dict(),
            "cells": [cell.key for cell in cells],
            "digests": {**known, **(digests or {})},
        }
        self._write(self.folder / PLAN, _json(content))

    @property
    def exists(self) -> bool:
        """Whether there are results here, finished or not."""
        return (self.folder / PLAN).is_file()

    def plan(self) -> Plan:
        """The plan that was run last.

        Raises:
            OptionError: There are no results in the folder, or its plan has names, such as a
                plugin's method, that are not installed here.
            CorruptResultsError: The file is damaged.
        """
        return self._planned()[0]

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
        rows = _csv(result.rows)
        record = {f.name: getattr(result, f.name) for f in fields(result) if f.name != "rows"}
        record["cell"] = asdict(result.cell)
        content = {"format": FORMAT, **record, "rows_sha256": _digest(rows)}
        self._write(self._path(result.cell, ".csv"), rows)
        self._write(self._path(result.cell, ".json"), _json(content))
        self._path(result.cell, FAILED).unlink(missing_ok=True)

    def keep_failure(self, failed: FailedCell) -> None:
        """Writes why a cell could not be done."""
        self._write(self._path(failed.cell, FAILED), _json(asdict(failed)))

    def read(self) -> list[CellResult]:
        """All finished cells, by the name of their file.

        Raises:
            CorruptResultsError: A file of a finished cell is damaged.
        """
        return [
            self._read(path)
            for path in sorted(self.cells.glob("*.json"))
            if not path.name.endswith(FAILED) and not path.name.startswith(".")
        ]

    def failures(self) -> list[FailedCell]:
        """All cells that could not be done when they were last tried."""
        found = []
        for path in sorted(self.cells.glob(f"*{FAILED}")):
            if not path.name.startswith("."):
                found.append(_validated(_FAILURE, _read_json(path), path))
        return found

    def _planned(self) -> tuple[Plan, list[str]]:
        path = self.folder / PLAN
        if not self.exists:
            raise OptionError(
                f"{self.folder} holds no results ({PLAN} is missing); make some with "
                f"fmlad bench run --out {self.folder}."
            )
        content = _read_json(path)
        keys = content.pop("cells", None) if isinstance(content, dict) else None
        if keys is not None:
            content.pop("digests", None)
        if not isinstance(keys, list) or content.pop("format", None) != FORMAT:
            raise _damaged(path, f"it is no plan of format {FORMAT}")
        try:
            return plan_from_dict(content, str(path)), [str(key) for key in keys]
        except UnknownNameError as error:  # a plugin's method or profile, installed elsewhere
            raise OptionError(f"{path} cannot be read here: {error}") from None
        except (OptionError, TypeError) as error:
            raise _damaged(path, str(error)) from None

    def _read(self, path: Path) -> CellResult:
        content = _read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise _damaged(path, f"it is not of format {FORMAT}")
        rows = path.with_name(path.name.removesuffix(".json") + ".csv")
        try:
            text = rows.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _damaged(path, f"its rows cannot be read ({error})") from None
        if content.pop("rows_sha256", None) != _digest(text):
            raise _damaged(rows, "its lines are not those that were written")
        content["rows"] = _rows(text, rows)
        result: CellResult = _validated(_RESULT, content, path)
        if f"{result.cell.key}.json" != path.name:
            raise _damaged(path, f"it holds the cell {result.cell.key}")
        return result

    def _agree(self, finished: Sequence[Cell], planned: Sequence[Cell]) -> None:
        """One label is one entry and one title one task within a folder, or tables would mix."""
        for what, named in (("entry", _entry_facts), ("task", _task_facts)):
            known = dict(map(named, finished))
            for name, facts in map(named, planned):
                if known.get(name, facts) != facts:
                    raise OptionError(
                        f"In {self.folder} the {what} {name!r} stands for {known[name]}, and now "
                        f"for {facts}; choose another name, or another folder."
                    )

    def _digests(self) -> dict[str, str]:
        """Of all plans of this folder so far."""
        if not self.exists:
            return {}
        content = _read_json(self.folder / PLAN)
        found = content.get("digests") if isinstance(content, dict) else None
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}

    def _unchanged(
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

    def _write(self, path: Path, text: str) -> None:
        partial = path.with_name(f".{secrets.token_hex(4)}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Written through: after a power cut a renamed file may otherwise be empty.
            with partial.open("w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise OptionError(f"Nothing can be written to {path.parent}: {error}.") from error


_RESULT = TypeAdapter(CellResult)
_FAILURE = TypeAdapter(FailedCell)


def _validated(adapter: Any, content: Any, path: Path) -> Any:
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _damaged(path, f"{where}: {first['msg']}") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, f"it is not JSON ({error})") from None


def _damaged(path: Path, why: str) -> CorruptResultsError:
    return CorruptResultsError(
        f"{path} is damaged: {why}. Delete it and run the benchmark again: no other cell is "
        f"repeated."
    )


def _json(content: Any) -> str:
    return json.dumps(content, indent=1) + "\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _csv(rows: Sequence[ImageRecord]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        threshold = "" if row.threshold is None else repr(row.threshold)
        writer.writerow(
            (row.name, row.kind, row.defect or "", repr(row.score), threshold,
             repr(row.seconds), int(row.fresh))
        )  # fmt: skip
    return out.getvalue()


def _rows(text: str, path: Path) -> list[dict[str, Any]]:
    lines = list(csv.reader(io.StringIO(text)))
    if not lines or tuple(lines[0]) != COLUMNS:
        raise _damaged(path, f"its first line is not {','.join(COLUMNS)}")
    try:
        return [
            {
                "name": name,
                "kind": kind,
                "defect": defect or None,
                "score": float(score),
                "threshold": float(threshold) if threshold else None,
                "seconds": float(seconds),
                "fresh": bool(int(fresh)),
            }
            for name, kind, defect, score, threshold, seconds, fresh in lines[1:]
        ]
    except ValueError as error:
        raise _damaged(path, str(error)) from None


def _entry_facts(cell: Cell) -> tuple[str, str]:
    return cell.entry.label, _json_line(asdict(cell.entry))


def _task_facts(cell: Cell) -> tuple[str, str]:
    facts = asdict(cell.task)
    del facts["root"]  # the same pictures may lie elsewhere
    return cell.task.title, _json_line(facts)


def _json_line(facts: dict[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True)
