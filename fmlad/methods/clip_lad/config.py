"""Options of ``clip-lad``, each with its source, and the bounds of its branches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from fmlad.methods.clip_lad.coarse_to_fine import Stages
from fmlad.methods.clip_lad.histogram import Distance
from fmlad.methods.options import CHECKED, SEVERAL

Joined = Literal["maximum", "sum", "mahalanobis"]
Route = Literal["words", "nearest"]
Branch = Literal["histogram", "count", "layout", "patch", "declared"]

# Smallest and largest scale of each branch in natural units (ours). Counts are in nats and stay so:
# one object too many after four equal counts is worth about 3.5, which is to outweigh areas that
# vary. Places and sizes are in nats, and in what the shots surprise each other by if that is more.
# Areas that hardly vary over the shots are not trusted below a quarter (a log ratio). A broken rule
# is worth 1 an object.
BOUNDS: Mapping[str, tuple[float, float]] = {
    "histogram": (0.25, np.inf),
    "count": (1.0, 1.0),
    "layout": (1.0, np.inf),
    "declared": (0.5, 2.0),
}
# Areas, counts, places and sizes are in nats, and rules in objects: their own units until there are
# images enough to learn others from.
UNITS: Mapping[str, float] = {"histogram": 1.0, "count": 1.0, "layout": 1.0, "declared": 0.5}


@dataclass(frozen=True, config=CHECKED)
class ClipLadConfig:
    """Options of the method.

    Attributes:
        clusters: Number of clusters of the coarse stage, or ``"auto"``: the one whose foreground
            varies least over the shots (ours; the paper tunes it per category, figure 4). Without
            effect where a mask proposer finds the regions.
        stage: ``"both"`` stages (the paper), or ``"coarse"`` or ``"fine"`` alone, for comparison.
        distance: Of histograms: ``"log"`` (ours), ``"ratio"``, or ``"literal"``, Eq. 2 as printed.
        fusion: ``"mahalanobis"`` (Eq. 4, corrected), where few images alone only scale the patches
            and other branches keep their units (ours; a single shot's branches add up), or
            ``"sum"`` or ``"maximum"`` of the branches, each divided by its largest left-out score
            (PSAD). Figures are in ``docs/clip-lad.md``.
        two_sided: Whether scores below the mean of normal images count in Eq. 4, as printed.
        branches: Out of ``"histogram"`` and ``"patch"`` (the paper), ``"count"``, ``"layout"`` and
            ``"declared"`` (ours).
        levels: Levels of a feature extractor to compare patches on, finest first, where the text
            aligner has no stages (ours).
        smoothing: Gaussian sigma in cells on the distance map (ours, as in the banks; the paper has
            none).
        route: With a group of prompt sets, whether an image is judged as the kind whose ``"words"``
            fit it best or as that of its ``"nearest"`` shot by pooled features (PSAD's rule); ours.
    """

    clusters: Annotated[int, Field(ge=2, le=256)] | Literal["auto"] = "auto"
    stage: Stages = "both"
    distance: Distance = "log"
    fusion: Joined = "mahalanobis"
    two_sided: bool = False
    branches: Annotated[tuple[Branch, ...], SEVERAL, Field(min_length=1)] = (
        "histogram",
        "count",
        "layout",
        "patch",
        "declared",
    )
    levels: Annotated[int, Field(ge=1, le=8)] = 1
    smoothing: Annotated[float, Field(ge=0, le=16)] = 1.0
    route: Route = "words"
