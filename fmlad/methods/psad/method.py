"""Method ``psad``: parts learned from a few labelled images, and three memory banks over them.

PSAD (Kim et al., AAAI 2024), steps in the paper's order:

1. part segmentation from few labelled and many unlabeled images (Eqs. 1 and 2; ``segmenter.py``);
2. the class histogram memory bank ``M_hist``;
3. the component composition memory bank ``M_comp``;
4. the patch representation memory bank ``M_patch``;
5. adaptive scaling: each bank's score is divided by the largest score of the training images, each
   judged by all others, and the three are added.

Shots and unlabeled images are training images alike: members of the banks, and left out in turn.
The trained segmenter stays as it is meanwhile, as published. A query costs two passes of encoders:
the segmenter's, and the feature extractor's for both other banks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fmlad.backbones.embedded.builtin import lab
from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.io.tensors import TensorReader
from fmlad.memory.part_vectors import class_means, class_shares, reweighted
from fmlad.methods.part_classes import (
    class_names,
    label_digest,
    listed_parts,
    present_encoder,
)
from fmlad.methods.protocol import Aims, Calibrates, Evidence, FitContext
from fmlad.methods.psad.config import SIDE, PsadConfig
from fmlad.methods.psad.differences import Compared, FloatMap, differences, painted
from fmlad.methods.psad.segmentation import Labels, SegmenterSource, TrainedSegmenters
from fmlad.methods.psad.state import SEGMENTER, PsadState, Seen, Vectors, restored
from fmlad.objects.instances import resized
from fmlad.objects.inventory import Part
from fmlad.objects.pieces import pieces
from fmlad.prediction import Segmentation
from fmlad.scoring.fusion import AdaptiveScaling
from fmlad.views import ImageView

# The paper's networks: Wide ResNet-101 for both, layers 1 to 3, averaged over 3 x 3 cells, on 512
# px of the longer side. "light" has the same of ResNet-18.
LAYERS = "levels=1+2+3,side=512,pool=3"
DECLARED: Mapping[str, Mapping[str, str]] = {
    "light": {
        "encoder": "timm:resnet18.tv_in1k",
        "feature_extractor": f"timm:resnet18.tv_in1k#{LAYERS}",
    },
    "foundation": {
        "encoder": "timm:wide_resnet101_2.tv_in1k",
        "feature_extractor": f"timm:wide_resnet101_2.tv_in1k#{LAYERS}",
    },
}
CHECKPOINT = "segmenter.safetensors"  # in the folder for checkpoints
GRID = 128  # cells of the longer side of maps and of the labels that are remembered
PATCH_STRIDE = 8  # patches are of the levels from this stride on: layers 2 and 3 (PatchCore)
KEPT = 64  # training images up to which their features stay in memory after the fit
OF_PARTS = ("histogram", "composition")


class Psad:
    """The method; see the module.

    Attributes:
        source: Where its segmenter comes from.
        unlabeled_members, every_member: All training images are left out in turn.
    """

    name: ClassVar[str] = "psad"
    summary: ClassVar[str] = (
        "trained: parts from a few labelled images; their areas, appearance and patches in banks"
    )
    takes: ClassVar[tuple[str, ...]] = ("labels", "unlabeled", "checkpoint")
    declared: ClassVar[Mapping[str, Mapping[str, str]]] = DECLARED
    calibrates_by: ClassVar[Calibrates] = "leave-one-out"
    unlabeled_members: ClassVar[bool] = True
    every_member: ClassVar[bool] = True
    typed: ClassVar[tuple[str, ...]] = OF_PARTS
    aims: ClassVar[Aims] = {"damage": {"banks": ("patch",)}, "composition": {"banks": OF_PARTS}}
    source: ClassVar[SegmenterSource] = TrainedSegmenters()

    def __init__(self, config: PsadConfig | None = None) -> None:
        self.config = config or PsadConfig()
        self.config.training  # noqa: B018  # wrong options are told of before anything is loaded

    @property
    def needs(self) -> tuple[str, ...]:
        """Roles it asks for: features where a bank holds some."""
        features = {"composition", "patch"} & set(self.config.banks)
        return ("encoder", "feature_extractor") if features else ("encoder",)

    @property
    def prepares(self) -> tuple[str, ...]:
        """The segmenter sees a query at its own size, so that none of the encoder's is prepared."""
        return tuple(role for role in self.needs if role != "encoder")

    @property
    def branches(self) -> tuple[str, ...]:
        """One branch a bank."""
        return tuple(self.config.banks)

    def fit(self, views: Sequence[ImageView], context: FitContext) -> PsadState:
        """Trains the segmenter, then fills the banks with all training images."""
        if context.labels is None:
            raise OptionError(
                "The method 'psad' learns parts from labelled images: give part masks of the shots "
                "as labels= (--labels)."
            )
        labels = list(context.labels)
        names = class_names(labels, context.label_names[1:])  # the background's is the first
        training = [*views, *context.unlabeled]
        # Part segmentation using limited annotations; labelled images are unlabeled ones as well
        segmenter = self.source.fit(
            [(view.pixels, label) for view, label in zip(views, labels, strict=True)],
            [view.pixels for view in training],
            1 + len(names),
            present_encoder(context.encoder, self.name),
            self.config,
            seed=context.seed,
            device=context.device,
            progress=context.progress,
            checkpoint=context.checkpoint and context.checkpoint / CHECKPOINT,
            resume=context.resume,
            settings={
                **context.settings,
                "unlabeled": [view.key for view in context.unlabeled],
                "labels": [label_digest(label) for label in labels],
            },
        )
        # Memory banks over the segments
        seen = []
        for done, view in enumerate(training, start=1):
            seen.append(self._see(view, segmenter.predict(view.pixels), 1 + len(names)))
            if len(training) > KEPT:
                view.release()  # memory must not grow with the features of all images
            context.progress(done, len(training), "remembering training images")
        keys = tuple(view.key for view in training)
        return PsadState.remember(names, segmenter, len(views), keys, seen, self.config)

    def evidence(
        self, view: ImageView, state: PsadState, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        """Distances to the nearest training image of each bank, and what makes them up.

        A training image that is left out is what the banks remember of it: no encoder runs.
        """
        # A copy of an image that is left out is left out with it, labelled or not.
        gone = {state.keys[index] for index in exclude}
        exclude = frozenset(i for i, key in enumerate(state.keys) if key in gone)
        known = state.index(view.key)
        if known is not None and known in exclude:
            seen = state.seen[known]
            labels: Labels = seen.labels
        else:
            labels = state.segmenter.predict(view.pixels)
            seen = self._see(view, labels, 1 + len(state.names))
        scores: dict[str, float] = {}
        maps: dict[str, FloatMap] = {}
        found = []
        for bank in self.branches:
            if bank == "patch":
                scores[bank], maps[bank] = self._patch_score(seen, state, exclude)
                continue
            compared = self._compared(bank, seen, state, exclude)
            scores[bank] = compared.score
            maps[bank] = painted(compared)
            found += differences(compared, state, view.size)
        counts = {
            name: pieces(seen.labels == row).count for row, name in enumerate(state.names, start=1)
        }
        whole = resized(labels, view.size).astype(np.uint16)
        parts = Segmentation(whole, ["background", *state.names], counts)
        return Evidence(scores, maps, parts, tuple(found))

    def fusion(self, left_out: Sequence[Mapping[str, float]], state: PsadState) -> AdaptiveScaling:
        """Aggregating anomaly scores of different scales: their sum, each by its scale."""
        if self.config.scaling == "none":
            return AdaptiveScaling.plain(self.branches)
        if self.config.scaling == "max":
            return AdaptiveScaling.fit(left_out)
        spreads = {b: float(np.std([one[b] for one in left_out])) for b in self.branches}
        return AdaptiveScaling.fit([spreads])

    def restore(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str
    ) -> PsadState:
        """Back from a saved detector; ``meta["encoder"]`` is the backbone in that role."""
        own = {name: one for name, one in tensors.items() if name.startswith(f"{SEGMENTER}.")}
        reader = TensorReader({n: t for n, t in tensors.items() if n not in own}, device)
        with reader.description("banks"):
            trained = {name.removeprefix(f"{SEGMENTER}."): one for name, one in own.items()}
            encoder = present_encoder(meta["encoder"], self.name)
            segmenter = self.source.restore(trained, meta[SEGMENTER], device, encoder)
            state = restored(reader, meta, segmenter, self.config)
        if (state.patches is not None) != ("patch" in self.branches):
            raise CorruptDetectorError("The saved patches are not what its banks need.")
        if (state.seen[0].composition.size > 0) != ("composition" in self.branches):
            raise CorruptDetectorError("The saved embeddings are not what its banks need.")
        return state

    def notes(self, state: PsadState) -> list[str]:
        """How parts and scales were learned."""
        others = len(state.keys) - state.shots
        images = "image" if state.shots == 1 else "images"
        return [
            f"{len(state.names)} parts were learned from {state.shots} labelled {images} and "
            f"{others} without labels; all of them are in the banks"
        ]

    def parts(self, state: PsadState) -> list[Part]:
        """The classes, with the number of their pieces in each shot."""
        shots = state.seen[: state.shots]
        maps, sizes = [one.labels for one in shots], [one.size for one in shots]
        return listed_parts(state.names, maps, sizes)

    def _see(self, view: ImageView, labels: Labels, classes: int) -> Seen:
        """What the banks see of an image in parts."""
        small = np.ascontiguousarray(resized(labels, _within(view.size, GRID)), dtype=np.uint8)
        composition, patches = np.zeros((classes - 1, 0), np.float32), None
        if "feature_extractor" in self.needs:
            levels = view.pyramid().levels
            if "composition" in self.branches:
                composition = class_means(
                    [levels[stride] for stride in sorted(levels)],
                    resized(labels, _within((labels.shape[0], labels.shape[1]), SIDE)),
                    classes,
                    align_corners=self.config.preset == "code",
                )
            if "patch" in self.branches:
                patches = self._patches(levels)
        colours = _mean_colours(view, small, classes)
        histogram = class_shares(labels, classes)
        return Seen(view.size, small, histogram, composition, colours, patches)

    def _patches(self, levels: Mapping[int, Tensor]) -> Tensor:
        """The deeper levels joined on the grid of the finest of them (PatchCore), ``(h, w, C)``."""
        deep = [levels[s] for s in sorted(levels) if s >= PATCH_STRIDE] or list(levels.values())
        size = (deep[0].shape[-2], deep[0].shape[-1])
        joined = torch.cat([F.interpolate(level, size, mode="nearest") for level in deep], dim=1)
        joined = F.adaptive_avg_pool2d(joined, _within(size, self.config.patch_cells)).float()
        return joined[0].permute(1, 2, 0).contiguous()

    def _compared(
        self, bank: str, seen: Seen, state: PsadState, exclude: frozenset[int]
    ) -> Compared:
        """Eq. 3, and the share of each class in the distance."""
        if bank == "histogram":
            nearest = state.histograms.nearest(seen.histogram, exclude)
            by_class = np.abs(nearest.difference[1:])
        else:
            nearest = state.compositions.nearest(state.composition(seen), exclude)
            by_class = np.linalg.norm(nearest.difference.reshape(len(state.names), -1), axis=1)
        return Compared.of(bank, nearest.distance, by_class, seen, state.seen[nearest.index])

    def _patch_score(
        self, seen: Seen, state: PsadState, exclude: frozenset[int]
    ) -> tuple[float, FloatMap]:
        """Largest distance of a patch to the nearest one of the training images, and the map."""
        bank, own = state.patches, seen.patches
        if bank is None or own is None:
            raise RuntimeError("the patch bank is empty")
        distances = bank.distances(own, exclude)
        if self.config.preset == "code":
            oddest = own.flatten(0, 1)[int(distances.argmax())]
            distances = distances * reweighted(oddest, bank.left(exclude))
        size = (seen.labels.shape[0], seen.labels.shape[1])
        # Nearest neighbour, so that the map's maximum is the score.
        return float(distances.max()), resized(distances.cpu().numpy(), size)


def _mean_colours(view: ImageView, labels: npt.NDArray[np.uint8], classes: int) -> Vectors:
    """Mean CIE Lab colour of each class but the background, ``(classes - 1, 3)``."""
    size = (labels.shape[1], labels.shape[0])
    small = np.array(Image.fromarray(view.pixels).resize(size, Image.Resampling.BOX))
    rgb = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
    colours = 100 * lab(rgb)[0].permute(1, 2, 0).numpy()
    found = np.zeros((classes - 1, 3), np.float32)
    for row in np.unique(labels[labels > 0]):
        found[row - 1] = colours[labels == row].mean(0)
    return found


def _within(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """A size ``(h, w)`` of the same proportions whose longer side is at most ``longest``."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
