"""What the benchmarks share: where the photographs are, how results are printed and kept."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fmlad
from fmlad.errors import DatasetError

RESULTS = Path(__file__).parent / "results"


def shared(*parts: str) -> Path:
    """A folder of the shared photographs: in ``$FMLAD_SHARED``, else ``../shared``."""
    root = Path(os.environ.get("FMLAD_SHARED") or Path(__file__).parents[2] / "shared")
    path = root.joinpath(*parts)
    if not path.exists():
        raise DatasetError(
            f"{path} does not exist; set FMLAD_SHARED to the folder with the photographs."
        )
    return path


def keep(name: str, protocol: str, figures: Mapping[str, Any]) -> None:
    """Prints figures and writes them to ``benchmarks/results/NAME.json`` with their protocol."""
    import torch

    result = {
        "protocol": protocol,
        "fmlad": fmlad.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "figures": dict(figures),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    for key, value in figures.items():
        print(f"{key}: {value}")
