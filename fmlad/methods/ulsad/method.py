"""Method ``ulsad``: what a frozen encoder sees is reconstructed, place by place and as a whole.

ULSAD (Patra and Ben Taieb, TMLR 2024), steps in the paper's order:

1. maps of a frozen encoder, joined and normalised (section 3.1);
2. local branch: a feature reconstruction network reproduces them (3.2);
3. global branch: an autoencoder of the whole image is kept consistent with them by attention, and
   the reconstruction network learns to imitate it (3.3);
4. the map of each branch, by quantiles of normal images that nothing was trained on; their mean,
   whose maximum is the score (3.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from fmlad.errors import CorruptDetectorError
from fmlad.methods.part_classes import present_encoder
from fmlad.methods.protocol import Aims, Calibrates, Evidence, FitContext
from fmlad.methods.shared_encoder import SharedEncoder
from fmlad.methods.ulsad.config import UlsadConfig
from fmlad.methods.ulsad.localisation import COMBINED, differences, positive
from fmlad.methods.ulsad.reconstruction import GLOBAL, LOCAL, fit_reconstruction
from fmlad.methods.ulsad.state import UlsadState, restored
from fmlad.scoring.leading import Leading
from fmlad.views import ImageView

# The paper's encoder, with the weights that its code's version of timm loads.
DECLARED: Mapping[str, Mapping[str, str]] = {
    "light": {"encoder": "timm:resnet18.tv_in1k"},
    "foundation": {"encoder": "timm:wide_resnet50_2.racm_in1k"},
}
CHECKPOINT = "reconstruction.safetensors"
MANY = 20  # training images below which the detector says that it wants more (ours)


class Ulsad:
    """The method; see the module.

    Attributes:
        prepares: Nothing: a query needs the encoder alone, at this method's own size.
    """

    name: ClassVar[str] = "ulsad"
    summary: ClassVar[str] = (
        "trained: features reconstructed place by place, and consistent with the whole image"
    )
    takes: ClassVar[tuple[str, ...]] = ("checkpoint",)
    declared: ClassVar[Mapping[str, Mapping[str, str]]] = DECLARED
    calibrates_by: ClassVar[Calibrates] = "held-out"
    needs: ClassVar[tuple[str, ...]] = ("encoder",)
    prepares: ClassVar[tuple[str, ...]] = ()
    typed: ClassVar[tuple[str, ...]] = (LOCAL, GLOBAL, COMBINED)
    aims: ClassVar[Aims] = {
        "damage": {"branches": (LOCAL,)},
        "composition": {"branches": (GLOBAL,)},
    }

    def __init__(self, config: UlsadConfig | None = None) -> None:
        self.config = config or UlsadConfig()
        self.config.numbers  # noqa: B018  # wrong options are told of before anything is loaded

    @property
    def branches(self) -> tuple[str, ...]:
        """The local and the global branch, and both combined, which is the score."""
        own = tuple(self.config.branches)
        return (*own, COMBINED) if len(own) > 1 else own

    def fit(self, views: Sequence[ImageView], context: FitContext) -> UlsadState:
        """Trains the networks on the shots (Algorithm 1).

        Validation images, those that the pipeline set aside among them, set the quantiles of the
        maps; nothing is trained on them.
        """
        encoder = self._encoder(context.encoder, context.device)
        own = fit_reconstruction(
            [encoder.square(view.pixels) for view in views],
            [encoder.square(view.pixels) for view in context.validation],
            encoder, self.config.numbers, self.config.branches, seed=context.seed,
            progress=context.progress,
            checkpoint=context.checkpoint and context.checkpoint / CHECKPOINT,
            resume=context.resume, settings=context.settings,
        )  # fmt: skip
        return UlsadState(encoder, len(views), own)

    def evidence(
        self, view: ImageView, state: UlsadState, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        """Maps of the branches and their mean (section 3.5); scores are their maxima."""
        square = state.encoder.square(view.pixels)[None]
        found = state.reconstruction.maps(square, state.encoder.levels(view))
        by_branch = {branch: one[0].cpu().numpy() for branch, one in found.items()}
        if len(by_branch) > 1:
            by_branch[COMBINED] = np.mean(list(by_branch.values()), axis=0)
        maps = {branch: positive(one) for branch, one in by_branch.items()}
        scores = {branch: float(one.max()) for branch, one in maps.items()}
        return Evidence(scores, maps, differences=differences(maps, self._lead, view.size))

    def fusion(self, left_out: Sequence[Mapping[str, float]], state: UlsadState) -> Leading:
        """The combined map is the score; quantiles have brought the branches to one scale."""
        return Leading(self._lead, self.branches)

    def restore(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str
    ) -> UlsadState:
        """Back from a saved detector; ``meta["encoder"]`` is the backbone in that role."""
        facts = {name: one for name, one in meta.items() if name != "encoder"}
        state = restored(tensors, facts, device, self._encoder(meta["encoder"], device))
        if set(state.reconstruction.branches) != set(self.config.branches):
            raise CorruptDetectorError("The saved state is not what the method's branches need.")
        return state

    def notes(self, state: UlsadState) -> list[str]:
        """Whether it learned from too few images."""
        if state.shots >= MANY:
            return []
        images = "1 normal image" if state.shots == 1 else f"{state.shots} normal images"
        return [
            f"the networks learned from {images}; ulsad wants many, some dozens at least: with few "
            f"of them normal variation counts as anomalous"
        ]

    @property
    def _lead(self) -> str:
        return self.branches[-1]

    def _encoder(self, encoder: Any, device: str) -> SharedEncoder:
        return SharedEncoder(present_encoder(encoder, self.name), self.config.side, device)
