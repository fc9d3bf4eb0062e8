"""A small dataset on disk, an estimator that counts, and both put in place of the real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fmlad import datasets
from fmlad.bench import plan as plan_module
from fmlad.bench import worker
from fmlad.bench.model import Entry, Scored, Task
from fmlad.bench.plan import Plan
from fmlad.datasets.model import Annotation, Dataset, Sample
from fmlad.errors import WeightsUnavailableError
from fmlad.io.images import load_image
from tests.conftest import picture

SIZE = (48, 64)
KINDS = {"good": 6, "logical": 4, "structural": 4}


def write_pictures(root: Path, train: int = 9) -> Path:
    """Train and test pictures; the defect is the scratch of ``tests.conftest.picture``."""
    (root / "train").mkdir(parents=True)
    for index in range(train):
        Image.fromarray(picture(index, SIZE)).save(root / "train" / f"{index:02d}.png")
    for kind, count in KINDS.items():
        (root / kind).mkdir()
        for index in range(count):
            pixels = picture(100 + index, SIZE, defect=kind == "structural")
            if kind == "logical":
                pixels = pixels[:, ::-1]
            Image.fromarray(pixels).save(root / kind / f"{index:02d}.png")
    return root


def truth_of(kind: str) -> Annotation:
    """The right half for logical anomalies, a square for structural ones."""
    regions = np.zeros((0 if kind == "good" else 1, *SIZE), bool)
    if kind == "logical":
        regions[:, :, SIZE[1] // 2 :] = True
    if kind == "structural":
        regions[:, 10:30, 10:30] = True
    return Annotation(regions, tuple(float(region.sum()) for region in regions))


def load(
    name: str, root: str, category: str = "", subtype: str | None = None, *, progress: Any = None
) -> Dataset:
    """In place of ``fmlad.datasets.load``: ``board``, its pairs, or a single pool."""
    home = Path(root)
    train = [Sample(f"train/{p.stem}", p, "good") for p in sorted((home / "train").glob("*.png"))]
    test = []
    for kind in KINDS:
        for index, path in enumerate(sorted((home / kind).glob("*.png"))):
            reference = train[index % 2].path if name == "pairs" else None
            test.append(
                Sample(
                    f"{kind}/{path.stem}",
                    path,
                    kind,  # type: ignore[arg-type]
                    None if kind == "good" else f"{kind}, odd",
                    reference,
                    lambda kind=kind: truth_of(kind),  # type: ignore[misc]
                )
            )
    if name == "pool":
        test = [*train, *test[KINDS["good"] :]]
    if name == "pairs":
        train = []
    validation = tuple(s for s in test if s.kind == "good")[:2] if name == "board" else ()
    return Dataset(
        name, category, subtype, home, tuple(train), validation, tuple(test), notes=("made up",)
    )


@dataclass
class Fake:
    """Scores by kind and by a hash of shots, seed and image; refuses when it is told to."""

    options: Mapping[str, Any]
    fits: list[tuple[str, ...]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    validation: list[int] = field(default_factory=list)
    state: str = ""

    def fit(
        self,
        shots: Sequence[Path],
        *,
        seed: int,
        validation: Sequence[Path] = (),
        prompts: str | None = None,
    ) -> None:
        if Path(str(self.options.get("refuses_while", "/nowhere"))).exists():
            raise WeightsUnavailableError("The weights 'w' are not here; fetch them.")
        if self.options.get("breaks"):
            raise ZeroDivisionError("division by zero")
        if self.options.get("crashes"):
            raise KeyboardInterrupt
        self.fits.append(tuple(path.stem for path in shots))
        self.validation.append(len(validation))
        self.state = f"{self.fits[-1]} {seed} {prompts}"

    def score(self, image: Path) -> Scored:
        self.images.append(str(image))
        digest = hashlib.sha256(f"{self.state} {image.parent.name}/{image.name}".encode()).digest()
        odd = 0.0 if image.parent.name in ("good", "train") else float(self.options.get("skill", 1))
        score = odd + digest[0] / 256
        heat = np.full(load_image(image).shape[:2], score, np.float32)
        heat[10:30, 10:30] += digest[1] / 256
        return Scored(score, None if self.options.get("mapless") else heat, 0.9)

    def notes(self) -> tuple[str, ...]:
        return ("not a method",)

    def facts(self) -> Mapping[str, float]:
        return {"weights_mb": 1.5}


made: list[Fake] = []  # by make_fake, in order


def make_fake(name: str, options: Mapping[str, Any], device: str) -> Fake:
    """In place of a peer's factory."""
    made.append(Fake(options))
    return made[-1]


def install() -> None:
    """Puts dataset and estimator in place for this process."""
    datasets.load = load  # type: ignore[attr-defined]
    plan_module.PEERS = {**plan_module.PEERS, "fake": "tests.bench.support:make_fake"}
    worker.forget()
    made.clear()


def fake(label: str = "fake", **options: Any) -> Entry:
    return Entry(label, f"fake:{label}", options=options)


def plan_of(root: Path, *entries: Entry, **changes: Any) -> Plan:
    """A plan on the pictures in ``root`` with 2 x 2 cells an entry, unless changed."""
    given: dict[str, Any] = {
        "tasks": (Task("board", str(root), ""),),
        "shots": (1, 3),
        "seeds": (0, 1),
        "threads": 1,
    }
    return Plan(entries or (fake(),), **{**given, **changes})
