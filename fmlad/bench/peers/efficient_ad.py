"""EfficientAD (Batzner et al., WACV 2024) as anomalib has it: networks and losses.

The loop around them is :func:`fmlad.training.loop.train`, with anomalib's settings: one picture a
step, Adam, a tenth of the rate after 95 % of the steps, float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fmlad.backbones.hub import read_tensors
from fmlad.bench.peers.base import Peer, anomalib, blaming, no_weights
from fmlad.bench.peers.options import option
from fmlad.errors import DatasetError, OptionError
from fmlad.io.images import IMAGE_SUFFIXES, load_image
from fmlad.training.loop import Shuffled, late_drop, seeded, train

SIDE = 256
STEPS = 70_000  # paper, Algorithm 1
RATE, DECAY = 1e-4, 1e-5  # paper, Algorithm 1
GREY = 0.3  # paper, Algorithm 1: share of penalty pictures without colour
PASS = "FILE: pretrained_teacher_small.pth or _medium.pth of anomalib's release of weights"


@dataclass(frozen=True)
class Options:
    """Of ``anomalib:efficient-ad``."""

    weights: str | None = option(None, "file of the teacher; None is anomalib's own folder")
    penalty: str | None = option(None, "folder of pictures of anything else, such as ImageNet's")
    size: str = option("small", "small or medium")
    steps: int = option(STEPS, "steps of training", least=1)
    side: int = option(SIDE, "pixels of the squashed input", least=SIDE, most=2048)


class EfficientAd(Peer):
    """A student that learns a teacher's features on the shots, and an autoencoder's."""

    takes = Options
    takes_validation = True

    def _build(self) -> None:
        if self._options.size not in ("small", "medium"):
            raise OptionError(
                f"{self.name}: size is {self._options.size!r}; expected 'small' or 'medium'."
            )
        self._module = anomalib("models.image.efficient_ad.torch_model")
        lightning = anomalib("models.image.efficient_ad.lightning_model")
        self._penalty = _penalty_files(self.name, self._options.penalty)
        with seeded(0, "cpu"):
            self.model = self._new_model()
        if not self._random:
            self._load_teacher()
        self._teacher = self.model.teacher.state_dict()
        sides = (self._options.side, self._options.side)
        self.transform = lightning.EfficientAd.configure_pre_processor(sides).transform

    def _learn(self, shots: Sequence[Tensor], held_out: Sequence[Tensor], word: str | None) -> None:
        model = self.model = self._new_model()
        model.teacher.load_state_dict(self._teacher)
        model = model.to(self._device)
        with torch.no_grad():
            model.mean_std.update(_channel_statistics(model.teacher, shots))
        seed = int(torch.randint(2**31, ()))  # ``fit`` has seeded the generator it comes from
        order = Shuffled(len(shots), 1, seed)
        others = Shuffled(len(self._penalty), 1, seed, stream=1)

        def loss(step: int, rng: np.random.Generator) -> Tensor:
            (shot,), (other,) = order(step), others(step)
            losses = model(shots[shot], self._penalty_pixels(self._penalty[other], rng))
            return torch.stack(losses).sum()

        learning = [*model.student.parameters(), *model.ae.parameters()]
        adam = torch.optim.Adam(learning, lr=RATE, weight_decay=DECAY)
        steps = self._options.steps
        train(
            loss, {"model": model}, [adam], steps=steps, seed=seed, schedule=late_drop, mixed=False
        )
        # anomalib and the paper take validation images; without any the shots must do.
        model.quantiles.update(_quantiles(model, held_out or shots))

    def _new_model(self) -> Any:
        return self._module.EfficientAdModel(
            model_size=self._module.EfficientAdModelSize(self._options.size)
        )

    def _load_teacher(self) -> None:
        chosen = self._options.weights
        if chosen is None:
            release = anomalib("utils.path").get_pretrained_weights_dir()
            folder = release / "efficientad_pretrained_weights"
            file = folder / f"pretrained_teacher_{self._options.size}.pth"
        else:
            file = Path(chosen).expanduser()
        if not file.is_file():
            raise no_weights(self.name, f"there is no teacher {file}", PASS)
        with blaming(self.name, PASS):
            state = read_tensors(file, str(file), "")
        try:
            self.model.teacher.load_state_dict(state)
        except RuntimeError as error:
            why = f"{file} is no teacher of size {self._options.size!r}"
            raise no_weights(self.name, why, PASS) from error

    def _penalty_pixels(self, file: Path, rng: np.random.Generator) -> Tensor:
        """A picture of something else ``(1, 3, side, side)``: the middle of twice the size."""
        from torchvision.transforms.v2 import functional as V

        side = self._options.side
        pixels: Tensor = torch.from_numpy(load_image(file)).permute(2, 0, 1).float() / 255
        pixels = V.center_crop(V.resize(pixels, [2 * side, 2 * side], antialias=True), [side, side])
        if rng.random() < GREY:
            pixels = V.rgb_to_grayscale(pixels, num_output_channels=3)
        return pixels[None].to(self._device)


def _channel_statistics(teacher: nn.Module, shots: Sequence[Tensor]) -> dict[str, Tensor]:
    """Mean and deviation of each of the teacher's channels over the shots, ``(1, C, 1, 1)``."""
    features = torch.cat([teacher(shot).flatten(2).transpose(1, 2)[0] for shot in shots])
    std, mean = torch.std_mean(features, dim=0, correction=0)
    return {"mean": mean[None, :, None, None], "std": std[None, :, None, None]}


def _quantiles(model: Any, images: Sequence[Tensor]) -> dict[str, Tensor]:
    """The 90 % and 99.5 % quantiles of both maps over normal images."""
    found = {}
    with torch.no_grad():
        maps = [model.get_maps(image, normalize=False) for image in images]
    for place, kind in enumerate(("st", "ae")):
        values = torch.cat([pair[place].flatten() for pair in maps]).cpu().numpy()
        for quantile, letter in ((0.9, "a"), (0.995, "b")):
            # NumPy's has no limit on the number of values; torch's has one.
            value = torch.tensor(float(np.quantile(values, quantile)))
            found[f"q{letter}_{kind}"] = value.to(images[0].device)
    return found


def _penalty_files(peer: str, folder: str | None) -> list[Path]:
    if folder is None:
        raise DatasetError(
            f"The peer {peer!r} needs pictures of anything but the category, which keep the "
            f"student from generalising; pass penalty=FOLDER (its authors take ImageNet)."
        )
    place = Path(folder).expanduser()
    files = sorted(path for path in place.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DatasetError(
            f"{peer}: penalty is {folder!r}, which holds no pictures; expected a folder of them."
        )
    return files
