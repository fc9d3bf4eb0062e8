"""What a method is: it asks for roles, remembers shots, and turns a view into evidence.

A method neither scales nor decides. It hands raw branch scores and maps to ``pipeline.py``, which
fuses and calibrates them the same way for every method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.backbones.roles import Encoder
from fmlad.findings import Box, Kind
from fmlad.prediction import Segmentation
from fmlad.progress import Progress, silent
from fmlad.scoring.fusion import Fusion
from fmlad.views import ImageView

Calibrates = Literal["leave-one-out", "held-out", "augmented"]
"""Which scores of normal images set scales and threshold; see :class:`Method`."""


@dataclass(frozen=True)
class FitContext:
    """What a method may use at fit time besides the shots.

    Attributes:
        labels: Part masks ``(H, W)`` of the shots, integers, one a shot, or None.
        unlabeled: Further images of unknown state.
        validation: Normal images that are not shots: given by the user, or set aside from the shots
            for methods that calibrate by held-out images.
        prompts: A prompt set, or None.
        device: Where networks are trained and tensors lie.
        seed: For everything left to chance; torch's generator is seeded with it before ``fit``.
        progress: To be told of long work.
        encoder: The backbone in the role ``encoder``, for methods that need one, else None.
        checkpoint: Folder for checkpoints of long training, or None.
        resume: Whether to go on from the checkpoint there.
    """

    labels: Sequence[npt.NDArray[np.integer]] | None = None
    unlabeled: Sequence[ImageView] = ()
    validation: Sequence[ImageView] = ()
    prompts: Any = None
    device: str = "cpu"
    seed: int = 0
    progress: Progress = silent
    encoder: Encoder | None = None
    checkpoint: Path | None = None
    resume: bool = False

    @cached_property
    def rng(self) -> np.random.Generator:
        """NumPy's source of chance, seeded with ``seed``; one generator for the whole fit."""
        return np.random.default_rng(self.seed)


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
            ``"prompts"``, ``"labels"``, ``"unlabeled"`` and ``"checkpoint"``; others are refused.
        calibrates_by: Which normal images set scales and threshold: ``"leave-one-out"`` (each shot
            judged by the others, for methods that forget a shot cheaply; altered copies of a single
            one), ``"held-out"`` (validation images, else shots set aside before fitting, for
            methods that train) or ``"augmented"`` (altered copies of the shots).
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
    calibrates_by: ClassVar[Calibrates]
    declared: ClassVar[Mapping[str, Mapping[str, str]]]

    @property
    def config(self) -> Any: ...

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of all branches that its evidence speaks in."""
        ...

    @property
    def needs(self) -> tuple[str, ...]: ...

    def fit(self, views: Sequence[ImageView], context: FitContext) -> State:
        """Remembers the shots, or learns from them; must work for one.

        Args:
            views: The shots.
            context: All else.
        """
        ...

    def evidence(
        self, view: ImageView, state: Any, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        """Judges a view as if the shots in ``exclude`` had never been given.

        Only methods that calibrate by leave-one-out are asked to exclude any.
        """
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
