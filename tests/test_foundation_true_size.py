"""``foundation`` at its true size, with random weights: the smaller networks here, all on a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fmlad import Detector, profiles
from fmlad.app.service import DetectorCache, judge
from fmlad.backbones.roles import MaskProposer
from fmlad.loading import load_backbones
from tests.foundation_cases import (
    FEATUP,
    FEATURES,
    GROUNDER,
    QUERY,
    SHOTS,
    Case,
    cases,
    fill_tiny,
    save_pictures,
)
from tools import random_weights
from tools.passes import counted

CLIP = "ViT-L-14@datacomp_xl_s13b_b90k"
REGIONS = "builtin:regions@2"  # costs nothing beside the others


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMLAD_CACHE_LIMIT_MB", "0")


def named(name: str) -> str:
    return name.partition("#")[0]


# --- here -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        Case(
            "banks",
            {
                "feature_extractor": FEATURES,
                "mask_proposer": REGIONS,
                "grounder": f"{GROUNDER},side=400,longest=667",  # a quarter of the time
            },
            ("DINOv2", "Grounding DINO"),
            options={"proposals": "grounded", "phrases": ("screw", "red nut")},
        ),
        Case(
            "sam-lad",
            {
                "feature_extractor": f"{FEATURES}#side=224,fit=squash",
                "mask_proposer": REGIONS,
                "upsampler": FEATUP,
            },
            ("DINOv2", "FeatUp"),
        ),
    ],
    ids=lambda case: case.method,
)
def test_the_smaller_networks(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_cache: None
) -> None:
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path))
    names = [named(name) for name in case.backbones.values() if name != REGIONS]
    random_weights.fill(tmp_path, names, "true")
    with counted() as passes:
        detector = case.fit(SHOTS[:2], device="cpu")
    assert dict(passes) == case.at_fit(2)
    with counted() as passes:
        score = detector.predict(QUERY).score
    assert dict(passes) == case.at_predict(1)
    assert np.isfinite(score)
    assert score > 0
    loaded = Detector.load(detector.save(tmp_path / "detector"), device="cpu")
    assert loaded.predict(SHOTS[0]).score < score


# --- on a GPU -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    """The cases with all networks at true size on disk."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    root = tmp_path_factory.mktemp("true")
    words = root / "words.txt"
    words.write_text("\n".join(random_weights.WORDS))
    found = cases(CLIP, words)
    beside = {"clip-tags": f"clip:{CLIP}"}
    names = [named(name) for case in found.values() for name in case.backbones.values()]
    random_weights.fill(root, {beside.get(n.partition(":")[0], n) for n in names}, "true")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FMLAD_WEIGHTS", str(root))
        yield found
    profiles._build.cache_clear()
    torch.cuda.empty_cache()


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(cases("", Path())))
def test_all_networks_on_a_gpu(
    name: str, gpu: dict[str, Case], tmp_path: Path, no_cache: None
) -> None:
    case = gpu[name]
    torch.cuda.reset_peak_memory_stats()
    with counted() as passes:
        detector = case.fit(SHOTS, device="cuda")
    assert dict(passes) == case.at_fit(len(SHOTS))
    first = detector.predict(QUERY)
    detector.predict(SHOTS[0])  # so that SAM does not remember the query
    with counted() as passes:
        second = detector.predict(QUERY)
    assert dict(passes) == case.at_predict(1)
    assert np.isfinite(first.score)
    # Sums on a GPU may come in another order each time.
    assert second.score == pytest.approx(first.score, rel=1e-3)
    loaded = Detector.load(detector.save(tmp_path / "detector"), device="cuda")
    assert loaded.predict(QUERY).score == pytest.approx(first.score, rel=1e-3)
    print(f"{name}: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on the GPU at most")
    assert torch.cuda.max_memory_allocated() < 24 * 2**30


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["banks", "clip-lad"])
def test_a_gpu_says_what_the_cpu_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_cache: None
) -> None:
    """With tiny networks: masks at the edge of a cutoff may differ, so one score by 1 % at most."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path))
    case = fill_tiny(tmp_path)[name]
    scores = [case.fit(SHOTS, device=device).predict(QUERY).score for device in ("cpu", "cuda")]
    assert scores[1] == pytest.approx(scores[0], rel=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["banks", "banks-ram-sam-hq"])
def test_batches_of_points_and_half_precision(
    name: str, gpu: dict[str, Case], no_cache: None
) -> None:
    masks = gpu[name].backbones["mask_proposer"]

    def asked(options: str) -> Any:
        backbone = load_backbones({"mask_proposer": masks + options}, "cuda")
        assert isinstance(backbone.backbones["mask_proposer"], MaskProposer)
        return backbone.view(QUERY).masks()

    expected = asked("")
    assert len(expected) >= 10
    few = asked(",batch=3")
    assert len(few) == len(expected)
    # Rounding may exchange masks of nearly the same quality.
    areas = [np.sort(one.masks.mean(axis=(1, 2))) for one in (few, expected)]
    assert np.abs(areas[0] - areas[1]).mean() < 1e-3
    for dtype in ("float16", "bfloat16"):
        half = asked(f",dtype={dtype}")
        assert len(half) == pytest.approx(len(expected), rel=0.2)
        assert np.isfinite(half.scores).all()
        box = np.array([[20, 20, 120, 100]], np.float32)
        pair = [
            load_backbones({"mask_proposer": masks + more}, "cuda").view(QUERY).prompted(box)
            for more in ("", f",dtype={dtype}")
        ]
        assert (pair[0].masks == pair[1].masks).mean() > 0.9


@pytest.mark.gpu
def test_the_page_on_a_gpu_says_what_the_library_says(
    gpu: dict[str, Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_cache: None
) -> None:
    case = replace(gpu["banks"], options={})
    monkeypatch.setitem(profiles.PROFILES, "foundation", case.backbones)  # type: ignore[arg-type]
    shots, (query,) = (
        save_pictures(tmp_path / name, pictures)
        for name, pictures in (("shots", SHOTS), ("query", [QUERY]))
    )
    with counted() as passes:
        result = judge(
            shots, [query], method="banks", profile="foundation", detectors=DetectorCache()
        )
    assert result.error is None
    assert passes == Counter(case.at_fit(len(SHOTS))) + Counter(case.at_predict(1))
    expected = case.fit(SHOTS, device="cuda").predict(QUERY).score
    assert result.verdicts[0].score == pytest.approx(expected, rel=1e-3)
