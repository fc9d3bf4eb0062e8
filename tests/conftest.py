"""What tests share: pictures made here, counting backbones, and the shared photographs."""

from __future__ import annotations

import os

# Before torch is imported: threads that wait must not spin, or tests on a busy machine crawl.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # tests side by side share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import settings
from PIL import Image
from torch import Tensor

from fmlad.backbones.embedded.builtin import HandmadeFeatures
from fmlad.backbones.roles import Pyramid

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _no_user_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads the user's cache, profile or network."""
    monkeypatch.setenv("FMLAD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("FMLAD_PROFILE", "FMLAD_CACHE_LIMIT_MB", "FMLAD_MAX_PIXELS"):
        monkeypatch.delenv(name, raising=False)


def picture(seed: int, size: tuple[int, int] = (120, 160), defect: bool = False) -> Pixels:
    """A photograph-like board with fixed blobs, seen with noise; a dark scratch is its defect.

    The blobs are the same for every seed, so that pictures register to each other.
    """
    height, width = size
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    image = np.full((height, width, 3), 150.0)
    layout = np.random.default_rng(7)
    for _ in range(9):
        cx, cy = layout.uniform(0.1, 0.9, 2)
        radius = layout.uniform(0.05, 0.1)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        image[inside] = layout.uniform(20, 240, 3)
    if defect:
        image[(abs(y - x * 0.6 - 0.2) < 0.02) & (x > 0.3) & (x < 0.7)] = 10.0
    noise = np.random.default_rng(seed).normal(0, 4, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with four normal pictures as PNG."""
    home = tmp_path / "normal"
    home.mkdir()
    for seed in range(4):
        Image.fromarray(picture(seed)).save(home / f"{seed}.png")
    return home


class CountingFeatures(HandmadeFeatures):
    """The embedded features, counting every image they are shown; optionally dear to compute."""

    name = "test:counting@1"
    fingerprint = "test:counting@1"

    def __init__(self, expensive: bool = False) -> None:
        super().__init__()
        self.expensive = expensive  # type: ignore[misc]
        self.images = 0
        self.calls = 0

    def encode(self, images: Tensor) -> Pyramid:
        self.images += len(images)
        self.calls += 1
        return super().encode(images)


@pytest.fixture
def counting() -> Callable[..., CountingFeatures]:
    return CountingFeatures


@pytest.fixture
def shared() -> Callable[..., Path]:
    """Finds the shared photographs; skips, saying so, where they are missing."""
    root = Path(os.environ.get("FMLAD_SHARED") or Path(__file__).parents[2] / "shared")

    def find(*parts: str) -> Path:
        path = root.joinpath(*parts)
        if not path.exists():
            pytest.skip(f"{path} is missing (set FMLAD_SHARED)")
        return path

    return find


torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)  # whatever OMP says
# A slow machine is no failure.
settings.register_profile("fmlad", deadline=None)
settings.load_profile("fmlad")
