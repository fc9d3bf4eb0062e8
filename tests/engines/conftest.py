"""One cluster for the tests of a file: starting one takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of four CPUs, however many this machine has."""
    from fmlad.engines import cluster

    module = cluster.import_ray()
    module.init(
        address="local", num_cpus=4, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    yield module
    module.shutdown()
