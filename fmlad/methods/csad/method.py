"""Method ``csad``: parts that teach themselves, patch histograms over them, and two students.

CSAD (Hsieh and Lai, BMVC 2024), steps in the paper's order:

1. semantic pseudo-labels, and 2. a segmenter that is trained on them (``segmentation.py``);
3. patch histograms of its label maps: class shares in the cells of grids, Mahalanobis distances;
4. the local-global student-teacher branch (LGST; ``student_teacher.py``);
5. both scores in trimmed standard deviations of held-out normal images, added up.

Segmenter and teacher start from one frozen encoder, which runs once per image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.errors import CorruptDetectorError
from fmlad.methods.csad.config import CANDIDATES, CsadConfig
from fmlad.methods.csad.localisation import BRANCH, Compared, FloatMap, differences
from fmlad.methods.csad.patch_histogram import (
    chosen_grids,
    fitted_models,
    joint_distance,
    patch_histogram,
)
from fmlad.methods.csad.segmentation import Labels, SegmenterSource
from fmlad.methods.csad.segmenter_source import TrainedSegmenters
from fmlad.methods.csad.state import REMEMBERED, CsadState, Histograms, restored
from fmlad.methods.csad.student_data import Source
from fmlad.methods.csad.student_teacher import FittedStudents, fit_students
from fmlad.methods.part_classes import label_digest, listed_parts, present_encoder
from fmlad.methods.protocol import Aims, Calibrates, Difference, Evidence, FitContext
from fmlad.methods.shared_encoder import SharedEncoder
from fmlad.objects.instances import resized
from fmlad.objects.inventory import Part
from fmlad.objects.pieces import pieces
from fmlad.prediction import Segmentation
from fmlad.scoring.trimmed import TrimmedZ
from fmlad.views import ImageView

# The paper's encoder, with the weights of its code; "light" has the same of a ResNet-18.
DECLARED: Mapping[str, Mapping[str, str]] = {
    "light": {"encoder": "timm:resnet18.tv_in1k"},
    "foundation": {"encoder": "timm:wide_resnet50_2.tv2_in1k"},
}
STUDENTS = "students"
CHECKPOINTS = {BRANCH: "segmenter", STUDENTS: "students.safetensors"}  # a folder and a file
KEPT = 64  # images up to which their features stay in memory during the fit


class Csad:
    """The method; see the module.

    Attributes:
        source: Where its segmenter comes from.
        prepares: Nothing: a query needs the encoder alone, at this method's own size.
    """

    name: ClassVar[str] = "csad"
    summary: ClassVar[str] = (
        "trained: parts without labels, their areas in cells of the image, and two students"
    )
    finds_labels: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("prompts", "labels", "unlabeled", "checkpoint")
    declared: ClassVar[Mapping[str, Mapping[str, str]]] = DECLARED
    calibrates_by: ClassVar[Calibrates] = "held-out"
    prepares: ClassVar[tuple[str, ...]] = ()
    typed: ClassVar[tuple[str, ...]] = (BRANCH,)
    aims: ClassVar[Aims] = {
        "damage": {"branches": (STUDENTS,)},
        "composition": {"branches": (BRANCH,)},
    }
    source: ClassVar[SegmenterSource] = TrainedSegmenters()

    def __init__(self, config: CsadConfig | None = None) -> None:
        self.config = config or CsadConfig()
        self.config.training  # noqa: B018  # wrong options are told of before anything is loaded

    @property
    def needs(self) -> tuple[str, ...]:
        """Roles it asks for: proposals where parts are to be found."""
        return ("encoder", "mask_proposer") if BRANCH in self.config.branches else ("encoder",)

    @property
    def optional(self) -> Mapping[str, tuple[str, ...]]:
        """A network of its own for components; without it the encoder describes them."""
        own = BRANCH in self.config.branches
        return {"feature_extractor": ("light", "foundation")} if own else {}

    @property
    def branches(self) -> tuple[str, ...]:
        """Patch histograms and LGST."""
        return tuple(self.config.branches)

    def fit(self, views: Sequence[ImageView], context: FitContext) -> CsadState:
        """Trains segmenter and students on all training images, and fits the histograms.

        Validation images, those that the pipeline set aside among them, scale the grids and the
        students' maps; nothing is trained on them.
        """
        encoder = SharedEncoder(
            present_encoder(context.encoder, self.name), self.config.side, context.device
        )
        training = [*views, *context.unlabeled]
        histograms = students = None
        if BRANCH in self.branches:
            histograms = self._fit_histograms(training, len(views), encoder, context)
        if STUDENTS in self.branches:
            students = self._fit_students(training, encoder, context)
        sizes = tuple(view.size for view in views)
        return CsadState(encoder, len(views), sizes, histograms, students)

    def evidence(
        self, view: ImageView, state: CsadState, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        """Distances of the patch histograms, and the students' differences; maps of both."""
        levels = state.encoder.levels(view)
        scores: dict[str, float] = {}
        maps: dict[str, FloatMap] = {}
        found: list[Difference] = []
        parts = None
        if (own := state.histograms) is not None:
            labels = own.segmenter.predict_maps(levels)
            score, compared = self._compared(labels, own)
            scores[BRANCH], maps[BRANCH] = score, compared.painted()
            found = differences(compared, own.names, view.size)
            parts = _segmentation(labels, compared.labels, own.names, view.size)
        if state.students is not None:
            source = Source(state.encoder.square(view.pixels)[None], levels)
            whole = state.students.anomaly_map(source).cpu().numpy()
            scores[STUDENTS], maps[STUDENTS] = float(whole.max()), whole
        sizes = {one.shape for one in maps.values()}
        if len(sizes) > 1:
            maps[BRANCH] = resized(maps[BRANCH], maps[STUDENTS].shape)
        return Evidence(scores, maps, parts, tuple(found))

    def fusion(self, left_out: Sequence[Mapping[str, float]], state: CsadState) -> TrimmedZ:
        """Score fusion (section 3.5)."""
        return TrimmedZ.fit(left_out)

    def restore(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str
    ) -> CsadState:
        """Back from a saved detector; ``meta["encoder"]`` is the backbone in that role."""
        encoder = SharedEncoder(
            present_encoder(meta["encoder"], self.name), self.config.side, device
        )
        state = restored(tensors, meta, device, encoder, self.source)
        present = {BRANCH: state.histograms, STUDENTS: state.students}
        if {name for name, one in present.items() if one is not None} != set(self.branches):
            raise CorruptDetectorError("The saved state is not what the method's branches need.")
        return state

    def notes(self, state: CsadState) -> list[str]:
        """What parts, grids and students were learned from."""
        told: list[str] = []
        if (own := state.histograms) is not None:
            told += own.segmenter.notes
            if self.config.cells == "spread":
                grids = " and ".join(f"{one.grid} x {one.grid}" for one in own.models)
                told.append(f"patch histograms of {grids} cells, each part in those it keeps to")
        if state.students is not None and not state.students.penalised:
            told.append(
                "the students learned without penalty images (penalty=FOLDER), so that damage may "
                "stand out less"
            )
        return told

    def parts(self, state: CsadState) -> list[Part]:
        """The classes, with the number of their pieces in each shot."""
        if (own := state.histograms) is None:
            return []
        return listed_parts(own.names, list(own.maps[: state.shots]), state.sizes)

    def _fit_histograms(
        self, training: Sequence[ImageView], shots: int, encoder: SharedEncoder, context: FitContext
    ) -> Histograms:
        """Component segmentation (sections 3.1 and 3.2), then patch histograms (3.3)."""
        labels: list[Labels | None] | None = None
        if context.labels is not None:
            labels = [np.asarray(one, np.int32) for one in context.labels]
            labels += [None] * (len(training) - shots)
        names = context.label_names[1:]  # the background's is the first
        segmenter = self.source.fit(
            training, labels, encoder, self.config, names=names, prompts=context.prompts,
            seed=context.seed, device=context.device, progress=context.progress,
            checkpoint=context.checkpoint and context.checkpoint / CHECKPOINTS[BRANCH],
            resume=context.resume, settings=_settings(context, labels),
        )  # fmt: skip
        maps = _predicted(training, segmenter, encoder, context, "parts of training images")
        others = _predicted(
            context.validation, segmenter, encoder, context, "parts of validation images"
        )
        classes = segmenter.classes
        cells = self.config.cells
        grids = (
            chosen_grids(maps, classes, CANDIDATES) if cells == "spread" else dict.fromkeys(cells)
        )
        models = fitted_models(maps, others, classes, grids, self.config.inverse, self.config.joint)
        return Histograms(
            segmenter,
            models,
            np.stack([_small(one) for one in maps]),
            np.stack([patch_histogram(one, classes, 1) for one in maps]),
        )

    def _fit_students(
        self, training: Sequence[ImageView], encoder: SharedEncoder, context: FitContext
    ) -> FittedStudents:
        """Local-global student-teacher (section 3.4)."""
        return fit_students(
            [encoder.square(view.pixels) for view in training],
            [encoder.square(view.pixels) for view in context.validation],
            encoder, self.config.training, penalty=self.config.penalty, seed=context.seed,
            progress=context.progress,
            checkpoint=context.checkpoint and context.checkpoint / CHECKPOINTS[STUDENTS],
            resume=context.resume, settings=_settings(context, None),
        )  # fmt: skip

    def _compared(self, labels: Labels, own: Histograms) -> tuple[float, Compared]:
        """Score of a label map ``(S, S)``, and what makes it up, on the remembered grid."""
        classes = own.segmenter.classes
        nearest = own.nearest(patch_histogram(labels, classes, 1))
        score = joint_distance(own.models, labels, classes, self.config.joint)
        return score, Compared.of(_small(labels), nearest, score, own.models, classes)


def _predicted(
    views: Sequence[ImageView], segmenter: Any, encoder: SharedEncoder, context: FitContext,
    what: str,
) -> list[Labels]:  # fmt: skip
    found = []
    for done, view in enumerate(views, start=1):
        found.append(segmenter.predict_maps(encoder.levels(view)))
        if len(views) > KEPT:
            view.release()  # memory must not grow with the features of all images
        context.progress(done, len(views), what)
    return found


def _small(labels: Labels) -> Any:
    return np.ascontiguousarray(resized(labels, (REMEMBERED, REMEMBERED)), dtype=np.uint8)


def _segmentation(
    labels: Labels, small: npt.NDArray[np.integer], names: Sequence[str], size: tuple[int, int]
) -> Segmentation:
    counts = {name: pieces(small == row).count for row, name in enumerate(names, start=1)}
    whole = resized(labels, size).astype(np.uint16)
    return Segmentation(whole, ["background", *names], counts)


def _settings(context: FitContext, labels: Sequence[Labels | None] | None) -> dict[str, Any]:
    """What a checkpoint belongs to."""
    found = dict(context.settings)
    found["unlabeled"] = [view.key for view in context.unlabeled]
    if labels is not None:
        found["labels"] = [None if one is None else label_digest(one) for one in labels]
    return found
