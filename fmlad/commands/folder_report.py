"""The page that ``fmlad predict --report`` writes, and the file of ``--csv``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fmlad.errors import OptionError
from fmlad.explain import verdict_word
from fmlad.table import COLUMNS

if TYPE_CHECKING:
    from markupsafe import Markup

    from fmlad.detector import Detector
    from fmlad.prediction import Failure, Prediction
    from fmlad.scoring.calibration import Calibration

THUMBNAIL = 160  # px of the longer side
BINS, WIDTH, HEIGHT = 24, 640, 120


@dataclass(frozen=True)
class Entry:
    """What the page shows of one picture; pictures as the source of an ``img``."""

    number: int
    name: str
    word: str
    score: float
    thumbnail: str
    picture: str | None
    overlay: str | None
    findings: Sequence[tuple[str, Sequence[str]]]
    nearest: str | None
    notes: Sequence[str]


@dataclass
class FolderReport:
    """Collects verdicts one by one; only small pictures of them stay in memory."""

    entries: list[Entry] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, outcome: Prediction | Failure) -> None:
        """Remembers one verdict, pictures of what is not normal included."""
        from PIL import Image

        from fmlad import draw
        from fmlad.draw import embedded
        from fmlad.prediction import Failure

        if isinstance(outcome, Failure):
            self.failures.append(str(outcome.error))
            return
        picture = Image.fromarray(outcome.pixels)
        odd = outcome.decision != "ok"
        findings = [
            (one.text, [embedded(picture, draw.CROP_SIDE) for picture in outcome.crops(number)])
            for number, one in enumerate(outcome.findings if odd else (), start=1)
        ]
        self.entries.append(
            Entry(
                len(self.entries) + 1,
                outcome.name,
                verdict_word(outcome.decision),
                outcome.score,
                embedded(picture, THUMBNAIL, 75),
                embedded(picture) if odd else None,
                embedded(outcome.overlay()) if odd else None,
                findings,
                outcome.nearest.name if outcome.nearest else None,
                outcome.notes,
            )
        )

    def write(self, path: Path, title: str, summary: str, detector: Detector) -> Path:
        """Writes one file that needs nothing beside it.

        Raises:
            OptionError: It cannot be written.
        """
        from fmlad.report import write

        calibration, power = detector.calibration, detector.power
        shown = _short([entry.name for entry in self.entries])
        named = [replace(e, name=name) for e, name in zip(self.entries, shown, strict=True)]
        entries = sorted(named, key=lambda entry: -entry.score)
        return write(
            path, "folder.html", title=title, summary=summary, entries=entries,
            failures=self.failures, threshold=calibration.threshold,
            threshold_from=calibration.describe(), sure_above=calibration.sure_above,
            power=power.describe() if power else [], notes=detector.notes,
            histogram=_histogram([entry.score for entry in entries], calibration),
        )  # fmt: skip


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """A table of verdicts, one a line, in the order of ``fmlad.table.COLUMNS``.

    Raises:
        OptionError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
    except OSError as error:
        raise OptionError(f"The table cannot be written to {path}: {error}.") from error


def _short(names: Sequence[str]) -> list[str]:
    """File names; with their folders where two would be the same."""
    for parts in range(1, 4):
        short = ["/".join(Path(name).parts[-parts:]) for name in names]
        if len(set(short)) == len(short):
            return short
    return list(names)


def _histogram(scores: Sequence[float], calibration: Calibration) -> Markup:
    """Scores as bars, the threshold and where certainty begins as lines."""
    import numpy as np
    from markupsafe import Markup

    if not scores:
        return Markup("")
    marks = {"threshold": calibration.threshold, "certain": calibration.sure_above}
    lines = {name: value for name, value in marks.items() if value is not None}
    top = 1.05 * max(*scores, *lines.values(), 1e-9)
    counts, edges = np.histogram(scores, BINS, (0, top))
    unit = HEIGHT / max(int(counts.max()), 1)
    bars = "".join(
        f"<rect x='{edge / top * WIDTH:.1f}' y='{HEIGHT - count * unit:.1f}' "
        f"width='{WIDTH / BINS - 2:.1f}' height='{count * unit:.1f}' fill='#6b8fc9'/>"
        for edge, count in zip(edges, counts, strict=False)
    )
    drawn = "".join(
        f"<line x1='{x:.1f}' x2='{x:.1f}' y1='0' y2='{HEIGHT}' stroke='#c9473d'/>"
        f"<text x='{x + 4:.1f}' y='{12 + 14 * row}'>{name} {value:.2f}</text>"
        for row, (name, value) in enumerate(lines.items())
        for x in [value / top * WIDTH]
    )
    size = f"viewBox='0 0 {WIDTH} {HEIGHT + 18}' width='{WIDTH}'"
    axis = f"<text x='0' y='{HEIGHT + 14}'>0</text><text x='{WIDTH - 40}' y='{HEIGHT + 14}'>"
    label = "role=img aria-label='histogram of scores'"
    return Markup(f"<svg {size} {label}>{bars}{drawn}{axis}{top:.2f}</text></svg>")
