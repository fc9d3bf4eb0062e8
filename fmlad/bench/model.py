"""What the modules of the benchmark hand to each other: entries, tasks, cells, results.

A *cell* is the smallest piece of work that is kept: one entry, one task, one number of shots, one
seed. A plan is a list of cells; results are finished cells.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from fmlad.datasets.model import Kind
from fmlad.prediction import Prediction

FORMAT = 1
ALL = 0  # number of shots that means "all training images"

Count = Annotated[int, Field(ge=0, strict=True)]
# Values are checked wherever a plan is made or results are read; YAML reads a category 1 as one.
_CHECKED = ConfigDict(extra="forbid", revalidate_instances="always", coerce_numbers_to_str=True)


def explained(error: ValidationError, source: str) -> str:
    """What is wrong with a value, where in a source it stands, and what came."""
    first = error.errors()[0]
    for step in first["loc"]:
        source += f"[{step}]" if isinstance(step, int) else f": {step}"
    text = first["msg"].removeprefix("Input ")
    return f"{source} {text[0].lower()}{text[1:]}; got {first['input']!r}"


@dataclass(frozen=True)
class Entry:
    """A method with its options, or a peer, as it is entered in the benchmark.

    Attributes:
        label: Its row in the tables, unique within a plan (``"banks, patch alone"``).
        method: Name of a method (``"banks"``), or of a peer (``"anomalib:patchcore"``).
        profile: Of a method; "" for peers.
        options: JSON-ready.
        prompts: ``"category"`` for the bundled set of each category, the name of one set, or None.
        validation: Whether the dataset's validation images are handed to it (normals beyond k).
    """

    __pydantic_config__ = _CHECKED

    label: Annotated[str, Field(pattern=r"\S")]
    method: str
    profile: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    prompts: str | None = None
    validation: Annotated[bool, Field(strict=True)] = False


@dataclass(frozen=True)
class Task:
    """One category of a dataset, and how much of it is used.

    Attributes:
        dataset, root, category, subtype: As of ``fmlad.datasets.load``.
        images: At most this many test images of each kind; 0 means all.
        spread: Whether those are evenly spread over the dataset's order, or its first ones.
        localise: Whether maps are measured against the annotations as well.
        each_subtype: Whether shots are drawn from the sub-types in turn, so that as many shots as
            there are sub-types hold one of each (CLIP-LAD, table 3).
        prompts: Prompt set that an entry with ``"category"`` gets here, by name or path; None means
            the one bundled for the category.
    """

    __pydantic_config__ = _CHECKED

    dataset: str
    root: Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, Path) else v)]
    category: str = ""
    subtype: str | None = None
    images: Count = 0
    spread: Annotated[bool, Field(strict=True)] = True
    localise: Annotated[bool, Field(strict=True)] = True
    prompts: str | None = None
    each_subtype: Annotated[bool, Field(strict=True)] = False

    @property
    def title(self) -> str:
        """Dataset, category and sub-type in one line."""
        return "/".join(part for part in (self.dataset, self.category, self.subtype) if part)


@dataclass(frozen=True)
class Cell:
    """The smallest piece of work that is kept: an entry on a task.

    Attributes:
        shots: How many; ``ALL`` for all training images. Of pairs, always 1.
        seed: For the draw of shots and for the entry.
    """

    entry: Entry
    task: Task
    shots: int
    seed: int

    @property
    def key(self) -> str:
        """A file name: readable, and different wherever the work is (roots do not count)."""
        facts = asdict(self)
        facts["task"].pop("root")
        if not self.task.each_subtype:  # cells from before there was a choice keep their names
            facts["task"].pop("each_subtype")
        text = json.dumps({"format": FORMAT, **facts}, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        words = f"{self.entry.label} {self.task.title} k{self.shots} s{self.seed}"
        readable = re.sub(r"[^A-Za-z0-9.-]", "_", words)  # names have at most 255 bytes
        return f"{readable[:120]}-{digest}"


@dataclass(frozen=True)
class ImageRecord:
    """What is recorded of one test image.

    Attributes:
        name, kind, defect: Of the sample.
        score: Higher is more anomalous.
        threshold: Scores above it were called anomalous; None where nothing was decided.
        seconds: That prediction took, decoding included; features that an earlier cell computed
            are not counted again, so only ``fresh`` rows say what a query costs.
        fresh: Whether nothing of this image came from an earlier cell.
    """

    name: str
    kind: Kind
    defect: str | None
    score: float
    threshold: float | None
    seconds: float
    fresh: bool


@dataclass(frozen=True)
class CellResult:
    """A finished cell.

    Attributes:
        shots: Names of the shots drawn, in order; of pairs, empty.
        rows: One per test image, in the dataset's order.
        figures: Name -> value of every metric of the cell, as ``fmlad.metrics.summary`` names them.
        curve: sPRO curve, thinned: ``{"fpr": [...], "spro": [...]}``; empty where not localised.
        cost: ``fit_seconds``, ``p50_seconds`` and ``p95_seconds`` of a query (each absent where all
            made use of what an earlier cell computed), ``peak_mb`` (of the process),
            ``normals_beyond_k`` (validation images handed over), ``weights_mb`` and the like.
        notes: Of the dataset and of the entry.
        environment: fmlad, python, torch, platform, threads, commit where known.
    """

    cell: Cell
    shots: tuple[str, ...]
    rows: tuple[ImageRecord, ...]
    figures: Mapping[str, float]
    curve: Mapping[str, Sequence[float]] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """What an estimator says about one image.

    Attributes:
        score: Higher is more anomalous.
        anomaly_map: float32 ``(H, W)`` at the image's own size, or None if it makes none.
        threshold: Scores above it are called anomalous, or None.
        fresh: Whether nothing of this image was computed before.
        prediction: With findings and pictures, of methods of this package.
    """

    score: float
    anomaly_map: npt.NDArray[np.float32] | None = field(repr=False, default=None)
    threshold: float | None = None
    fresh: bool = True
    prediction: Prediction | None = field(repr=False, default=None)


@dataclass(frozen=True)
class FailedCell:
    """A cell that could not be done: the name of the error's class, and its one line."""

    cell: Cell
    error: str
    message: str


Outcome = CellResult | FailedCell


class Estimator(Protocol):
    """A method or a peer under test: fitted to shots, then asked about one image at a time.

    One object serves all cells of one entry on one task, so that it may keep features between them.
    """

    def fit(
        self,
        shots: Sequence[Path],
        *,
        seed: int,
        validation: Sequence[Path] = (),
        prompts: str | None = None,
    ) -> None:
        """Forgets earlier shots and learns from these.

        Raises:
            FmladError: It cannot (weights missing, package missing, no use for prompts, ...).
        """

    def score(self, image: Path) -> Scored:
        """Judges one image."""

    def notes(self) -> tuple[str, ...]:
        """What a reader of its figures must know, in plain sentences; may be empty."""

    def facts(self) -> Mapping[str, float]:
        """Cost figures known after fitting, such as ``weights_mb`` and ``memory_mb``; may be {}.

        ``fit_fresh``, if it is there, is 0 where the last fit made use of what was computed before.
        """
