"""What a verdict is in JSON: ``Prediction.to_dict``, and each line of ``fmlad predict --json``.

``docs/verdict.schema.json`` is made from here by ``python -m tools.docs schema``. ``version`` goes
up when a field changes its meaning or goes; new fields may come without that.
"""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from fmlad.scoring.calibration import Decision
from fmlad.sentences import Box, Kind

VERSION: Literal[1] = 1


class FindingJson(TypedDict):
    """One named difference; boxes are ``[x1, y1, x2, y2]`` in pixels of the input."""

    kind: Kind
    part: str | None
    expected: float | None
    observed: float | None
    box: Box | None
    boxes: tuple[Box, ...]
    score: float
    text: str


class SizeJson(TypedDict):
    """Of the input, in pixels."""

    height: int
    width: int


class VerdictJson(TypedDict):
    """The verdict for one image; see ``fmlad.Prediction`` for the meaning of each field."""

    version: Literal[1]
    name: str
    score: float
    threshold: float | None
    is_anomalous: bool | None
    decision: Decision | None
    p_value: float | None
    branch_scores: dict[str, float]
    size: SizeJson
    areas: dict[str, float] | None
    counts: dict[str, int] | None
    findings: list[FindingJson]
    notes: list[str]
    nearest_shot: str | None


class FailureJson(TypedDict):
    """An image that could not be judged, and why."""

    version: Literal[1]
    name: str
    error: str


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a verdict or a failure."""
    from pydantic import TypeAdapter

    found = TypeAdapter(VerdictJson | FailureJson).json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fmlad verdict",
        **found,
    }
