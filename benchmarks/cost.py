"""What a verdict costs: time, memory, growth with the number of shots.

    python -m benchmarks.cost

Times are medians on this machine and swing with its load; ratios are measured alternately in one
process and hold. Pictures are scenes (pushpins) brought to 640 px; the disk cache is off.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
os.environ["FMLAD_CACHE_LIMIT_MB"] = "0"  # a cached answer would cost nothing

import numpy as np
import torch
from PIL import Image

import fmlad
from benchmarks.common import dinov2_small, keep, seconds
from fmlad.methods.banks.config import BANKS
from fmlad.methods.banks.method import BanksState
from fmlad.pipeline import open_view

SIDE = 640  # px, longer side
SHOTS = (1, 2, 4, 8, 16, 32, 64)
ROUNDS = 15


def pictures(count: int) -> list[np.ndarray]:
    """Normal scenes, uint8, longer side ``SIDE``."""
    found = []
    for index in range(count):
        image = Image.fromarray(fmlad.datasets.render_scene("pushpins", index=index).image)
        scale = SIDE / max(image.size)
        found.append(np.asarray(image.resize([round(s * scale) for s in image.size])))
    return found


def overhead() -> dict[str, float]:
    """Whole predict (patch bank) over the bare forward pass of a true-size DINOv2-S."""
    shots, queries = pictures(4), pictures(4 + ROUNDS)[4:]
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        dinov2_small().save_pretrained(folder)
        backbones = {"feature_extractor": f"dinov2:{folder}"}
        detector = fmlad.Detector.from_shots(
            shots, profile="light", backbones=backbones, banks=("patch",)
        )
        backbone: Any = detector._backbones.backbones["feature_extractor"]
        detector.predict(queries[0])
        whole, bare = [], []
        for query in queries:
            tensor = open_view(query, detector._backbones).tensor
            bare.append(seconds(lambda tensor=tensor: backbone.encode(tensor)))
            whole.append(seconds(lambda query=query: detector.predict(query)))
    return {
        "DINOv2-S forward, s": round(statistics.median(bare), 3),
        "predict over bare forward, DINOv2-S": round(
            statistics.median(w / b for w, b in zip(whole, bare, strict=True)), 3
        ),
    }


def growth(most: int, banks: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Fit time, predict time and bank size against the number of shots, builtin profile."""
    shots, queries = pictures(most), pictures(most + 3)[most:]
    rows = {}
    for count in (k for k in SHOTS if k <= most):
        fitted: list[fmlad.Detector] = []
        fit = seconds(
            lambda count=count, fitted=fitted: fitted.append(
                fmlad.Detector.from_shots(shots[:count], profile="builtin", banks=banks)
            )
        )
        state = fitted[0]._fitted.state
        if not isinstance(state, BanksState):
            raise TypeError(type(state))
        fitted[0].predict(queries[0])
        times = [seconds(lambda q=q, fitted=fitted: fitted[0].predict(q)) for q in queries]
        rows[str(count)] = {
            "fit, s": round(fit, 2),
            "predict, s": round(statistics.median(times), 2),
            "bank, MB": round(sum(t.nbytes for t in state.tensors().values()) / 1e6, 1),
            "patches": sum(item.features.levels[0][0, 0].numel() for item in state.patches.memory),
        }
    return rows


def start_up() -> dict[str, float]:
    """Seconds of a new process, over those of a Python that does nothing."""

    def median(*command: str) -> float:
        run = lambda: subprocess.run([sys.executable, *command], check=True, capture_output=True)  # noqa: E731
        run()
        return statistics.median(seconds(run) for _ in range(7))

    nothing = median("-c", "pass")
    return {
        "python -c pass, s": round(nothing, 2),
        "import fmlad, s": round(median("-c", "import fmlad"), 2),
        "fmlad --help, s": round(median("-m", "fmlad", "--help"), 2),
    }


def peak_memory() -> dict[str, float]:
    """Peak resident memory of a new process that fits four shots and predicts, builtin profile."""
    home = Path(tempfile.mkdtemp())
    for index, picture in enumerate(pictures(5)):
        Image.fromarray(picture).save(home / f"{index}.png")
    code = (
        "import resource, sys, fmlad, torch\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "paths = [f'{sys.argv[1]}/{i}.png' for i in range(5)]\n"
        "fmlad.Detector.from_shots(paths[:4], profile='builtin').predict(paths[4]).overlay()\n"
        "print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(home)], check=True, capture_output=True, text=True
    ).stdout
    before, peak = (int(value) / 1024 for value in out.split())
    return {"peak memory, MB": round(peak), "of it torch itself, MB": round(before)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--most", type=int, default=64, help="largest number of shots")
    most = parser.parse_args().most
    figures = {**start_up(), **peak_memory(), **overhead(), "shots": growth(most, ("patch",))}
    figures["shots, all banks"] = growth(min(most, 16), BANKS)
    figures["threads"] = torch.get_num_threads()
    figures["own peak memory, MB"] = round(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
    keep("cost", f"scenes pushpins at {SIDE} px, medians of {ROUNDS}", figures)


if __name__ == "__main__":
    main()
