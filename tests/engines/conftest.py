"""One cluster for the tests of a file, since starting one takes seconds; a detector and images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import fmlad
from tests.conftest import picture

SIZE = (48, 64)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shots = [picture(i, SIZE) for i in range(3)]
    detector = fmlad.Detector.from_shots(shots, profile="builtin", banks=("patch",))
    return detector.save(tmp_path_factory.mktemp("detectors") / "board")


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of two sizes, the fourth torn."""
    home = tmp_path_factory.mktemp("queries")
    for i in range(10):
        size = SIZE if i % 4 else (56, 64)
        Image.fromarray(picture(i, size, defect=i % 2 == 1)).save(home / f"{i}.png")
    (home / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return home


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of four CPUs, however many this machine has."""
    from fmlad.engines import cluster

    # Ray's workers are as urgent as the tests that wait for them.
    os.environ.setdefault("RAY_worker_niceness", "0")
    module = cluster.import_ray()
    module.init(
        address="local", num_cpus=4, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    yield module
    module.shutdown()
