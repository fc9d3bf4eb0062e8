"""What a verdict costs beside one pass of a small network.

    python -m benchmarks.feature_cost [--features NAME]

`predict` with the patch bank alone and with all banks, 4 shots, over one forward pass of timm's
EfficientNet-Lite0 with its classifier at the picture's own size, 640 px on the longer side. One
process, one thread, disk cache off. In every round each is timed on the same new picture, and the
medians of the rounds' ratios are given. Times are CPU times of the process: another process beside
it does not count. The network's weights are random, which does not change its time.

The components are those that public calls can tell apart, measured in the same rounds: features,
edges of the picture, registration to the shots, the search at the same place and everywhere (only
one of the two is part of a verdict), masks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

os.environ["FMLAD_CACHE_LIMIT_MB"] = "0"  # a cached answer would cost nothing

import numpy as np
import torch

import fmlad
from benchmarks.common import keep
from benchmarks.cost import SIDE, pictures
from fmlad import profiles
from fmlad.memory.patch_branch import PatchBranch
from fmlad.memory.registration import view_edges
from fmlad.methods.banks.config import BANKS, BanksConfig
from fmlad.objects.proposals import PROPOSER
from fmlad.progress import silent
from fmlad.views import BackboneSet, ImageView

SHOTS = 4
ROUNDS = 15
NETWORK = "tf_efficientnet_lite0"


def seconds(work: Callable[[], object]) -> float:
    """CPU time of some work."""
    start = time.process_time()
    work()
    return time.process_time() - start


class Components:
    """The steps of a verdict, each timed on its own."""

    def __init__(self, shots: list[np.ndarray], features: str) -> None:
        chosen = profiles.resolve(
            ("feature_extractor", PROPOSER), "builtin", override={"feature_extractor": features}
        )
        self._backbones = BackboneSet(profiles.load_backbones(chosen, "cpu"))
        config = self._config = BanksConfig()
        self._branch = PatchBranch(
            levels=config.levels,
            references=config.references,
            window=config.window,
            smoothing=config.smoothing,
            variation=config.variation,
            background=config.background,
            join="product",
        )
        views = [self._backbones.view(pixels) for pixels in shots]
        self._memory = self._branch.fit(views, np.random.default_rng(0), silent)

    def __call__(self, picture: np.ndarray) -> dict[str, float]:
        """Seconds of each step on a picture."""
        view: ImageView = self._backbones.view(picture)
        memory, none = self._memory, frozenset[int]()
        took = {"features": seconds(view.pyramid), "edges": seconds(lambda: view_edges(view))}
        described = self._branch.features(view)
        found = []
        took["registration"] = seconds(
            lambda: found.extend(
                memory.registered(
                    described, none, self._config.query_confidence, self._config.references
                )
            )
        )
        if found:
            near = lambda: memory.at_place(described, found, self._config.window)  # noqa: E731
            took["search at the same place"] = seconds(near)
        took["search everywhere"] = seconds(lambda: memory.anywhere(described, none))
        took["masks"] = seconds(lambda: view.masks(PROPOSER))
        return took


def network() -> Callable[[torch.Tensor], torch.Tensor]:
    """One forward pass ``(1, 3, H, W)`` -> ``(1, 1000)``."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model(NETWORK, pretrained=False).eval()

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = model(pixels)
        return found

    return forward


def measure(features: str | None, rounds: int) -> dict[str, object]:
    """Ratios and seconds, medians over rounds."""
    shots, queries = pictures(SHOTS), pictures(SHOTS + rounds + 1)[SHOTS:]
    name = features or profiles.PROFILES["builtin"]["feature_extractor"]
    chosen = {"feature_extractor": name}
    detectors = {
        title: fmlad.Detector.from_shots(shots, profile="builtin", backbones=chosen, banks=banks)
        for title, banks in (("patch bank", ("patch",)), ("all banks", BANKS))
    }
    components, forward = Components(shots, name), network()
    times: dict[str, list[float]] = defaultdict(list)
    ratios: dict[str, list[float]] = defaultdict(list)
    for number, query in enumerate(queries):
        pixels = torch.from_numpy(query.copy()).permute(2, 0, 1)[None].float() / 255
        took = {"network": seconds(lambda pixels=pixels: forward(pixels))}
        for title, detector in detectors.items():
            took[f"predict, {title}"] = seconds(lambda d=detector, query=query: d.predict(query))
        took |= {f"of it, {title}": value for title, value in components(query).items()}
        if number:  # the first round warms up
            for title, value in took.items():
                times[title].append(value)
                ratios[title].append(value / took["network"])
    figures: dict[str, object] = {
        "features": name,
        "size, px": "x".join(map(str, queries[0].shape[1::-1])),
        f"{NETWORK}, s": round(statistics.median(times.pop("network")), 3),
    }
    for title, values in times.items():
        figures[title] = {
            "s": round(statistics.median(values), 4),
            "over the network": round(statistics.median(ratios[title]), 2),
        }
    return figures | {"threads": torch.get_num_threads()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--features", metavar="NAME", help="default: the builtin profile's")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    figures = measure(given.features, given.rounds)
    protocol = f"scenes pushpins at {SIDE} px, {SHOTS} shots, one thread, medians of {given.rounds}"
    keep("feature-cost", protocol, figures)


if __name__ == "__main__":
    main()
