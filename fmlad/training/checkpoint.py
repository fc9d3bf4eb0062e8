"""Checkpoints of a training: one safetensors file, never pickle, whole or not there at all.

Tensors lie under their own path (``modules/frn/0.weight``, ``optimizers/0/state/3/exp_avg``); all
else is one JSON text in the file's metadata, in which ``{"$tensor": path}`` stands for a tensor.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fmlad.errors import CheckpointError

FORMAT = 1
KEY = "fmlad.checkpoint"
POINTER = "$tensor"


@dataclass(frozen=True)
class Training:
    """All that a checkpoint brings back, beside the step and the random states.

    Attributes:
        settings: JSON-ready; whoever resumes must have the same.
        modules: By name; parameters and buffers of any dtype.
        optimizers: In a fixed order.
        scaler: Of the mixed precision.
    """

    settings: Mapping[str, Any]
    modules: Mapping[str, nn.Module]
    optimizers: Sequence[Optimizer]
    scaler: torch.amp.GradScaler


def save(path: Path, step: int, training: Training) -> None:
    """Writes a checkpoint after ``step`` steps beside ``path`` and renames it into place.

    The random states of torch (CPU, and CUDA where it is in use), NumPy and Python go with it.

    Raises:
        CheckpointError: It cannot be written; an earlier checkpoint is still whole.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = {
        "modules": {name: module.state_dict() for name, module in training.modules.items()},
        "optimizers": [optimizer.state_dict() for optimizer in training.optimizers],
        "scaler": training.scaler.state_dict(),
        "random": _random_states(),
    }
    tensors: dict[str, Tensor] = {}
    record = {
        "format": FORMAT,
        "step": step,
        "settings": training.settings,
        "state": _without_tensors(state, "", tensors),
    }
    metadata = {KEY: json.dumps(record)}
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, metadata)
        # Written through: after a power cut a renamed file may otherwise be empty.
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"The checkpoint {path} cannot be written: {error}.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def load(path: Path, training: Training) -> int:
    """Brings everything back to where :func:`save` found it, the random states included.

    Returns:
        Number of steps done.

    Raises:
        CheckpointError: It is damaged, no checkpoint, or one of another training.
    """
    record, tensors = _read(path)
    theirs, ours = record["settings"], json.loads(json.dumps(training.settings))
    for name in sorted(theirs.keys() | ours.keys()):
        if (there := theirs.get(name)) != (here := ours.get(name)):
            raise CheckpointError(
                f"The checkpoint {path} is of another training: its {name} is {there!r}, here it "
                f"is {here!r}. Resume with the settings it was made with, or start anew."
            )
    try:
        state = _with_tensors(record["state"], tensors)
        for name, module in training.modules.items():
            module.load_state_dict(state["modules"][name])
        for optimizer, saved in zip(training.optimizers, state["optimizers"], strict=True):
            numbered = {int(number): kept for number, kept in saved["state"].items()}
            optimizer.load_state_dict({**saved, "state": numbered})
        training.scaler.load_state_dict(state["scaler"])
        _set_random_states(state["random"])
    except (KeyError, ValueError, RuntimeError) as error:
        reason = str(error).replace("\n", " ")
        raise CheckpointError(
            f"The checkpoint {path} does not fit the networks of this training: {reason}."
        ) from error
    return int(record["step"])


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {}).get(KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"The checkpoint {path} is damaged ({error}); expected a file that a training wrote. "
            f"Remove it and start anew."
        ) from error
    if record.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no checkpoint of format {FORMAT}; expected a file that a training wrote."
        )
    return record, tensors


def _without_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A nested state with a pointer for each tensor, which goes to ``tensors``."""
    if isinstance(value, Tensor):
        # Copied, because safetensors refuses tensors that share memory or are strided.
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {POINTER: path}
    if isinstance(value, Mapping):
        inner = path + "/" if path else ""
        return {str(k): _without_tensors(v, f"{inner}{k}", tensors) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_tensors(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if POINTER in value:
            return tensors[value[POINTER]]
        return {key: _with_tensors(inner, tensors) for key, inner in value.items()}
    return [_with_tensors(inner, tensors) for inner in value] if isinstance(value, list) else value


def _random_states() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 (third parties draw from it)
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if cuda else [],
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "python": random.getstate(),
    }


def _set_random_states(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    np.random.set_state(tuple(states["numpy"]))  # noqa: NPY002
    version, keys, gauss = states["python"]
    random.setstate((version, tuple(keys), gauss))
