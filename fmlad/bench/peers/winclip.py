"""WinCLIP (Jeong et al., CVPR 2023) as anomalib has it, on any plain ViT of open_clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from fmlad.backbones.clip import clip_open
from fmlad.backbones.hub import locate
from fmlad.bench.peers.base import RANDOM, Peer, Transform, anomalib, blaming, no_weights, swapped
from fmlad.bench.peers.options import option
from fmlad.errors import OptionError, UnknownNameError
from fmlad.training.loop import seeded

BACKBONE = "ViT-B-16-plus-240"  # paper and anomalib
TAG = "laion400m_e31"  # anomalib
WORD = "object"  # anomalib's, where nobody says what is in the picture
PASS = "MODEL@TAG, MODEL@FILE or a FOLDER in open_clip's layout"
# What the windows are computed with.
PARTS = ("patch_dropout", "ln_pre", "transformer", "ln_post", "proj", "_global_pool")


@dataclass(frozen=True)
class Options:
    """Of ``anomalib:winclip``."""

    weights: str | None = option(None, f"MODEL@TAG, MODEL@FILE or folder; None is {BACKBONE}@{TAG}")
    backbone: str = option(BACKBONE, "open_clip's name of a model, for random weights only")
    word: str = option(WORD, "what is in the pictures, where no prompts say it")


class WinClip(Peer):
    """Words for sound and damaged, in windows of the picture, and the nearest windows of shots."""

    takes = Options
    takes_word = True

    def _build(self) -> None:
        name, chosen = self.name, self._options
        if not chosen.word.strip():
            raise OptionError(f"{name}: word is empty; expected what is in the pictures.")
        self._module = anomalib("models.image.winclip.torch_model")
        clip, self._tokenizer, mean, std = _clip(name, chosen)
        if not all(hasattr(clip.visual, part) for part in PARTS):
            raise OptionError(
                f"{name}: the vision tower is a {type(clip.visual).__name__}; expected a plain "
                f"vision transformer of open_clip's with a class token, such as {BACKBONE}."
            )
        # Its constructor would always ask for weights of its own.
        stand_in = SimpleNamespace(create_model_and_transforms=lambda *_, **__: (clip, None, None))
        with swapped(self._module, "open_clip", stand_in):
            model = self._module.WinClipModel()
        self.model = model.eval().requires_grad_(False).to(self._device)
        self.transform = _transform(int(clip.visual.image_size[0]), mean, std)

    def _learn(self, shots: Sequence[Tensor], held_out: Sequence[Tensor], word: str | None) -> None:
        with swapped(self._module, "tokenize", self._tokenizer), torch.no_grad():
            self.model.setup(word or self._options.word, torch.cat(list(shots)))

    def _memory(self) -> Iterable[Tensor]:
        if not self._fitted:
            return ()
        return (*self.model.visual_embeddings, self.model.patch_embeddings)


def _transform(side: int, mean: Sequence[float], std: Sequence[float]) -> Transform:
    from torchvision.transforms.v2 import Compose, InterpolationMode, Normalize, Resize

    resize = Resize((side, side), interpolation=InterpolationMode.BICUBIC, antialias=True)
    steps: Transform = Compose([resize, Normalize(mean=list(mean), std=list(std))])
    return steps


def _clip(peer: str, options: Options) -> tuple[Any, Callable[..., Tensor], Any, Any]:
    """Model, tokenizer, mean and std."""
    import open_clip

    source = options.weights or f"{BACKBONE}@{TAG}"
    if source == RANDOM:
        if options.backbone not in open_clip.list_models():
            raise UnknownNameError.of("open_clip model", options.backbone, open_clip.list_models())
        with seeded(0, "cpu"):
            model = open_clip.create_model(options.backbone, pretrained=None)
        tokenizer = open_clip.get_tokenizer(options.backbone)
        return model, tokenizer, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    with blaming(peer, PASS):
        folder = Path(source).expanduser()
        name, at, weights = source.partition("@")
        if at and not folder.exists():
            opened = clip_open.open_name(name, weights, source)
        else:
            folder = folder if folder.is_dir() else locate(source)
            if not (folder / clip_open.CONFIG).is_file():
                raise no_weights(peer, f"{folder} has no {clip_open.CONFIG}", PASS)
            opened = clip_open.open_folder(folder, source)
    return opened.model, opened.tokenizer, opened.mean, opened.std
