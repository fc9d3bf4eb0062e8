"""Options of the making of pseudo-labels, each with its source.

"Paper" is CSAD (Hsieh and Lai, BMVC 2024), "code" its released code, "ours" what was measured or
decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from fmlad.methods.csad.selection import Share
from fmlad.methods.options import CHECKED, SEVERAL, preset_with

Mode = Literal["auto", "fine", "coarse"]
Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Words = Annotated[tuple[str, ...], SEVERAL]


@dataclass(frozen=True, config=CHECKED)
class PseudoConfig:
    """Numbers of the chain from masks to pseudo-labels; the defaults are those of ``"paper"``.

    Attributes:
        mode: ``"fine"``: automatic masks through the filters; ``"coarse"``: grounded masks (paper).
            ``"auto"`` (ours): the masks that the proposer prefers itself, where it offers that
            choice; else coarse with tags, and fine without.
        tags: Phrases that are grounded; empty: nothing is.
        background: Tags that are of the background, whose masks are set aside (code).
        box_threshold: Confidence of a box; those of the grounder's own threshold come first, so
            that this can only raise it (code 0.15 to 0.30, by product).
        filter_by_grounding: In the fine mode, whether masks must lie in what was grounded.
        rotations: Of a component's picture (paper 60).
        projection: Dimensions of the random projection (code 512); 0: none.
        size: Weight of the logarithm of a component's diagonal, as a share of the image's longer
            side, beside the network's features at a typical distance of 1; ``shape``: of the
            logarithm of its rectangle's sides' ratio; ``colour``: of its mean Lab colour over 100
            (ours: small networks tell neither well; paper 0).
        bandwidth: Of MeanShift (paper 3.5, and 3 for the screw bag, for the features of a Wide
            ResNet-50 through a projection to 512); None: the smallest from which on hardly any
            component joins a frequent cluster when it grows (ours).
        frequent: Share of the number of images that a cluster must have members, at least
            (paper 0.5).
        largest: Whether labelled images are of the largest cluster of histograms alone (paper; the
            code decides by product).
        share: ``"all"`` members of a cluster (paper), or the ``"half"`` next to its mean (code).
        fill_holes: Whether holes of each class are filled (paper: for two products).
        kept_side: Pixels of the longer side of label maps, at most (ours; the code keeps the
            image's own).
    """

    mode: Mode = "auto"
    tags: Words = ()
    background: Words = ()
    box_threshold: Fraction = 0.0
    filter_by_grounding: bool = False
    rotations: Positive = 60
    projection: Annotated[int, Field(ge=0)] = 512
    size: Weight = 0.0
    shape: Weight = 0.0
    colour: Weight = 0.0
    bandwidth: Annotated[float, Field(gt=0)] | None = None
    frequent: Fraction = 0.5
    largest: bool = True
    share: Share = "all"
    fill_holes: bool = False
    kept_side: Annotated[int, Field(ge=64)] = 1024


PRESETS: Mapping[str, PseudoConfig] = MappingProxyType(
    {
        "paper": PseudoConfig(),
        "code": PseudoConfig(share="half"),
        "cpu": PseudoConfig(
            rotations=6, projection=48, size=1.5, shape=0.7, colour=1.0, frequent=0.25,
            largest=False, kept_side=512,
        ),
    }
)  # fmt: skip


def pseudo_config(preset: str = "paper", **changes: Any) -> PseudoConfig:
    """A preset with changes; see :func:`fmlad.methods.options.preset_with`."""
    return preset_with(PRESETS, preset, changes, "the pseudo-labels")
