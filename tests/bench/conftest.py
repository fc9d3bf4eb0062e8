"""Every test here sees the small dataset and the fake estimator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fmlad import datasets
from fmlad.bench import plan as plan_module
from fmlad.bench import worker
from tests.bench import support


@pytest.fixture(autouse=True)
def _small_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets, "load", support.load, raising=False)
    peers = {**plan_module.PEERS, "fake": "tests.bench.support:make_fake"}
    monkeypatch.setattr(plan_module, "PEERS", peers)
    worker.forget()
    support.made.clear()
    yield
    worker.forget()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return support.write_pictures(tmp_path / "pictures")
