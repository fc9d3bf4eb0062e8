"""``fmlad check``: what a saved detector will see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fmlad.commands import output
from fmlad.commands.output import Device, Json
from fmlad.errors import OptionError

if TYPE_CHECKING:
    from fmlad.power import PowerCheck


def check(
    detector: Annotated[Path, typer.Argument(help="Folder of a saved detector.")],
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Print what a detector catches of damaged and rearranged copies of its normal images.

    Tries it first, and saves that, where it was not tried since its last change.
    """
    from fmlad import storage

    saved = storage.read(detector)
    power = storage.restore_power(saved)
    if power is None:
        if saved.originals is None:
            raise OptionError(
                f"The detector in {detector} was never tried on altered copies, and keeps no "
                f"original images to make some of. Fit it again with `fmlad fit ... --check`, the "
                f"default."
            )
        power = _try(detector, device, as_json)
    if as_json:
        output.print_json(power.to_dict())
    else:
        output.print_power(power)


def _try(folder: Path, device: str, quiet: bool) -> PowerCheck:
    from fmlad.detector import Detector

    detector = Detector.load(folder, device=device)
    with output.interruptible(), output.progress(quiet=quiet) as progress:
        power = detector.power_check(progress=progress)
    detector.save(folder)
    return power
