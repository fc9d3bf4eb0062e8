"""The local-global student-teacher branch (LGST): training, and maps of what was learned.

CSAD, section 3.4; its losses and its schedule are those of EfficientAD, Algorithm 1. The encoder is
frozen and shared with the segmenter. The last weights are kept: no labels choose others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.errors import CorruptDetectorError
from fmlad.io.tensors import TensorReader, modules_tensors
from fmlad.methods.csad.student_config import StudentConfig
from fmlad.methods.csad.student_data import Kept, Source, jittered_squares, penalty_squares, taught
from fmlad.methods.shared_encoder import SharedEncoder
from fmlad.networks.feature_maps import LevelAutoencoder
from fmlad.networks.student_teacher import (
    PixelAutoencoder,
    Students,
    Teacher,
    level_body,
    pixel_body,
    surroundings_body,
)
from fmlad.progress import Progress, silent
from fmlad.scoring.map_quantiles import MapQuantiles
from fmlad.training.loop import SAVE_SECONDS, Shuffled, late_drop, seeded, train
from fmlad.training.losses import hard_feature_loss

NETWORKS = ("teacher", "local", "across")


class FittedStudents:
    """Teacher and students, trained, with the quantiles of their maps over normal images.

    Attributes:
        config: They were trained with.
        teacher, local, across: The networks; ``across`` is the global student.
        quantiles: Of the local and of the global map.
        penalised: Number of penalty images that the local student learned not to imitate on.
    """

    def __init__(
        self, config: StudentConfig, networks: Mapping[str, nn.Module],
        quantiles: tuple[MapQuantiles, MapQuantiles], penalised: int, side: int,
    ) -> None:  # fmt: skip
        """With networks as :func:`build` makes them, trained on inputs of ``side`` px."""
        self.config, self.quantiles, self.penalised = config, quantiles, penalised
        self._side = side
        self._networks = {n: m.eval().requires_grad_(False) for n, m in networks.items()}

    @torch.inference_mode()
    def maps(self, source: Source) -> tuple[Tensor, Tensor]:
        """Local and global map of images, not normalised, float32 ``(B, grid, grid)`` each.

        Squared differences averaged over channels: of local student and teacher, and of local and
        global student.
        """
        teacher, local, across = (self._networks[name] for name in NETWORKS)
        wanted = teacher(source.teachers(self.config))
        near, far = local(source.local(self.config, wanted))
        said = across(source.across(self.config))
        return (near - wanted).square().mean(1), (far - said).square().mean(1)

    def anomaly_map(self, source: Source) -> Tensor:
        """Both maps of one image by their quantiles, added up, ``(side, side)``.

        The paper's appendix D has their mean, its code the sum; the order is the same.
        """
        first, second = self.maps(source)
        joined = self.quantiles[0](first) + self.quantiles[1](second)
        size = (self._side, self._side)
        return F.interpolate(joined[None], size, mode="bilinear")[0, 0].clamp(min=0)

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors, on the CPU."""
        return modules_tensors(self._networks)

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts that are not tensors."""
        return {
            "config": asdict(self.config),
            "quantiles": [one.to_list() for one in self.quantiles],
            "penalised": self.penalised,
        }

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, Tensor],
        meta: Mapping[str, Any],
        device: str,
        encoder: SharedEncoder,
    ) -> FittedStudents:
        """Inverse of :meth:`tensors` and :meth:`meta`.

        Raises:
            CorruptDetectorError: Something is missing, too much, or of another shape or dtype.
        """
        reader = TensorReader(tensors, device)
        with reader.description("students"):
            config = StudentConfig(**meta["config"])
            networks = build(config, encoder)
            for name, network in networks.items():
                reader.module(name, network)
            first, second = (MapQuantiles(*map(float, pair)) for pair in meta["quantiles"])
            penalised = int(meta["penalised"])
        if penalised < 0:
            raise CorruptDetectorError("The saved students had a negative number of penalties.")
        return cls(config, networks, (first, second), penalised, encoder.side)


def build(config: StudentConfig, encoder: SharedEncoder) -> dict[str, nn.Module]:
    """The networks with fresh weights, by the names in :data:`NETWORKS`."""
    levels = taught(encoder.channels, config)
    teacher = Teacher(levels, config.grid, config.channels, config.averaged)
    out = teacher.channels
    if config.source == "pixels":
        body: nn.Module = pixel_body(config.width)
        across: nn.Module = PixelAutoencoder(encoder.side, out, config.grid)
    else:
        body = (
            surroundings_body(out, config.width)
            if config.source == "around"
            else level_body(encoder.channels[0], config.width)
        )
        cells = encoder.side // encoder.strides[-1]
        across = LevelAutoencoder(encoder.channels[-1], cells, config.bottleneck, out, config.grid)
    local = Students(
        body, config.width, out, config.ends, config.grid, around=config.source != "around"
    )
    return {"teacher": teacher, "local": local, "across": across}


def fit_students(
    squares: Sequence[Tensor],
    held_out: Sequence[Tensor],
    encoder: SharedEncoder,
    config: StudentConfig,
    *,
    penalty: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
    checkpoint: Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> FittedStudents:
    """Trains both students; the same arguments give the same weights on a CPU.

    Args:
        squares: Training images, uint8 ``(3, side, side)`` each (:meth:`SharedEncoder.square`).
        held_out: Further normal images, for the quantiles of the maps; none: the training images
            take their place.
        encoder: Frozen.
        config: All numbers.
        penalty: Folder of penalty images, or None.
        seed: Of the first weights and all draws, at least 0.
        progress: As :func:`fmlad.training.loop.train` calls it.
        checkpoint: File for checkpoints, or None.
        resume: Goes on from that file where it exists.
        settings: JSON-ready, of what must be the same on resumption; config and encoder are added.

    Raises:
        DatasetError: The folder of penalty images holds none.
        TrainingError: The weights are no longer finite, or a checkpoint does not fit.
    """
    training = _Training(squares, encoder, config, penalty, seed, progress)
    must = {
        **(settings or {}), "students": asdict(config), "encoder": encoder.fingerprint,
        "side": encoder.side, "images": len(squares), "penalties": training.penalised,
    }  # fmt: skip
    train(
        training.loss, training.networks, [training.optimizer], steps=config.steps, seed=seed,
        schedule=late_drop, checkpoint=checkpoint, resume=resume, settings=must,
        save_seconds=SAVE_SECONDS, progress=progress, what="students",
    )  # fmt: skip
    plain = (MapQuantiles(0.0, 1.0),) * 2
    found = FittedStudents(config, training.networks, plain, training.penalised, encoder.side)
    maps: list[tuple[Any, Any]] = []
    for square in held_out or squares:
        source = Source(square[None], encoder.encode(square[None]))
        first, second = found.maps(source)
        maps.append((first[0].cpu().numpy(), second[0].cpu().numpy()))
    found.quantiles = (
        MapQuantiles.fit([first for first, _ in maps]),
        MapQuantiles.fit([second for _, second in maps]),
    )
    return found


class _Training:
    """Networks, data and loss of one training."""

    def __init__(
        self, squares: Sequence[Tensor], encoder: SharedEncoder, config: StudentConfig,
        penalty: str | None, seed: int, progress: Progress,
    ) -> None:  # fmt: skip
        self._config = config
        with seeded(seed, encoder.device):
            self.networks = {n: m.to(encoder.device) for n, m in build(config, encoder).items()}
        keep = config.source != "pixels"  # over pixels there are too many altered copies to keep
        self._images = Kept(squares, encoder, keep, progress, "students: features")
        self._altered: Kept | None = None
        if keep:
            copies = jittered_squares(squares, config.copies, config.jitter, seed)
            self._altered = Kept(copies, encoder, keep, progress, "students: altered copies")
        others = penalty_squares(penalty, encoder.side, config.grey, config.penalties, seed)
        self.penalised = len(others)
        self._others = Kept(others, encoder, keep, progress, "students: penalty images")
        self._learn_moments()
        learned = [*self.networks["local"].parameters(), *self.networks["across"].parameters()]
        self.optimizer = torch.optim.Adam(learned, config.rate, weight_decay=config.weight_decay)
        self._order = Shuffled(len(squares), config.batch, seed)
        self._other_order = Shuffled(max(1, self.penalised), config.batch, seed, stream=1)
        self._encoder = encoder

    def loss(self, step: int, rng: np.random.Generator) -> Tensor:
        """EfficientAD, Algorithm 1: of local student, penalty, global student, and between both."""
        config = self._config
        teacher, local, across = (self.networks[name] for name in NETWORKS)
        rows = self._order(step)
        source = self._images.source(rows)
        wanted = self._images.wanted(rows, source, teacher, config)
        value = hard_feature_loss(local(source.local(config, wanted))[0], wanted, config.hard)
        if self.penalised:
            drawn = self._other_order(step)
            others = self._others.source(drawn)
            told = config.source == "around"
            shown = self._others.wanted(drawn, others, teacher, config) if told else wanted
            value = value + local(others.local(config, shown))[0].square().mean()
        altered, wanted = self._of_altered(rows, rng)
        said = across(altered.across(config))
        value = value + F.mse_loss(said, wanted)
        return value + F.mse_loss(local(altered.local(config, wanted))[1], said)

    def _of_altered(self, rows: Sequence[int], rng: np.random.Generator) -> tuple[Source, Tensor]:
        """Images in other colours, and the teacher's maps of them."""
        teacher = self.networks["teacher"]
        if self._altered is not None:
            count = len(self._altered) // self._config.copies
            copies = rng.integers(self._config.copies, size=len(rows))
            drawn = [r + count * int(c) for r, c in zip(rows, copies, strict=True)]
            source = self._altered.source(drawn)
            return source, self._altered.wanted(drawn, source, teacher, self._config)
        originals = [self._images.squares[row] for row in rows]
        squares = torch.stack(jittered_squares(originals, 1, self._config.jitter, rng))
        source = Source(squares, self._encoder.encode(squares))
        return source, teacher(source.teachers(self._config))

    @torch.no_grad()
    def _learn_moments(self) -> None:
        """Of the teacher's channels, and of the maps that students over levels see."""
        teacher: Any = self.networks["teacher"]
        sources = [self._images.source([row]) for row in range(len(self._images))]
        teacher.standard.learn([teacher.raw(one.teachers(self._config)) for one in sources])
        if self._config.source == "levels":
            local: Any = self.networks["local"]
            local.body[0].learn([one.levels[0] for one in sources])
        if self._config.source != "pixels":
            across: Any = self.networks["across"]
            across[0].learn([one.across(self._config) for one in sources])
        for kept in (self._images, self._altered, self._others):
            if kept is not None:
                kept.teach(teacher, self._config)
