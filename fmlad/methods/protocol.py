"""What a method is: it asks for roles, remembers shots, and turns a view into evidence.

A method neither scales nor decides. It hands raw branch scores and maps to ``pipeline.py``, which
fuses and calibrates them the same way for every method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.findings import Box, Kind
from fmlad.prediction import Segmentation
from fmlad.scoring.fusion import Fusion
from fmlad.views import ImageView

Progress = Callable[[int, int, str], None]
"""Called as ``progress(done, total, what)``."""


@dataclass(frozen=True)
class Difference:
    """One typed difference that a method saw, before scaling.

    Attributes:
        kind: What sort of difference.
        part: Name of the part, or None.
        expected: What the shots have, or None.
        observed: What the query has, or None.
        box: ``xyxy`` in input pixels, or None.
        branch: The branch whose scale applies to ``score``.
        score: Raw, on that branch's scale.
        text: One plain sentence.
    """

    kind: Kind
    part: str | None
    expected: float | None
    observed: float | None
    box: Box | None
    branch: str
    score: float
    text: str


@dataclass(frozen=True)
class Evidence:
    """All that a method has to say about one image.

    Attributes:
        scores: Raw score per branch, >= 0, higher is more anomalous.
        maps: Raw map per branch, float32 ``(h, w)``, all of one size and spanning the image; the
            maximum of a map is its branch's score where the branch is nothing but its map.
        segmentation: Parts, or None.
        differences: Typed differences; plain defects are read off the fused map and need none.
        notes: How the evidence came about, in plain sentences.
    """

    scores: Mapping[str, float]
    maps: Mapping[str, npt.NDArray[np.float32]]
    segmentation: Segmentation | None = None
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()


class State(Protocol):
    """What a method remembers: tensors and JSON, nothing else, so that it can be saved."""

    @property
    def shots(self) -> int:
        """Number of shots."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors, on the CPU."""
        ...

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts that are not tensors."""
        ...


class Method(Protocol):
    """A method, built from its frozen config dataclass.

    Attributes:
        name: As users write it.
        summary: One line for listings.
        needs: Roles it cannot do without; may depend on the config.
        takes: Optional arguments of ``Detector.from_shots`` that it makes use of, out of
            ``"prompts"``, ``"labels"`` and ``"unlabeled"``; others are refused.
        declared: Its own choice of backbones, ``{profile: {role: name}}``.
        config: Its frozen config dataclass.

    Three more class attributes may be left out:

    - ``optional``, ``{role: profiles}``: roles that it makes use of where it gets them. On these
      profiles it does by default, on others when the user names a backbone for the role.
    - ``validation_scales``: whether validation images scale the branches too, and not just set the
      threshold.
    - ``typed``: branches that name all that they find, so that their maps are not searched for
      nameless defects.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    takes: ClassVar[tuple[str, ...]]
    declared: ClassVar[Mapping[str, Mapping[str, str]]]

    @property
    def config(self) -> Any: ...

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of all branches that its evidence speaks in."""
        ...

    @property
    def needs(self) -> tuple[str, ...]: ...

    def fit(
        self,
        views: Sequence[ImageView],
        *,
        labels: Sequence[npt.NDArray[np.integer]] | None,
        unlabeled: Sequence[ImageView],
        prompts: Any,
        rng: np.random.Generator,
        progress: Progress,
    ) -> State:
        """Remembers the shots; must work for one.

        Args:
            views: The shots.
            labels: Part masks ``(H, W)`` of the shots, for methods that learn from them.
            unlabeled: Further images of unknown state.
            prompts: A prompt set, or None.
            rng: The only source of chance.
            progress: To be told of long work.
        """
        ...

    def evidence(
        self, view: ImageView, state: Any, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        """Judges a view as if the shots in ``exclude`` had never been given."""
        ...

    def fusion(self, left_out: Sequence[Mapping[str, float]], state: Any) -> Fusion:
        """How its branches become one score, learned from raw scores of left-out shots.

        Args:
            left_out: Branch scores, one mapping a left-out shot, gently altered copy of the only
                one, or validation image where these scale the branches.
            state: What was remembered.
        """
        ...

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str) -> State:
        """Inverse of ``State.tensors`` and ``State.meta``.

        Raises:
            CorruptDetectorError: Something is missing, too much, or of another shape or dtype.
        """
        ...
