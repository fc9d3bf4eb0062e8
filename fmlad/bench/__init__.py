"""The benchmark: entries, datasets, the few-shot protocol and results that resume.

>>> import fmlad
>>> results = fmlad.bench.run("training-free", "results")  # doctest: +SKIP
"""

from fmlad.bench.evaluation import evaluate
from fmlad.bench.model import (
    Cell,
    CellResult,
    Entry,
    Estimator,
    FailedCell,
    ImageRecord,
    Scored,
    Task,
)
from fmlad.bench.plan import Plan, load_plan
from fmlad.bench.results import Results, load, run
from fmlad.bench.runner import recompute
from fmlad.bench.store import Store
from fmlad.bench.summary import compare, summarise

__all__ = [
    "Cell", "CellResult", "Entry", "Estimator", "FailedCell", "ImageRecord", "Plan", "Results",
    "Scored", "Store", "Task", "compare", "evaluate", "load", "load_plan", "recompute", "run",
    "summarise",
]  # fmt: skip
