"""The benchmark: entries, datasets, the few-shot protocol and results that resume.

>>> import fmlad
>>> results = fmlad.bench.run("training-free", "results")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Module -> its public names; imported on first use.
_MODULES = {
    "evaluation": ("evaluate",),
    "model": (
        "Cell", "CellResult", "Entry", "Estimator", "FailedCell", "ImageRecord", "Scored", "Task",
    ),
    "plan": ("Plan", "load_plan"),
    "results": ("Results", "load", "run"),
    "runner": ("recompute",),
    "store": ("Store",),
    "summary": ("compare", "summarise"),
}  # fmt: skip
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

if TYPE_CHECKING:
    from fmlad.bench.evaluation import evaluate as evaluate
    from fmlad.bench.model import Cell as Cell
    from fmlad.bench.model import CellResult as CellResult
    from fmlad.bench.model import Entry as Entry
    from fmlad.bench.model import Estimator as Estimator
    from fmlad.bench.model import FailedCell as FailedCell
    from fmlad.bench.model import ImageRecord as ImageRecord
    from fmlad.bench.model import Scored as Scored
    from fmlad.bench.model import Task as Task
    from fmlad.bench.plan import Plan as Plan
    from fmlad.bench.plan import load_plan as load_plan
    from fmlad.bench.results import Results as Results
    from fmlad.bench.results import load as load
    from fmlad.bench.results import run as run
    from fmlad.bench.runner import recompute as recompute
    from fmlad.bench.store import Store as Store
    from fmlad.bench.summary import compare as compare
    from fmlad.bench.summary import summarise as summarise


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fmlad.bench' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fmlad.bench.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
