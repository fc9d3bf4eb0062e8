"""Pictures of each stage of the pseudo-labels: why did this part vanish?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fmlad.methods.csad.pseudo_config import PseudoConfig
from fmlad.methods.csad.pseudo_labels import PseudoLabels
from fmlad.views import ImageView


def write_report(
    folder: Path, views: Sequence[ImageView], said: PseudoLabels, config: PseudoConfig
) -> None:
    """To be written."""
