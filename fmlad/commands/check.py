"""``fmlad check``: what a saved detector will see."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmlad.commands import output
from fmlad.commands.output import Json
from fmlad.errors import OptionError


def check(
    detector: Annotated[Path, typer.Argument(help="Folder of a saved detector.")],
    as_json: Json = False,
) -> None:
    """Print what a detector catches of damaged and rearranged copies of its normal images."""
    from fmlad import storage

    saved = storage.read(detector)
    power = storage.restore_power(saved)
    if power is None:
        raise OptionError(
            f"The detector in {detector} was never tried on altered copies, and keeps no originals "
            f"to make some of. Fit it again with `fmlad fit ... --check`, the default."
        )
    if as_json:
        output.print_json(power.to_dict())
    else:
        output.print_power(power)
