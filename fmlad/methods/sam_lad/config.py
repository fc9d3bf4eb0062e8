"""Options of ``sam-lad``, each with its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fmlad.backbones.upsampling import FACTORS
from fmlad.errors import OptionError
from fmlad.methods.sam_lad.descriptors import Mode
from fmlad.methods.sam_lad.object_maps import Align
from fmlad.scoring.fusion import Combine

Matching = Literal["learned", "literal"]


@dataclass(frozen=True)
class SamLadConfig:
    """Options of the method.

    Attributes:
        neighbours: References k of a query (paper: 2; ours 16, as many as there are below that,
            because the Gaussian of section 3.6 needs them).
        descriptor: ``"gap"``, ``"gmp"``, ``"residual"`` (DCGA mended) or ``"literal"`` (DCGA as
            published). The default won on scenes not reported.
        matching: ``"learned"``: likeness in units and with a dustbin learned from the shots (ours);
            ``"literal"``: cosines and SuperGlue's dustbin.
        form: Whether colour, size and shape of the masks count in matching (ours).
        place: Whether the place may count, where the shots are arranged (ours).
        temperature: Of the soft assignment, on a likeness in nats (ours).
        align: How an object's places are brought upon its references': ``"box"``,
            ``"orientation"`` as well (ours), or ``"none"`` (paper).
        pooled: Whether whole objects are measured by a Gaussian whose covariance all objects share
            (ours); needs ``align`` and three shots. Otherwise, the mean over their places tells.
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
    """

    neighbours: int = 16
    descriptor: Mode = "gap"
    matching: Matching = "learned"
    form: bool = True
    place: bool = True
    temperature: float = 1.0
    align: Align = "box"
    pooled: bool = True
    rematching: bool = True
    match_statistics: bool = True
    confirmation: bool = True
    epsilon: float = 0.01
    unmatched: float = 2.0
    light: bool = False
    background: bool = True
    upsample: int | None = None
    templates: int = 64
    smoothing: float = 1.0
    fusion: Combine = "maximum"

    def __post_init__(self) -> None:
        for name, known in (
            ("descriptor", get_args(Mode)),
            ("matching", get_args(Matching)),
            ("align", get_args(Align)),
            ("fusion", get_args(Combine)),
            ("upsample", (None, *FACTORS)),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or value not in known:
                raise OptionError(f"{name}={value!r} is not one of {known}.")
        for name in (
            "form", "place", "pooled", "light", "background", "rematching", "match_statistics",
            "confirmation",
        ):  # fmt: skip
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name} must be True or False, got {getattr(self, name)!r}.")
        for name, low, high, kind in (
            ("neighbours", 1, 64, int),
            ("templates", 2, 4096, int),  # so that one stays when the other is left out
            ("temperature", 0.01, 100.0, float),
            ("epsilon", 1e-6, 1e3, float),
            ("unmatched", 0.0, 100.0, float),
            ("smoothing", 0.0, 16.0, float),
        ):
            value = getattr(self, name)
            fits = isinstance(value, int if kind is int else (int, float))
            if isinstance(value, bool) or not fits or not low <= value <= high:
                raise OptionError(
                    f"{name} must be {kind.__name__} in [{low}, {high}], got {value!r}."
                )
