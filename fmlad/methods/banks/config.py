"""Options of ``banks``, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from fmlad.augment import Symmetry
from fmlad.methods.options import CHECKED, SEVERAL
from fmlad.objects.proposals import How, Phrases
from fmlad.scoring.fusion import Combine

Bank = Literal["patch", "histogram", "composition", "combination"]
BANKS: tuple[Bank, ...] = get_args(Bank)
OF_PARTS = ("histogram", "composition", "combination")

# Smallest and largest scale of each branch (ours). Counts are measured in nats, a unit that needs
# no shots to be understood: one object too many after four equal counts is worth about 2 of them
# beyond chance, twice what is odd about the patches of a left-out shot. Composition and combination
# are noisier on normal images and weigh less (chosen on scenes of world 1).
BOUNDS: Mapping[str, tuple[float, float]] = {
    "histogram": (1.0, 6.0),
    "composition": (6.0, 24.0),
    "combination": (1.5, 6.0),
}
# Scaled by the mean of the left-out shots' scores: their largest says more about chance. Chosen on
# scenes of worlds 1 and 2: logical / structural AUROC 0.80 / 0.78 -> 0.78 / 0.81.
BY_MEAN = ("patch", "histogram", "combination")

Fixed = Literal["keep", "drop"]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=CHECKED)
class BanksConfig:
    """Options of the method.

    Attributes:
        banks: Banks to use, out of ``"patch"``, ``"histogram"``, ``"composition"`` and
            ``"combination"`` (ours); all but the first ask for a mask proposer.
        levels: Number of pyramid levels compared, finest first (all, where there are fewer), by the
            geometric mean of their distances: what is odd must be odd on all of them (ours).
        symmetry: Mirrored and turned copies of the shots to remember as well, for products without
            a fixed orientation: ``"none"``, ``"flips"``, ``"rotations"`` or ``"all"`` (ours).
        registration: Whether to look for the same place at all (ours).
        hierarchy: Whether to count at all levels of similarity or at the finest alone (ours).
        place: Whether the place of parts counts where the shots are arranged alike (ours).
        loose_places: Whether places weigh the less the more freely objects lie (ours).
        extents: Whether size and proportions of an object are compared with those of its
            counterparts, in the combination bank (ours).
        relations: Whether two objects are compared with each other there, where the shots' are
            alike in size or proportions whatever those are (ours).
        together: Whether colours and forms must occur together as in one of the shots (ours).
        scaling: Whether branches are scaled by the left-out shots (PSAD) or added as they are.
        fusion: ``"norm"`` of the scaled branches or their ``"maximum"`` (both ours), or their
            ``"sum"`` (PSAD; with one shot always).
        shot_confidence: Edge correlation from which shots count as registered to each other; place
            is asked for when most of them are (ours).
        query_confidence: The same for a query; lower, because what is wrong with it costs
            correlation, while a registration by chance stays far below (ours).
        references: At most this many shots, the nearest by pooled features, are registered (ours;
            SAM-LAD's template bank has 2).
        window: Half width in cells of the search around the same place (ours).
        smoothing: Gaussian sigma in cells on the distance map; makes the maximum robust against
            one odd cell (PatchCore: sigma 4 px at a stride of 8 px is half a cell).
        variation: Share of the distance of the nearest patch to the other shots that is taken off
            the distance to it, in the search anywhere and with at least three shots (ours).
        fixtures: Whether objects that lie at the same place in every shot while others move (tray
            bolts, say) are counted: ``"keep"`` or ``"drop"`` (ours).
        background: What is common to a whole map is taken off in the search anywhere: its median,
            and its 0.9-quantile above that as far as this many times the largest of a left-out
            shot; 0: the median alone, None: nothing (ours).
        proposals: Where objects come from: ``"automatic"`` masks, ``"grounded"`` ones (a mask for
            each box that answers one of the phrases; CSAD), or ``"both"``.
        phrases: What is grounded: ``"screw, nut"``, a list, or ``"prompts:NAME"`` for the words of
            a prompt set; none: what a tagger sees in half of the shots.
    """

    banks: Annotated[
        tuple[Bank, ...],
        SEVERAL,
        Field(min_length=1),
    ] = BANKS
    levels: Annotated[int, Field(ge=1, le=8)] = 2
    symmetry: Symmetry = "none"
    registration: bool = True
    hierarchy: bool = True
    place: bool = True
    loose_places: bool = True
    extents: bool = True
    relations: bool = True
    together: bool = True
    scaling: bool = True
    fusion: Combine = "norm"
    shot_confidence: Share = 0.8
    query_confidence: Share = 0.5
    references: Annotated[int, Field(ge=1, le=1000)] = 8
    window: Annotated[int, Field(ge=0, le=16)] = 1
    smoothing: Annotated[float, Field(ge=0, le=16)] = 1.0
    variation: Share = 0.4
    background: Annotated[float, Field(ge=0, le=100)] | None = 1.5
    fixtures: Fixed = "keep"
    proposals: How = "automatic"
    phrases: Phrases = ()
