"""The benchmark: contestants, datasets, the few-shot protocol and results that resume.

>>> import fmlad
>>> results = fmlad.bench.run("training-free", "results")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Public name -> module that defines it; imported on first use.
_HOMES = {
    "Cell": "fmlad.bench.model",
    "CellResult": "fmlad.bench.model",
    "Contestant": "fmlad.bench.model",
    "Entry": "fmlad.bench.model",
    "FailedCell": "fmlad.bench.model",
    "Plan": "fmlad.bench.plan",
    "Results": "fmlad.bench.results",
    "Row": "fmlad.bench.model",
    "Scored": "fmlad.bench.model",
    "Store": "fmlad.bench.store",
    "Task": "fmlad.bench.model",
    "compare": "fmlad.bench.summary",
    "evaluate": "fmlad.bench.evaluation",
    "load": "fmlad.bench.results",
    "load_plan": "fmlad.bench.plan",
    "recompute": "fmlad.bench.runner",
    "run": "fmlad.bench.results",
    "summarise": "fmlad.bench.summary",
}

__all__ = [
    "Cell",
    "CellResult",
    "Contestant",
    "Entry",
    "FailedCell",
    "Plan",
    "Results",
    "Row",
    "Scored",
    "Store",
    "Task",
    "compare",
    "evaluate",
    "load",
    "load_plan",
    "recompute",
    "run",
    "summarise",
]

if TYPE_CHECKING:
    from fmlad.bench.evaluation import evaluate
    from fmlad.bench.model import (
        Cell,
        CellResult,
        Contestant,
        Entry,
        FailedCell,
        Row,
        Scored,
        Task,
    )
    from fmlad.bench.plan import Plan, load_plan
    from fmlad.bench.results import Results, load, run
    from fmlad.bench.runner import recompute
    from fmlad.bench.store import Store
    from fmlad.bench.summary import compare, summarise


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fmlad.bench' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
