"""What the page says, as HTML. Every word that comes from an upload is escaped here."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from fmlad.app.service import Problem, Result, Seen, Verdict
from fmlad.detector import ShotReport
from fmlad.findings import Box, Finding

# Colours come from the theme wherever they can, so that light and dark both work.
STYLE = """
.fm h3 { margin: 0 0 .4em; font-size: 1rem; font-weight: 600; }
.fm p { margin: .2em 0; }
.fm .quiet { color: var(--body-text-color-subdued); }
.fm .badge { display: inline-block; padding: .1em .7em; border-radius: 1em; font-weight: 600;
  color: #fff; background: #64748b; white-space: nowrap; }
.fm .badge.anomalous { background: #b91c1c; }
.fm .badge.normal { background: #15803d; }
.fm .verdict { font-size: 1.25rem; display: flex; gap: .6em; align-items: center; flex-wrap: wrap; }
.fm .message { border-left: 4px solid #b91c1c; background: var(--background-fill-secondary);
  padding: .7em 1em; border-radius: 4px; }
.fm .message.mild { border-color: #d97706; }
.fm .message.hint { border-color: var(--border-color-primary); }
.fm .message ul, .fm .message ol { margin: .3em 0 0; padding-left: 1.3em; }
.fm .message ul { list-style: disc; }
.fm .message ol { list-style: decimal; }
.fm .message.mild ul { max-height: 11em; overflow-y: auto; }
.fm .scroll { overflow-x: auto; }
.fm table, .fm thead, .fm tbody, .fm tr { border: 0 !important; background: none !important; }
.fm table { border-collapse: collapse; width: 100%; font-size: .9rem; margin: 0; }
.fm th, .fm td { text-align: left; vertical-align: top; padding: .35em .8em .35em 0;
  border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important;
  overflow-wrap: break-word; }
.fm th { font-weight: 600; color: var(--body-text-color-subdued); white-space: nowrap; }
.fm .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.fm h3:not(:first-child) { margin-top: .9em; }
.fm .whole { white-space: nowrap; }
.fm .strip { display: flex; flex-wrap: wrap; gap: 8px; }
.fm figure { margin: 0; width: 84px; }
.fm figure > :first-child { width: 84px; height: 64px; margin: 0; border-radius: 4px;
  object-fit: contain; background: var(--background-fill-secondary); }
.fm figure > .bad { display: flex; align-items: center; justify-content: center; color: #d97706;
  border: 1px dashed #d97706; font-weight: 600; }
.fm figcaption { font-size: .75rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
  text-align: center; color: var(--body-text-color-subdued); }
.fm .reasons { font-size: .85rem; margin-top: .5em; }
.fm .working { min-height: 5em; }
#overlays:focus, #overlays:focus-visible, #overlays :focus-visible { outline: none; }
.fm tr.odd td { color: #d97706; font-weight: 600; }
"""

WORKING = '<div class="fm"><div class="working"></div></div>'
HEAT = "colour begins at half the threshold and is hottest at twice the threshold"
EMPTY = (
    '<div class="fm"><div class="message hint"><h3>Nothing judged yet</h3><ol>'
    "<li>Upload a few pictures of good products: one is enough, four to ten are better.</li>"
    "<li>Upload one or more pictures to judge.</li>"
    "<li>Press <b>Judge</b>. The verdict, a heat map and the places that look wrong appear "
    'here.</li></ol><p class="quiet">The profile <b>builtin</b> needs no download; the others see '
    "more and fetch their weights once.</p></div></div>"
)


def headline(result: Result) -> str:
    """The error, the only verdict in a line, or a count and a table of all verdicts."""
    if result.error is not None:
        return _block(f'<div class="message" role="alert">{escape(result.error)}</div>')
    verdicts = result.verdicts
    if len(verdicts) == 1:
        return _block(_line(verdicts[0]))
    odd = sum(verdict.decision == "anomalous" for verdict in verdicts)
    rows = [
        [
            str(number),
            escape(verdict.name),
            _badge(verdict.decision),
            f"{verdict.score:.3f}",
            _number(verdict.threshold),
            str(len(verdict.findings)),
        ]
        for number, verdict in enumerate(verdicts, start=1)
    ]
    heads = ["No.", "Image", "Verdict", "#Score", "#Threshold", "#Findings"]
    return _block(
        f'<p class="verdict">{odd} of {len(verdicts)} images are anomalous</p>{_table(heads, rows)}'
    )


def strip(seen: Sequence[Seen]) -> str:
    """Thumbnails in the order of upload, with what cannot be read in its place, and why."""
    if not seen:
        return ""
    figures, reasons = [], []
    for one in seen:
        name = escape(one.name)
        if one.picture is not None:
            first = f'<img alt="" src="{_data_url(one.picture)}">'
        else:
            first = '<div class="bad">unusable</div>'
            reasons.append(f"<p>{escape(one.reason or 'It cannot be read.')}</p>")
        figures.append(f'<figure title="{name}">{first}<figcaption>{name}</figcaption></figure>')
    told = f'<div class="reasons">{"".join(reasons)}</div>' if reasons else ""
    return _block(f'<div class="strip">{"".join(figures)}</div>{told}')


def details(verdict: Verdict, several: bool) -> str:
    """Findings and notes of one query; with its verdict where the headline does not say it."""
    parts = []
    if several:
        parts.append(_line(verdict))
    if verdict.findings:
        heads = ["No.", "Kind", "Part", "Place", "#Score", "What"]
        rows = [_finding_row(i, finding) for i, finding in enumerate(verdict.findings, start=1)]
        parts.append(f"<h3>Findings</h3>{_table(heads, rows)}")
    elif verdict.decision == "anomalous":
        parts.append("<p>No single place stands out, but the picture as a whole does.</p>")
    else:
        parts.append("<p>No single place stands out.</p>")
    notes = [*verdict.notes, HEAT]
    parts.append('<p class="quiet">' + "<br>".join(map(_sentence, notes)) + "</p>")
    return _block("".join(parts))


def problems(found: Sequence[Problem]) -> str:
    """Every file that could not be used, with its reason; empty if there is none."""
    if not found:
        return ""
    items = "".join(
        f"<li><b>{escape(problem.name)}</b> ({problem.role}) "
        f"{escape(_without_name(problem.reason, problem.name))}</li>"
        for problem in found
    )
    title = "1 file was left out" if len(found) == 1 else f"{len(found)} files were left out"
    return _block(f'<div class="message mild"><h3>Problems: {title}</h3><ul>{items}</ul></div>')


def shots(result: Result) -> str:
    """How each shot looks to the others, and where the threshold came from."""
    rows, odd = [], []
    for number, shot in enumerate(result.shots, start=1):
        remark = _shot_remark(shot, result.shots)
        rows.append([str(number), escape(shot.name), _number(shot.score), escape(remark)])
        odd.append(bool(remark))
    parts = [_table(["No.", "Normal image", "#Score", "Remark"], rows, odd)]
    if len(result.shots) == 1:
        parts.append('<p class="quiet">One shot has no others to be judged by.</p>')
    if result.calibration:
        parts.append(f'<p class="quiet">The threshold is {escape(result.calibration)}.</p>')
    parts += [f'<p class="quiet">{_sentence(remark)}</p>' for remark in result.remarks]
    return _block("".join(parts))


def place(box: Box | None) -> str:
    """A box in words: ``"x 10–20, y 30–40"``, in pixels."""
    if box is None:
        return "anywhere"
    x0, y0, x1, y1 = (round(side) for side in box)
    return f"x {x0}\N{EN DASH}{x1}, y {y0}\N{EN DASH}{y1}"


def _without_name(reason: str, name: str) -> str:
    """The reason as it continues a sentence that began with the file's name."""
    rest = reason.removeprefix(name)
    return rest.lstrip() if rest != reason else f"was left out: {reason}"


def _finding_row(number: int, finding: Finding) -> list[str]:
    return [
        str(number),
        finding.kind,
        escape(finding.part or "\N{EM DASH}"),
        f'<span class="whole">{place(finding.box)}</span>',
        f"{finding.score:.3f}",
        _sentence(finding.text),
    ]


def _shot_remark(shot: ShotReport, all_shots: Sequence[ShotReport]) -> str:
    remarks = []
    if shot.duplicate_of is not None:
        twin = all_shots[shot.duplicate_of].name
        remarks.append(f"Same picture as no. {shot.duplicate_of + 1} ({twin})")
    if shot.suspicious:
        remarks.append("Much odder than the others: is it really normal?")
    return ". ".join(remarks)


def _line(verdict: Verdict) -> str:
    """``[anomalous] part.png: score 1.834 is above the threshold 1.000``."""
    if verdict.threshold is None:
        numbers = f"score {verdict.score:.3f}, no threshold"
    else:
        relation = "above" if verdict.score > verdict.threshold else "not above"
        numbers = f"score {verdict.score:.3f} is {relation} the threshold {verdict.threshold:.3f}"
    return (
        f'<div class="verdict">{_badge(verdict.decision)}<span>{escape(verdict.name)}: '
        f"{numbers}</span></div>"
    )


def _badge(decision: str) -> str:
    return f'<span class="badge {decision.replace(" ", "-")}">{decision}</span>'


def _number(value: float | None) -> str:
    return "\N{EM DASH}" if value is None else f"{value:.3f}"


def _sentence(text: str) -> str:
    return escape(text[:1].upper() + text[1:] + ("" if text.endswith(".") else "."))


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], odd: Sequence[bool] | None = None
) -> str:
    """A table of cells that are HTML already; columns whose head begins with # hold numbers."""
    styles = [' class="number"' if head.startswith("#") else "" for head in heads]
    head = "".join(
        f'<th scope="col"{style}>{text.lstrip("#")}</th>'
        for text, style in zip(heads, styles, strict=True)
    )
    body = ""
    for index, row in enumerate(rows):
        marked = ' class="odd"' if odd and odd[index] else ""
        cells = "".join(f"<td{style}>{cell}</td>" for cell, style in zip(row, styles, strict=True))
        body += f"<tr{marked}>{cells}</tr>"
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"</div>"
    )


def _data_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _block(content: str) -> str:
    return f'<div class="fm">{content}</div>'
