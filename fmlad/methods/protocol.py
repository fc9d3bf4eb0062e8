"""The protocol of methods: fit to shots through roles, then turn a view into evidence.

A method returns raw branch scores and maps; ``pipeline.py`` fuses and calibrates them the same way
for every method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.backbones.roles import Encoder
from fmlad.prediction import Segmentation
from fmlad.progress import Progress, silent
from fmlad.scoring.calibration import OddShots
from fmlad.scoring.fusion import Fusion
from fmlad.sentences import Facts
from fmlad.views import ImageView

Calibrates = Literal["leave-one-out", "held-out", "augmented"]
"""Which scores of normal images set scales and threshold; see :class:`Method`."""


Aim = Literal["damage", "composition"]
Aims = Mapping[Aim, Mapping[str, Any]]


@dataclass(frozen=True)
class FitContext:
    """Inputs of a fit besides the shots.

    Attributes:
        labels: Part masks ``(H, W)`` of the shots, indices into ``label_names``, one a shot, or
            None.
        label_names: Names of the classes of ``labels``, ``"background"`` first; empty without.
        unlabeled: Further images of unknown state.
        validation: Normal images that are not shots: given by the user, or set aside from the shots
            for methods that calibrate by held-out images.
        prompts: A prompt set, or None.
        device: Where networks are trained and tensors lie.
        seed: For everything left to chance; torch's generator is seeded with it before ``fit``.
        progress: Called as ``progress(done, total, what)``.
        encoder: The backbone in the role ``encoder``, for methods that need one, else None.
        checkpoint: Folder for checkpoints of long training, or None.
        resume: Whether to go on from the checkpoint there.
        rate: Share of normal images that may be called anomalous; None is what the shots promise.
        odd_shots: Whether shots that are far odder than the others set the threshold as well.
        settings: What a checkpoint belongs to, JSON-ready: method, options, and pixel hashes of the
            shots; for :func:`fmlad.training.loop.train`, which refuses to resume another training.
    """

    labels: Sequence[npt.NDArray[np.integer]] | None = None
    label_names: tuple[str, ...] = ()
    unlabeled: Sequence[ImageView] = ()
    validation: Sequence[ImageView] = ()
    prompts: Any = None
    device: str = "cpu"
    seed: int = 0
    progress: Progress = silent
    encoder: Encoder | None = None
    checkpoint: Path | None = None
    resume: bool = False
    rate: float | None = None
    odd_shots: OddShots = "keep"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def rng(self) -> np.random.Generator:
        """NumPy's random generator, seeded with ``seed``; one for the whole fit."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True, kw_only=True)
class Difference(Facts):
    """One typed difference before scaling; the pipeline puts it in words.

    Attributes:
        branch: The branch that tells of it.
        score: Raw, on the scale of that branch.
    """

    branch: str
    score: float


@dataclass(frozen=True)
class Evidence:
    """Result of a method for one image, before scaling.

    Attributes:
        scores: Raw score per branch, >= 0, higher is more anomalous.
        maps: Raw map per branch, float32 ``(h, w)``, all of one size and spanning the image; the
            maximum of a map is its branch's score where the branch is nothing but its map.
        segmentation: Parts, or None.
        differences: Typed differences; plain defects are read off the fused map and need none.
        notes: What sets this image apart, in plain sentences; not what holds for every image.
    """

    scores: Mapping[str, float]
    maps: Mapping[str, npt.NDArray[np.float32]]
    segmentation: Segmentation | None = None
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()


class State(Protocol):
    """Fitted state of a method: tensors and JSON only, so that it can be saved.

    One that finds objects may have ``fixtures``, a tuple of
    :class:`fmlad.objects.fixtures.Fixture`, for people to see.
    """

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
        needs: Roles it requires; may depend on the config.
        takes: Optional arguments of ``Detector.from_shots`` that it uses, out of ``"prompts"``,
            ``"labels"``, ``"unlabeled"`` and ``"checkpoint"``; others are refused.
        calibrates_by: Which normal images set scales and threshold: ``"leave-one-out"`` (each shot
            judged by the others, for methods that exclude a shot cheaply; altered copies of a
            single one), ``"held-out"`` (validation images, else shots set aside before fitting, for
            methods that train) or ``"augmented"`` (altered copies of the shots).
        declared: Its own choice of backbones, ``{profile: {role: name}}``.
        config: Its frozen config dataclass.

    More may be left out:

    - ``optional``, ``{role: profiles}``: roles that it uses if present: on these profiles by
      default, on others when the user names a backbone for the role.
    - ``every_member``: whether each image of its memory is left out in turn, not only 32 shots at
      random; for methods whose ``evidence`` of an image that they remember costs next to nothing.
    - ``finds_labels``: whether a method that takes labels finds parts itself where there are none.
    - ``unlabeled_members``: whether the unlabeled images are members of its memory as well, with
      the indices that follow the shots', and are left out in turn like them.
    - ``validation_scales``: whether validation images set the scales of the branches too.
    - ``prepares``: roles whose dense features a query needs, for several queries together; without
      it, ``needs``. For methods that need a role for the fit alone.
    - ``aims``, ``{"damage" | "composition": options}``: the options with which it looks for nothing
      else.
    - ``notes(state) -> list[str]``: what holds for every image, in plain sentences; the evidence's
      notes are about one image alone.
    - ``parts(state) -> list[Part]``: the parts that findings name (``fmlad.objects.inventory``).
    - ``typed``: branches whose differences are complete, so that their maps are not searched for
      defects.
    - ``alone(state) -> frozenset[int]``: shots that no other shot can judge, of a method that
      leaves shots out: altered copies of them are judged instead.
    - ``rule_readings(view, state) -> Sequence[Reading]``: what a view shows of each rule that the
      user declared (:class:`fmlad.objects.expectations.Reading`), the same rules for every view.
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
        """Names of all branches of its evidence."""
        ...

    @property
    def needs(self) -> tuple[str, ...]: ...

    def fit(self, views: Sequence[ImageView], context: FitContext) -> State:
        """Fits to the shots; must work for one."""
        ...

    def evidence(
        self, view: ImageView, state: Any, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        """Judges a view as if the shots in ``exclude`` had never been given.

        Only methods that calibrate by leave-one-out are asked to exclude any.
        """
        ...

    def fusion(self, left_out: Sequence[Mapping[str, float]], state: Any) -> Fusion:
        """Fusion of its branches into one score, learned from raw scores of normal images.

        ``left_out`` has a mapping, branch -> score, for each left-out shot, altered copy of the
        only one, or validation image where these scale the branches.
        """
        ...

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str) -> State:
        """Inverse of ``State.tensors`` and ``State.meta``.

        Args:
            tensors: As saved.
            meta: As saved. A method that takes prompts finds them as ``"prompts"``; one that needs
                an encoder finds the backbone as ``"encoder"``.
            device: Where the state's tensors are to lie.

        Raises:
            CorruptDetectorError: Something is missing, too much, or of another shape or dtype.
        """
        ...
