"""One branch is the score; the others say beside it what it is made of (ULSAD)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.errors import CorruptDetectorError

KIND = "leading"


@dataclass(frozen=True)
class Leading:
    """The score and the map of the leading branch, as they are.

    For methods that join their branches place by place, so that the score is not one of the
    branches' scores: ULSAD's is the maximum of a mean of maps (section 3.5).

    Attributes:
        lead: The branch that is the score.
        branches: All of them, the lead among them; they have one scale.
    """

    lead: str
    branches: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.lead not in self.branches:
            raise ValueError(f"{self.lead!r} is none of {self.branches}")

    @property
    def scales(self) -> dict[str, float]:
        """1 for each branch."""
        return dict.fromkeys(self.branches, 1.0)

    @property
    def baseline(self) -> float:
        """0: scores may be compared as they are."""
        return 0.0

    def scaled(self, scores: Mapping[str, float]) -> dict[str, float]:
        """The scores themselves."""
        return dict(scores)

    def fused(self, scores: Mapping[str, float]) -> float:
        """The leading branch's score."""
        return float(scores[self.lead])

    def fused_map(self, maps: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """The leading branch's map; the greatest of the others at each place where it is absent."""
        if self.lead in maps:
            return np.asarray(maps[self.lead], np.float32)
        return np.asarray(np.max(list(maps.values()), axis=0), np.float32)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"kind": KIND, "lead": self.lead, "branches": list(self.branches)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Leading:
        """Back from :meth:`to_dict`; CorruptDetectorError: something is missing or invalid."""
        lead, branches = data.get("lead"), data.get("branches")
        if (
            data.get("kind") != KIND
            or not isinstance(branches, list)
            or not all(isinstance(one, str) for one in branches)
            or lead not in branches
        ):
            raise CorruptDetectorError(f"The fusion of the saved detector is unreadable: {data!r}.")
        return cls(str(lead), tuple(branches))
