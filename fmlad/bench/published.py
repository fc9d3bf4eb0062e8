"""Published figures to set results beside. None of them was run here, and few can be compared.

``published.json`` holds one figure a line, with how well it is known and where it was read.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from fmlad.bench.model import ALL
from fmlad.errors import OptionError

FILE = Path(__file__).with_name("published.json")

GRADES = {
    "R": "read in the repository itself",
    "P": "paper, abstract or publisher's page",
    "P/R": "a paper's figure, read where a repository quotes it",
    "I": "independent reproduction whose outputs are public",
    "S": "secondary: somebody quotes it; not checked against the paper",
    "A": "authors' claim in a response to reviewers",
    "D": "read off a plot",
}

METRICS = {
    "auroc": "AUROC, average not stated",
    "auroc_micro": "AUROC, all anomalies",
    "auroc_mean": "AUROC, mean of both kinds",
    "auroc_logical": "AUROC, logical",
    "auroc_structural": "AUROC, structural",
    "f1_max": "F1-max",
    "f1_max_logical": "F1-max, logical",
    "accuracy": "accuracy",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "spro_mean@0.05": "sPRO@0.05, mean of both kinds",
    "latency_ms": "latency, ms",
    "images_per_s": "images a second",
    "memory_mb": "memory, MB",
}
SHARES = tuple(name for name in METRICS if not name.endswith(("_ms", "_per_s", "_mb")))

Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, config={"extra": "forbid"})
class PublishedFigure:
    """One published figure.

    Attributes:
        dataset: As of ``fmlad.datasets.load``; "" for costs, which hang on no dataset.
        category: Of the dataset; "" for the mean over all.
        shots: How many; ``ALL`` (0) for all normal images, None for none.
        metric: A key of :data:`METRICS`.
        value: Above 0, and at most 1 where the metric is a share.
        category_input: What the method is told or given about the category; "" for nothing.
        grade: A key of :data:`GRADES`.
        source: Paper or repository.
    """

    dataset: str
    category: str
    shots: int | None
    metric: Literal[tuple(METRICS)]  # type: ignore[valid-type]
    value: Annotated[float, Field(gt=0)]
    method: Text
    category_input: str
    grade: Literal[tuple(GRADES)]  # type: ignore[valid-type]
    source: Text
    note: str = ""

    @model_validator(mode="after")
    def _at_most_one(self) -> PublishedFigure:
        if self.metric in SHARES and self.value > 1:
            raise ValueError(f"the {self.metric} of {self.method!r} is {self.value}, above 1")
        return self

    @property
    def shots_text(self) -> str:
        """``"4"``, ``"all"`` or ``"none"``."""
        return {None: "none", ALL: "all"}.get(self.shots, str(self.shots))


@lru_cache(maxsize=1)
def published_figures() -> tuple[PublishedFigure, ...]:
    """All published figures.

    Raises:
        OptionError: A line of the file does not hold what a figure needs.
    """
    adapter = TypeAdapter(dict[str, tuple[PublishedFigure, ...]])
    try:
        return adapter.validate_json(FILE.read_bytes())["figures"]
    except (KeyError, ValidationError) as error:
        raise OptionError(f"{FILE} is damaged: {' '.join(str(error).split())}.") from error


def published_for(dataset: str, category: str | None = None) -> tuple[PublishedFigure, ...]:
    """The figures of a dataset, "" for costs; only those of a category, "" for means, if given."""
    found = (one for one in published_figures() if one.dataset == dataset)
    return tuple(one for one in found if category in (None, one.category))
