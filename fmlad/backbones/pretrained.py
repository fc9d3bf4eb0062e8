"""Models from folders and files: the checks that every family of networks needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fmlad.backbones.weights import unavailable


def settings(folder: Path) -> dict[str, Any]:
    """``config.json`` of a model folder; empty if it cannot be read as an object."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def from_folder(kinds: Mapping[str, Any], folder: Path, source: str, family: str) -> Any:
    """A model as transformers saves it, float32 on the CPU.

    Args:
        kinds: ``model_type`` of the config -> class to load it with.
        folder: Holds ``config.json`` and the weights.
        source: As the user wrote it, for messages.
        family: Prefix of the backbone name, for messages.

    Raises:
        WeightsUnavailableError: Another kind of model, damaged, or weights are missing in it.
    """
    from safetensors import SafetensorError

    kind = str(settings(folder).get("model_type", "unknown"))
    if kind not in kinds:
        expected = " or ".join(repr(name) for name in kinds)
        why = f"{folder} holds a {kind!r} model, and {expected} was expected"
        raise unavailable(source, why, family)
    try:
        # dtype: a half-precision checkpoint would otherwise make a half-precision CPU model.
        model, report = kinds[kind].from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise unavailable(source, f"{folder} cannot be loaded ({error})", family) from error
    if report["missing_keys"]:  # transformers would fill them with random numbers
        lacking = sorted(report["missing_keys"])[0]
        why = f"the checkpoint in {folder} lacks {lacking!r} and maybe more"
        raise unavailable(source, why, family)
    return model


def read_tensors(file: Path, source: str, family: str) -> dict[str, Tensor]:
    """The named tensors of a pickled checkpoint; code in it is never run.

    A training's checkpoint has them under ``"state_dict"`` or ``"model"``.

    Raises:
        WeightsUnavailableError: It is damaged, or holds something else.
    """
    try:
        loaded: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged pickle provokes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        why = f"{file} cannot be read as a checkpoint of tensors alone ({reason})"
        raise unavailable(source, why, family) from error
    if not isinstance(loaded, dict):
        raise unavailable(source, f"{file} holds no named tensors", family)
    return named_tensors(loaded)


def named_tensors(loaded: Any) -> dict[str, Tensor]:
    """The tensors of a loaded checkpoint by name; empty where it is of another shape."""
    for inner in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(inner), dict):
            loaded = loaded[inner]
    if not isinstance(loaded, dict):
        return {}
    return {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
