"""The training loop: so many steps, the same weights for the same seed, and a way back in.

All chance is a function of the seed and the step: the order of the data (:class:`Shuffled`), the
generator that each step is given, and torch's, NumPy's and Python's global ones, whose states lie
in the checkpoint. So a training that was stopped and resumed ends, on a CPU and as many threads,
with the very weights of one that was not.
"""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fmlad.errors import CheckpointError, TrainingError
from fmlad.progress import Progress, silent
from fmlad.training import checkpoint as checkpoints

Loss = Callable[[int, np.random.Generator], Tensor]
"""``loss(step, rng)``: the loss of one step, a scalar; ``rng`` is a function of seed and step."""

Schedule = Callable[[float], float]
"""Share of the training done, in 0..1 -> factor of the learning rate."""

_log = logging.getLogger(__name__)

SAVE_SECONDS, TELL_SECONDS = 300.0, 1.0


def constant(done: float) -> float:
    """The rate stays as it is (PSAD, ULSAD and the segmenter of CSAD)."""
    return 1.0


def late_drop(done: float) -> float:
    """A tenth of the rate for the last 5 % (EfficientAD, Algorithm 1; CSAD's student-teacher)."""
    return 1.0 if done < 0.95 else 0.1


@dataclass(frozen=True)
class Shuffled:
    """Batches of indices, without end: one random order of all items after another.

    A batch is always full: it may reach into the next order, and with fewer items than it takes it
    holds some twice.

    Attributes:
        count: Number of items.
        size: Items in a batch.
        seed: Of the orders.
        stream: Two sources with one seed have different streams.
    """

    count: int
    size: int
    seed: int
    stream: int = 0

    def __call__(self, step: int) -> list[int]:
        """The ``size`` indices of a step, in 0..count - 1."""
        places = range(step * self.size, (step + 1) * self.size)
        turns = (divmod(at, self.count) for at in places)
        return [int(_order(self.count, self.seed, self.stream, e)[at]) for e, at in turns]

    def steps(self, epochs: int) -> int:
        """Number of steps in which every item came ``epochs`` times, at least one."""
        return max(1, -(-epochs * self.count // self.size))


@lru_cache(maxsize=16)
def _order(count: int, seed: int, stream: int, epoch: int) -> npt.NDArray[np.int64]:
    # The last word, because NumPy takes missing ones for 0: (seed, step) is for the steps.
    return np.random.default_rng((seed, epoch, stream, 1)).permutation(count)


def _set_aside(checkpoint: Path) -> None:
    """Keeps an earlier training that is not resumed: it may have taken hours."""
    aside = checkpoint.with_name(f"{checkpoint.name}.earlier")
    try:
        checkpoint.replace(aside)
    except OSError as error:
        raise CheckpointError(f"{checkpoint} cannot be kept as {aside.name}: {error}.") from error
    _log.warning("an earlier training was kept as %s; resume=True would go on from it", aside)


@contextmanager
def seeded(seed: int, device: torch.device | str) -> Iterator[None]:
    """Seeds torch, NumPy's and Python's global generators, and afterwards has them as they were.

    Networks are built in it, so that their first weights are those of the seed.
    """
    numpy, python = np.random.get_state(), random.getstate()  # noqa: NPY002
    cuda = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if cuda else ()):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy)  # noqa: NPY002
            random.setstate(python)


def train(
    loss: Loss,
    modules: Mapping[str, nn.Module],
    optimizers: Sequence[Optimizer],
    *,
    steps: int,
    seed: int,
    schedule: Schedule = constant,
    mixed: bool = True,
    checkpoint: Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    save_seconds: float = SAVE_SECONDS,
    progress: Progress = silent,
    what: str = "training",
) -> None:
    """Minimises a loss; afterwards the modules are trained and in evaluation mode.

    Args:
        loss: Draws its own batch (:class:`Shuffled`) and leaves ``backward`` to the loop.
        modules: What is trained, by name, on one device; frozen networks stay outside.
        optimizers: Of their parameters, at their full learning rate; each takes every step.
        steps: Number of steps, those before a resumption included.
        seed: At least 0.
        schedule: Of the learning rate. It has no state but the step.
        mixed: On CUDA, half precision where it is safe, with a scaled loss; elsewhere float32.
        checkpoint: File for checkpoints, or None for none. An earlier one is kept beside it, as
            ``NAME.earlier``, unless it is resumed.
        resume: Goes on from ``checkpoint`` where there is one. A finished training is just read.
        settings: JSON-ready, of what must be the same on resumption (options, names of images).
        save_seconds: Time between checkpoints; one more is written at the end.
        progress: Called as ``progress(done, total, "training: loss 0.031, 4 min left")``, about
            once a second, with the mean loss since the last call.
        what: What stands before the colon.

    Raises:
        TrainingError: A weight is no longer finite.
        CheckpointError: A checkpoint cannot be written, or not be resumed.
        KeyboardInterrupt: Ctrl-C. The step is finished first and a checkpoint written; the message
            says how to go on. A second Ctrl-C does not wait.
    """
    device = next(p.device for module in modules.values() for p in module.parameters())
    mixed = mixed and device.type == "cuda"
    scaler = torch.amp.GradScaler(device.type, enabled=mixed)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    must = {**(settings or {}), "seed": seed, "steps": steps, "mixed": mixed, "rates": rates}
    training = checkpoints.Training(must, modules, optimizers, scaler)
    with seeded(seed, device), _late_interrupt() as interrupted:
        first = step = 0
        if checkpoint and checkpoint.exists():
            if resume:
                first = step = checkpoints.load(checkpoint, training)
            else:
                _set_aside(checkpoint)
        elif checkpoint and resume:
            _log.warning("%s does not exist: the training starts anew", checkpoint)
        for module in modules.values():
            module.train()
        begun = saved = told = time.monotonic()
        total, since = torch.zeros((), device=device), step
        while step < steps and not interrupted.is_set():
            factor = schedule(step / steps)
            for optimizer, full in zip(optimizers, rates, strict=True):
                for group, rate in zip(optimizer.param_groups, full, strict=True):
                    group["lr"] = rate * factor
                optimizer.zero_grad()
            with torch.autocast(device.type, torch.float16, enabled=mixed):
                value = loss(step, np.random.default_rng((seed, step)))
            torch.autograd.backward(scaler.scale(value))
            for optimizer in optimizers:
                scaler.step(optimizer)
            scaler.update()
            step += 1
            total += value.detach()
            now = time.monotonic()
            if now - told >= TELL_SECONDS or step in (first + 1, steps):
                left = duration((now - begun) / (step - first) * (steps - step))
                mean = float(total) / (step - since)
                progress(step, steps, f"{what}: loss {mean:.3g}, {left} left")
                told, since = now, step
                total.zero_()
            if checkpoint and step < steps and now - saved >= save_seconds:
                _check_finite(modules, step)
                checkpoints.save(checkpoint, step, training)
                saved = time.monotonic()
        _check_finite(modules, step)
        if checkpoint and step > first:
            checkpoints.save(checkpoint, step, training)
    if interrupted.is_set():
        kept = (
            f"{checkpoint} holds them: the same call with resume=True (--resume) goes on from there"
        )
        lost = "they are lost: with a checkpoint they would have been kept"
        raise KeyboardInterrupt(
            f"{what} was stopped after {step} of {steps} steps; {kept if checkpoint else lost}."
        )
    for module in modules.values():
        module.eval()


@contextmanager
def _late_interrupt() -> Iterator[threading.Event]:
    """Sets an event at the first Ctrl-C; the second one interrupts, as always."""
    asked = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    # Only the main thread is interrupted, and only it may say what is to happen then.
    if before is None or threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _check_finite(modules: Mapping[str, nn.Module], step: int) -> None:
    named = (pair for name, module in modules.items() for pair in module.named_parameters(name))
    lost = [name for name, weights in named if not torch.isfinite(weights).all()]
    if lost:
        raise TrainingError(
            f"The training diverged: after {step} steps the weights {lost[0]!r} are no longer "
            f"finite. Lower the learning rate, or look for images of a single colour."
        )


def duration(seconds: float) -> str:
    """A span of time for people: ``"40 s"``, ``"12 min"``, ``"2.5 h"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
