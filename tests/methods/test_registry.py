"""Methods and backbones by name, our own and plugged-in ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import fmlad
from fmlad import profiles
from fmlad.errors import OptionError, UnknownNameError
from fmlad.methods import registry
from fmlad.methods.protocol import Calibrates, Difference, Evidence, FitContext
from fmlad.scoring.fusion import AdaptiveScaling
from tests.conftest import CountingFeatures, picture

OURS = ["banks", "clip-lad", "csad", "psad", "sam-lad", "ulsad"]


@dataclass(frozen=True)
class BrightnessConfig:
    strict: float = 1.0


@dataclass
class BrightnessState:
    level: torch.Tensor

    @property
    def shots(self) -> int:
        return len(self.level)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"level": self.level}

    def meta(self) -> dict[str, Any]:
        return {}


class Brightness:
    """The smallest method there is: how far is the mean brightness from the shots'?"""

    name: ClassVar[str] = "brightness"
    summary: ClassVar[str] = "mean brightness"
    needs: ClassVar[tuple[str, ...]] = ("feature_extractor",)
    takes: ClassVar[tuple[str, ...]] = ()
    declared: ClassVar[dict[str, dict[str, str]]] = {}
    calibrates_by: ClassVar[Calibrates] = "leave-one-out"
    branches: ClassVar[tuple[str, ...]] = ("light",)

    def __init__(self, config: BrightnessConfig) -> None:
        self.config = config

    def fit(self, views: Any, context: FitContext) -> BrightnessState:
        return BrightnessState(torch.tensor([float(v.pixels.mean()) for v in views]))

    def evidence(
        self, view: Any, state: BrightnessState, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        kept = [float(x) for i, x in enumerate(state.level) if i not in exclude]
        off = min(abs(float(view.pixels.mean()) - x) for x in kept)
        flat = np.full((4, 4), off, np.float32)
        dark = Difference(
            branch="light", score=off, kind="recoloured", part="all", reason="it is too dark"
        )
        return Evidence({"light": off}, {"light": flat}, differences=(dark,))

    def fusion(self, left_out: Any, state: BrightnessState) -> AdaptiveScaling:
        return AdaptiveScaling.fit(left_out)

    def restore(self, tensors: Any, meta: Any, device: str) -> BrightnessState:
        return BrightnessState(tensors["level"])


ENTRY = profiles.BackboneEntry(
    "plug:counting@1", ("feature_extractor",), f"{__name__}:build_counting", "for this test"
)


def build_counting(name: str, device: str) -> CountingFeatures:
    return CountingFeatures()


METHOD = f"{__name__}:Brightness:BrightnessConfig"


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def entry_points(group: str) -> list[EntryPoint]:
        name, value = {
            registry.ENTRY_POINTS: ("brightness", f"{__name__}:METHOD"),
            profiles.ENTRY_POINTS: ("plug", f"{__name__}:ENTRY"),
        }[group]
        return [EntryPoint(name, value, group)]

    def forget() -> None:
        registry._homes.cache_clear()
        profiles._entries.cache_clear()

    monkeypatch.setattr(registry, "entry_points", entry_points)
    monkeypatch.setattr(profiles, "entry_points", entry_points)
    forget()
    yield
    forget()


@pytest.mark.usefixtures("plugged")
def test_a_plugged_in_method_is_a_citizen(tmp_path: Any) -> None:
    assert fmlad.list_methods() == [
        "banks",
        "brightness",
        "clip-lad",
        "csad",
        "psad",
        "sam-lad",
        "ulsad",
    ]
    shots = [picture(i) for i in range(3)]
    detector = fmlad.Detector.from_shots(shots, method="brightness", profile="builtin", strict=2.0)
    dark = (picture(9) // 2).astype(np.uint8)
    prediction = detector.predict(dark)
    assert prediction.is_anomalous
    finding = prediction.findings[0]
    assert (finding.kind, finding.part) == ("recoloured", "all")
    # A typed difference arrives on the scale of its branch, like the score.
    assert finding.score == pytest.approx(prediction.score)
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved"))
    assert loaded.predict(dark).score == pytest.approx(prediction.score)


@pytest.mark.usefixtures("plugged")
def test_a_plugged_in_backbone_is_a_citizen() -> None:
    assert "plug:counting@1" in fmlad.list_backbones("feature_extractor")
    detector = fmlad.Detector.from_shots(
        picture(0, size=(60, 80)),
        profile="builtin",
        banks="patch",
        backbones={"feature_extractor": "plug:counting@1"},
    )
    assert np.isfinite(detector.predict(picture(1, size=(60, 80))).score)


def test_unknown_methods_and_options_name_what_exists() -> None:
    with pytest.raises(UnknownNameError, match="Known ones: banks"):
        registry.create_method("zzz", {})
    with pytest.raises(OptionError, match="Its options: banks, levels"):
        registry.create_method("banks", {"zzz": 1})


@pytest.mark.parametrize("name", OURS)
def test_every_option_of_our_methods_is_described(name: str) -> None:
    options = registry.describe_options(name)
    assert [one.name for one in options if not one.text] == []
    assert all("\n" not in one.text and "``" not in one.text for one in options)


def test_a_description_is_one_line_of_the_docstring() -> None:
    by_name = {one.name: one for one in registry.describe_options("banks")}
    assert by_name["window"].default == 1
    assert (
        by_name["window"].text == "Half width in cells of the search around the same place (ours)."
    )
    assert by_name["smoothing"].text.endswith("half a cell).")  # the last one, and several lines


def test_a_broken_plug_in_is_named_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = EntryPoint("broken", "no_such_module:METHOD", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken])
    registry._homes.cache_clear()
    try:
        assert "broken" in registry.list_methods()
        assert registry.create_method("banks", {}).name == "banks"
        assert registry.loadable_methods() == [
            "banks",
            "clip-lad",
            "csad",
            "psad",
            "sam-lad",
            "ulsad",
        ]
        assert "no_such_module:METHOD" in caplog.text
        with pytest.raises(OptionError, match="'broken' of the plug-in 'no_such_module:METHOD'"):
            registry.create_method("broken", {})
    finally:
        registry._homes.cache_clear()
