"""Object proposals of a view, described once."""

from __future__ import annotations

from fmlad.objects.appearance import Proposals, describe_proposals
from fmlad.views import ImageView

PROPOSER = "mask_proposer"


def view_proposals(view: ImageView) -> Proposals:
    """Proposals of the mask proposer, described by the appearance of the view."""
    if "proposals" not in view.memo:
        view.memo["proposals"] = describe_proposals(
            view.pixels, view.masks(PROPOSER), view.pyramid().cells
        )
    proposals: Proposals = view.memo["proposals"]
    return proposals
