"""A prompt set on normal images: what is counted in each, and which declared rules they break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from fmlad import draw
from fmlad.errors import OptionError
from fmlad.methods.clip_lad.config import ClipLadConfig
from fmlad.methods.clip_lad.method import ClipLad
from fmlad.methods.protocol import FitContext
from fmlad.objects.rule_checks import RuleCheck
from fmlad.pipeline import check_rules
from fmlad.progress import Progress
from fmlad.prompts import PromptSet
from fmlad.views import ImageView


@dataclass(frozen=True)
class OnShots:
    """A prompt set tried on normal images.

    Attributes:
        counts: For each image its name and the number of objects of each part.
        checks: Each declared rule on all of them.
        pictures: Those written, in the order of the images; none without a folder.
    """

    counts: tuple[tuple[str, Mapping[str, int]], ...]
    checks: tuple[RuleCheck, ...]
    pictures: tuple[Path, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "counts": [{"image": name, "parts": dict(parts)} for name, parts in self.counts],
            "rules": [{**one.to_dict(), "suspect": one.suspect} for one in self.checks],
            "pictures": [str(path) for path in self.pictures],
        }

    def lines(self) -> list[str]:
        """For people: a line an image, then a line a rule."""
        told = [
            f"  {name}: " + (", ".join(f"{n} x {part!r}" for part, n in parts.items()) or "nothing")
            for name, parts in self.counts
        ]
        told += [f"  {one.describe()}" for one in self.checks]
        return told if self.checks else [*told, "  no rules are declared (expect:)"]


def on_shots(
    prompts: PromptSet, views: Sequence[ImageView], out: Path | None, progress: Progress
) -> OnShots:
    """Divides normal images into the parts of a set, as a detector fitted to them would.

    Args:
        prompts: The set.
        views: The images.
        out: Folder for pictures with the parts outlined and counted; None: no pictures.
        progress: Called as ``progress(done, total, what)``.

    Raises:
        PromptError: A word cannot be grounded.
        OptionError: The pictures cannot be written.
    """
    method = ClipLad(ClipLadConfig(branches=("declared",)))
    state = method.fit(views, FitContext(prompts=prompts, progress=progress))
    counts, pictures = [], []
    for number, view in enumerate(views, start=1):
        parts = method.evidence(view, state).segmentation
        if parts is None:
            continue
        counts.append((view.name, parts.counts()))
        if out is not None:
            shown = draw.outlines(
                Image.fromarray(view.pixels), parts.labels, parts.names, parts.objects
            )
            path = out / f"{number:04d}-{Path(view.name).stem}.png"
            try:
                out.mkdir(parents=True, exist_ok=True)
                shown.save(path)
            except OSError as error:
                raise OptionError(f"The pictures cannot be written: {error}.") from error
            pictures.append(path)
    return OnShots(tuple(counts), check_rules(method, state, views), tuple(pictures))
