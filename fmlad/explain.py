"""Verdicts in words, from plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fmlad.findings import Finding
from fmlad.scoring.calibration import Decision

WORDS: Mapping[Decision | None, str] = {
    "ok": "normal",
    "unsure": "unsure",
    "not_ok": "anomalous",
    None: "not decided",
}


def verdict_word(decision: Decision | None) -> str:
    """``"normal"``, ``"unsure"``, ``"anomalous"`` or, without a threshold, ``"not decided"``."""
    return WORDS[decision]


def explain(
    name: str,
    score: float,
    threshold: float | None,
    decision: Decision | None,
    findings: Sequence[Finding],
    notes: Sequence[str],
) -> str:
    """A few lines: the decision with its numbers, the numbered findings, the notes."""
    numbers = f"score {score:.2f}"
    if threshold is not None:
        numbers += f", threshold {threshold:.2f}"
    lines = [f"{name}: {verdict_word(decision)} ({numbers})"]
    lines += [f"  {i}. {finding.text}" for i, finding in enumerate(findings, start=1)]
    if decision in ("unsure", "not_ok") and not findings:
        lines.append("  no single place stands out")
    lines += [f"  note: {note}" for note in notes]
    return "\n".join(lines)
