"""Published figures to set results beside. None of them was run here, and few can be compared.

``anchors.json`` holds one figure a line, with how well it is known and where it was read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fmlad.bench.model import ALL
from fmlad.errors import OptionError

FILE = Path(__file__).with_name("anchors.json")

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


@dataclass(frozen=True)
class Anchor:
    """One published figure.

    Attributes:
        dataset: Name, as in ``fmlad.datasets.load``; "" for costs, which hang on no dataset.
        category: Of the dataset; "" for the mean over all.
        shots: How many; ``ALL`` (0) for all normal images, None for none.
        metric: A key of :data:`METRICS`.
        value: In [0, 1] where the metric is a share.
        method: Its name.
        category_input: What the method is told or given about the category; "" for nothing.
        grade: A key of :data:`GRADES`.
        source: Paper or repository.
        note: What else to know.
    """

    dataset: str
    category: str
    shots: int | None
    metric: str
    value: float
    method: str
    category_input: str
    grade: str
    source: str
    note: str = ""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("metric", self.metric, METRICS), ("grade", self.grade, GRADES)
        ):  # fmt: skip
            if value not in known:
                raise OptionError(
                    f"The anchor {self.method!r} has the {name} {value!r}; known: "
                    f"{', '.join(known)}."
                )
        if not self.method or not self.source:
            raise OptionError(f"An anchor needs a method and a source; got {self}.")
        if self.value <= 0 or (self.metric in SHARES and self.value > 1):
            raise OptionError(
                f"The anchor {self.method!r} has the {self.metric} {self.value}; expected a value "
                f"above 0, and at most 1 where it is a share."
            )

    @property
    def shots_text(self) -> str:
        """``"4"``, ``"all"`` or ``"none"``."""
        if self.shots is None:
            return "none"
        return "all" if self.shots == ALL else str(self.shots)


@lru_cache(maxsize=1)
def anchors() -> tuple[Anchor, ...]:
    """All published figures.

    Raises:
        OptionError: A line of the file does not hold what a figure needs.
    """
    import json

    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    try:
        return tuple(Anchor(**fields) for fields in content["anchors"])
    except (KeyError, TypeError) as error:
        raise OptionError(f"{FILE} is damaged: {error}.") from error


def anchors_of(dataset: str, category: str | None = None) -> tuple[Anchor, ...]:
    """The figures of a dataset.

    Args:
        dataset: Name; "" gives costs.
        category: Only those of one category, ``""`` for means; None for all.
    """
    return tuple(
        anchor
        for anchor in anchors()
        if anchor.dataset == dataset and category in (None, anchor.category)
    )
