"""A self-contained HTML page with pictures and verdicts."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fmlad.detector import Detector
from fmlad.errors import OptionError
from fmlad.explain import verdict_word
from fmlad.io.images import load_image
from fmlad.prediction import Prediction

PICTURE_SIDE = 420  # px of the embedded pictures' longer side


@dataclass(frozen=True)
class Case:
    """A judged picture with what is known about it.

    Attributes:
        prediction: The verdict.
        truth: What it really is, in words.
        anomalous: Whether it really is anomalous.
    """

    prediction: Prediction
    truth: str
    anomalous: bool

    @property
    def right(self) -> bool:
        """Whether the verdict agrees with the truth."""
        return self.prediction.is_anomalous == self.anomalous


def write_report(
    path: Path,
    *,
    title: str,
    lead: str,
    summary: str,
    shots: Sequence[Path],
    detector: Detector,
    cases: Sequence[Case],
) -> Path:
    """Writes one HTML file that needs nothing beside it.

    Args:
        path: The file.
        title: Heading.
        lead: What was done, in a sentence or two.
        summary: What came out, in a sentence or two.
        shots: The pictures the detector was fitted on.
        detector: For the threshold and where it came from.
        cases: The judged pictures, in the order shown.
    """
    threshold = detector.threshold
    parts = [
        f"<h1>{html.escape(title)}</h1><p>{html.escape(lead)}</p>",
        f"<p class=big>{html.escape(summary)}</p>",
        "<h2>How to read this</h2><ul>",
        "<li><b>Score</b>: 1.0 is as odd as the oddest normal picture is to the others; "
        f"above {threshold:.2f} a picture is called anomalous "
        f"({html.escape(detector.calibration.describe())})."
        if threshold is not None
        else "<li><b>Score</b>: higher is odder; no threshold is set.",
        "<li><b>Heat</b>: from violet to yellow where the picture differs from all normal ones; "
        "places below half of the threshold keep their colours.",
        "<li><b>Numbered boxes</b> belong to the numbered sentences.",
        "<li><b>Outlines</b>: the parts that were told apart, with their counts. Nobody named "
        "them, so they are called by what can be seen.</ul>",
        "<h2>The normal pictures</h2><div class=shots>",
        *(f"<img src='{embed(Image.fromarray(load_image(shot)))}' alt=shot>" for shot in shots),
        "</div><h2>The verdicts</h2>",
        *(_case(case) for case in cases),
    ]
    return write_page(path, title, parts)


def write_page(path: Path, title: str, parts: Sequence[str], style: str = "") -> Path:
    """Writes pieces of HTML as one page in the house's style, light or dark as the reader has it.

    Args:
        path: The file.
        title: Of the page; everything else is taken as HTML as it stands.
        parts: The body.
        style: CSS beyond the house's.

    Raises:
        OptionError: The file cannot be written.
    """
    page = (
        _PAGE.replace("%TITLE%", html.escape(title))
        .replace("%STYLE%", style)
        .replace("%BODY%", "\n".join(parts))
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise OptionError(f"The report cannot be written to {path}: {error}.") from error
    return path


def _case(case: Case) -> str:
    prediction = case.prediction
    sentences = "".join(f"<li>{html.escape(f.text)}</li>" for f in prediction.findings)
    notes = "".join(f"<p class=note>{html.escape(note)}</p>" for note in prediction.notes)
    mark = "right" if case.right else "wrong"
    return (
        f"<section class='{mark}'>"
        f"<img src='{embed(Image.fromarray(prediction.pixels))}' alt='the picture'>"
        f"<img src='{embed(prediction.overlay())}' alt='heat and boxes'>"
        f"{_parts(prediction)}"
        f"<div><h3>{html.escape(verdict_word(prediction))}"
        f" <small>score {prediction.score:.2f}</small></h3>"
        f"<p>In truth: <b>{html.escape(case.truth)}</b>"
        f" <span class=mark>{'&#10003; right' if case.right else '&#10007; wrong'}</span></p>"
        f"<ol>{sentences}</ol>{notes}</div></section>"
    )


def _parts(prediction: Prediction) -> str:
    if prediction.segmentation is None:
        return ""
    return f"<img src='{embed(prediction.parts_overlay())}' alt='parts with their counts'>"


def embed(picture: Image.Image) -> str:
    """A small picture as the source of an ``img``."""
    small = picture.copy()
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


_PAGE = """<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>%TITLE%</title><style>
:root{color-scheme:light dark;--ink:#222;--paper:#fff;--faint:#666;--line:#ddd;--good:#2c7a47;
--bad:#b3362d}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--paper:#16181b;--faint:#a0a4aa;
--line:#3a3e44;--good:#63c988;--bad:#ff8a80}}
body{font:16px/1.5 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;
color:var(--ink);background:var(--paper)}
h1{margin-bottom:.2em}.big{font-size:1.15em}small{font-weight:normal;color:var(--faint)}
.shots img{height:150px;margin:0 6px 6px 0;border-radius:4px}
section{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:14px;
margin:0 0 18px;padding:12px;
border:1px solid var(--line);border-left:6px solid #3a9a5b;border-radius:6px}
section.wrong{border-left-color:#c9473d}section img{width:100%;border-radius:4px}
h3{margin:0}ol{padding-left:1.2em;margin:.3em 0}p{margin:.4em 0}
.note{color:var(--faint);font-size:.9em}
.right .mark{color:var(--good)}.wrong .mark{color:var(--bad)}
@media(max-width:800px){section{grid-template-columns:1fr}}
%STYLE%</style></head><body>
%BODY%
</body></html>
"""
