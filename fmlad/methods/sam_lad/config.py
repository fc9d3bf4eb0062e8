"""Options of ``sam-lad``, each with its source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from fmlad.backbones.upsampling import FACTORS
from fmlad.methods.options import CHECKED
from fmlad.methods.sam_lad.matching import Mode
from fmlad.methods.sam_lad.measurement import Align
from fmlad.objects.proposals import How, Phrases
from fmlad.scoring.fusion import Combine


def _known_factor(factor: int) -> int:
    if factor not in FACTORS:
        raise ValueError(f"should be one of {FACTORS}")
    return factor


@dataclass(frozen=True, config=CHECKED)
class SamLadConfig:
    """Options of the method.

    Attributes:
        preset: ``"paper"``: SAM-LAD as published, which has the options ``neighbours``,
            ``epsilon``, ``unmatched``, ``light``, ``upsample`` and ``templates`` and none of the
            others; ``"default"``: with all that was added here.
        neighbours: References k of a query. None: 2 with the preset ``"paper"``, else 16, or as
            many as there are below that, because the Gaussian of section 3.6 needs them (ours).
        descriptor: ``"gap"``, ``"gmp"``, ``"residual"`` (DCGA mended) or ``"literal"`` (DCGA as
            published). The default won on scenes not reported.
        form: Whether colour, size and shape of the masks count in matching (ours).
        place: Whether the place may count, where the shots are arranged (ours).
        temperature: Of the soft assignment, on an affinity in nats (ours).
        align: How an object's places are brought upon its references': ``"box"``,
            ``"orientation"`` as well (ours), or ``"none"`` (paper).
        pooled: Whether whole objects are measured by a Gaussian whose covariance all objects share
            (ours); needs ``align`` and three shots. Otherwise the mean over their places decides.
        rematching: Whether, where the shots are arranged, what the proposer may have cut wrongly is
            measured in the boxes of the references before it counts as extra or missing (ours).
        match_statistics: Whether a missing or an extra object counts by how rare that is between
            shots (ours); otherwise each counts the same.
        confirmation: Whether objects count only where patches changed, on images that register to
            the shots (ours); needs ``background``.
        epsilon: Ridge of the covariance of a place (PaDiM's; the paper gives none).
        unmatched: Weight c of unmatched objects in equation 14 (ours; the paper gives none).
        light: Equation 16: unmatched objects alone are measured.
        background: Whether the patch bank measures what lies outside all objects (ours).
        upsample: Factor by which feature maps are sharpened first; more than 1 asks for an
            upsampler. None: where there is one, the factor that comes nearest to the paper's grid
            of 128 cells (there 8, from 16) without passing it; 1 elsewhere. ``foundation`` has one
            without being asked.
        templates: At most this many shots (2 or more) are remembered, those that leave no other far
            off.
        smoothing: Gaussian sigma in cells on the map of measured places (PatchCore's).
        fusion: ``"maximum"`` of the scaled branches, or their ``"sum"``.
        proposals: Where objects come from: ``"automatic"`` masks, ``"grounded"`` ones (a mask for
            each box that answers one of the phrases; CSAD), or ``"both"``.
        phrases: What is grounded: ``"screw, nut"``, a list, or ``"prompts:NAME"`` for the words of
            a prompt set; none: what a tagger sees in half of the shots.
    """

    preset: Literal["default", "paper"] = "default"
    neighbours: Annotated[int, Field(ge=1, le=64)] | None = None
    descriptor: Mode = "gap"
    form: bool = True
    place: bool = True
    temperature: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    align: Align = "box"
    pooled: bool = True
    rematching: bool = True
    match_statistics: bool = True
    confirmation: bool = True
    epsilon: Annotated[float, Field(ge=1e-6, le=1e3)] = 0.01
    unmatched: Annotated[float, Field(ge=0, le=100)] = 2.0
    light: bool = False
    background: bool = True
    upsample: Annotated[int, AfterValidator(_known_factor)] | None = None
    templates: Annotated[int, Field(ge=2, le=4096)] = 64  # so that one stays in leave-one-out
    smoothing: Annotated[float, Field(ge=0, le=16)] = 1.0
    fusion: Combine = "maximum"
    proposals: How = "automatic"
    phrases: Phrases = ()
