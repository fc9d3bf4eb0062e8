"""What the pipeline hands to methods that learn, and by which images it calibrates them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import fmlad
from fmlad.errors import OptionError
from fmlad.io.tensors import TensorReader
from fmlad.methods import registry
from fmlad.methods.protocol import Calibrates, Evidence, FitContext
from fmlad.scoring.fusion import AdaptiveScaling
from tests.conftest import picture

CONTEXTS: list[tuple[list[str], FitContext]] = []


@dataclass(frozen=True)
class Config:
    by: Calibrates = "held-out"


@dataclass(frozen=True)
class State:
    shots: int
    drawn: torch.Tensor
    steps: torch.Tensor
    ready: torch.Tensor
    half: torch.Tensor

    def tensors(self) -> dict[str, torch.Tensor]:
        return {name: getattr(self, name) for name in ("drawn", "steps", "ready", "half")}

    def meta(self) -> dict[str, Any]:
        return {"shots": self.shots}


class Learner:
    """Notes its context; its score is the brightness, and its state one tensor of each dtype."""

    name: ClassVar[str] = "learner"
    summary: ClassVar[str] = "for this test"
    needs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[str, ...]] = ("prompts", "labels", "unlabeled", "checkpoint")
    declared: ClassVar[dict[str, dict[str, str]]] = {}
    branches: ClassVar[tuple[str, ...]] = ("light",)

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def calibrates_by(self) -> Calibrates:
        return self.config.by

    def fit(self, views: Any, context: FitContext) -> State:
        CONTEXTS.append(([view.name for view in views], context))
        drawn = torch.tensor([float(torch.rand(())), random.random(), context.rng.random()])
        return State(
            len(views),
            drawn,
            torch.tensor(7),
            torch.tensor([True, False]),
            torch.tensor([0.5], dtype=torch.float16),
        )

    def evidence(self, view: Any, state: State, exclude: frozenset[int] = frozenset()) -> Evidence:
        light = float(view.pixels.mean())
        return Evidence({"light": light}, {"light": np.full((2, 2), light, np.float32)})

    def fusion(self, left_out: Any, state: State) -> AdaptiveScaling:
        return AdaptiveScaling.fit(left_out)

    def restore(self, tensors: Any, meta: Any, device: str) -> State:
        reader = TensorReader(tensors, device)
        with reader.description("learner"):
            return State(
                int(meta["shots"]),
                reader.take("drawn", (3,)),
                reader.take("steps", (), torch.int64),
                reader.take("ready", (2,), torch.bool),
                reader.take("half", (1,), torch.float16),
            )


METHOD = f"{__name__}:Learner:Config"


@pytest.fixture(autouse=True)
def _plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_METHODS", {"learner": METHOD})
    registry._homes.cache_clear()
    CONTEXTS.clear()
    yield
    registry._homes.cache_clear()


def fitted(count: int, **arguments: Any) -> fmlad.Detector:
    shots = [picture(seed, (24, 32)) for seed in range(count)]
    return fmlad.Detector.from_shots(shots, method="learner", profile="builtin", **arguments)


def labels(count: int) -> list[np.ndarray]:
    return [np.full((24, 32), number, np.uint8) for number in range(count)]


@pytest.mark.parametrize(
    ("count", "by", "source", "scores"),
    [
        (10, "held-out", "held-out", 2),
        (4, "held-out", "augmentations", 4),  # altered copies of each: too few to set any aside
        (3, "augmented", "augmentations", 3),
        (3, "leave-one-out", "leave-one-out", 3),
        (1, "leave-one-out", "augmentations", 1),
    ],
)
def test_each_way_of_calibration_uses_its_images(
    count: int, by: Calibrates, source: str, scores: int
) -> None:
    detector = fitted(count, by=by)
    assert detector.calibration.source == source
    copies = len(detector.calibration.scores)
    assert copies == scores if source != "augmentations" else copies % scores == 0
    assert len(detector.shots) == count


def test_shots_set_aside_are_validation_images_and_no_shots() -> None:
    detector = fitted(10, labels=labels(10))
    names, context = CONTEXTS[-1]
    aside = [view.name for view in context.validation]
    assert len(names) == 8
    assert len(aside) == 2
    assert not set(names) & set(aside)
    assert context.labels is not None
    assert [int(label[0, 0]) for label in context.labels] == [
        index for index, shot in enumerate(detector.shots) if shot.name in names
    ]


def test_given_validation_images_leave_the_shots_alone() -> None:
    detector = fitted(10, validation=[picture(seed, (24, 32)) for seed in (20, 21, 22)])
    names, context = CONTEXTS[-1]
    assert len(names) == 10
    assert len(context.validation) == 3
    assert detector.calibration.source == "validation"


def test_shots_come_and_go_with_their_labels_and_the_rest_is_handed_on() -> None:
    detector = fitted(3, by="augmented", labels=labels(3), unlabeled=[picture(9, (24, 32))])
    detector.add_shots([picture(5, (24, 32))], labels=[np.full((24, 32), 5, np.uint8)])
    detector.remove_shot(1)
    names, context = CONTEXTS[-1]
    assert len(names) == 3
    assert context.labels is not None
    assert [int(label[0, 0]) for label in context.labels] == [0, 2, 5]
    assert len(context.unlabeled) == 1


def test_labels_that_do_not_fit_are_named() -> None:
    with pytest.raises(OptionError, match="2 labels for 3 images"):
        fitted(3, labels=labels(2))
    with pytest.raises(OptionError, match=r"whole numbers of the image's size \(24, 32\)"):
        fitted(1, labels=[np.zeros((24, 31), int)])
    with pytest.raises(OptionError, match="float64"):
        fitted(1, labels=[np.zeros((24, 32))])
    with pytest.raises(OptionError, match="need labels="):
        fitted(3, labels=labels(3)).add_shots([picture(5, (24, 32))])
    with pytest.raises(OptionError, match="no labels"):
        fitted(3).add_shots([picture(5, (24, 32))], labels=labels(1))


def test_training_again_is_said(caplog: pytest.LogCaptureFixture) -> None:
    detector = fitted(3)
    detector.remove_shot(0)
    assert any("trained again" in record.message for record in caplog.records)


def test_chance_is_the_seed_and_nobody_else_notices(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    saved = [fitted(3, seed=seed).save(tmp_path / f"{i}") for i, seed in enumerate((4, 4, 5))]
    assert torch.equal(before, torch.get_rng_state())
    first, same, other = (path.joinpath("state.safetensors").read_bytes() for path in saved)
    assert first == same != other


def test_optional_prompts_and_tensors_of_any_dtype_are_saved(tmp_path: Path) -> None:
    detector = fitted(10)
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved"))
    query = picture(30, (24, 32))
    assert loaded.predict(query).score == detector.predict(query).score
    assert len(loaded.shots) == 10


def test_a_checkpoint_belongs_to_method_options_and_shots(tmp_path: Path) -> None:
    detector = fitted(3, checkpoint=tmp_path / "run")
    settings = CONTEXTS[-1][1].settings
    assert settings["method"] == "learner"
    assert settings["options"] == {"by": "held-out"}
    assert len(set(settings["shots"])) == 3
    detector.remove_shot(0)  # trains again, but not over the checkpoint of the first shots
    assert CONTEXTS[-1][1].settings["shots"] == settings["shots"][1:]
    assert CONTEXTS[-1][1].checkpoint is None


FLAT = np.ones((2, 2), np.float32)


@pytest.mark.parametrize(
    ("evidence", "rule"),
    [
        (Evidence({"light": -1.0}, {"light": FLAT}), "0 or more"),
        (Evidence({"dark": 1.0}, {"light": FLAT}), "none of its branches"),
        (Evidence({"light": 1.0}, {}), "a map"),
        (Evidence({"light": 1.0}, {"light": FLAT[None]}), "a map"),
    ],
)
def test_evidence_that_breaks_the_protocol_is_refused(
    evidence: Evidence, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "evidence", lambda *_: evidence)
    with pytest.raises(OptionError, match=f"'learner' breaks the protocol .*{rule}"):
        fitted(3)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1", 2**63])
def test_impossible_seeds_are_refused(seed: Any) -> None:
    with pytest.raises(OptionError, match="seed must be a whole number"):
        fitted(3, seed=seed)


def test_a_checkpoint_that_is_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="is a file"):
        fitted(3, checkpoint=tmp_path / "file")


def test_resume_needs_a_checkpoint() -> None:
    with pytest.raises(OptionError, match="needs checkpoint=FOLDER"):
        fitted(3, resume=True)
