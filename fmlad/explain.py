"""Verdicts in words, from plain values."""

from __future__ import annotations

from collections.abc import Sequence

from fmlad.findings import Finding


def verdict_word(is_anomalous: bool | None) -> str:
    """``"anomalous"``, ``"normal"`` or, without a threshold, ``"not decided"``."""
    return {True: "anomalous", False: "normal", None: "not decided"}[is_anomalous]


def explain(
    name: str,
    score: float,
    threshold: float | None,
    is_anomalous: bool | None,
    findings: Sequence[Finding],
    notes: Sequence[str],
) -> str:
    """A few lines: the decision with its numbers, the numbered findings, the notes."""
    numbers = f"score {score:.2f}"
    if threshold is not None:
        numbers += f", threshold {threshold:.2f}"
    lines = [f"{name}: {verdict_word(is_anomalous)} ({numbers})"]
    lines += [f"  {i}. {finding.text}" for i, finding in enumerate(findings, start=1)]
    if is_anomalous and not findings:
        lines.append("  no single place stands out")
    lines += [f"  note: {note}" for note in notes]
    return "\n".join(lines)
