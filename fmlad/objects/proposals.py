"""Object proposals of a view, described once."""

from __future__ import annotations

from fmlad.objects.appearance import Proposals, describe_proposals
from fmlad.views import ImageView

PROPOSER = "mask_proposer"


def view_proposals(view: ImageView) -> Proposals:
    """Proposals of the mask proposer, described by the finest features of the view."""
    if "proposals" not in view.memo:
        levels = view.pyramid().levels
        view.memo["proposals"] = describe_proposals(
            view.pixels, view.masks(PROPOSER), levels[min(levels)]
        )
    proposals: Proposals = view.memo["proposals"]
    return proposals
