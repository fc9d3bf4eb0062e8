"""CLIP models through open_clip: by name and tag, checkpoint file, or in its folder layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fmlad.backbones.clip.clip_open_vision import vision_of
from fmlad.backbones.clip.clip_towers import Towers, check_tokenizer, files_hash
from fmlad.backbones.colours import colours, read_json
from fmlad.backbones.hub import loading, locate, read_tensors, unavailable
from fmlad.errors import UnknownNameError

CONFIG = "open_clip_config.json"
# In open_clip's own order of preference, less the names that transformers' weights go by: the
# same repository often holds both, and these are no open_clip weights.
CHECKPOINTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
)
ENDINGS = (".safetensors", ".bin", ".pt", ".pth")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "spiece.model")


@dataclass(frozen=True)
class OpenModel:
    """A model as open_clip makes it, float32 on the CPU.

    ``tokenizer``: texts -> tokens ``(n, context)``; ``mean`` and ``std`` of RGB in [0, 1];
    ``weights``: SHA-256 over its files.
    """

    model: Any
    tokenizer: Callable[[list[str]], Tensor]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: str


def open_folder(folder: Path, source: str) -> OpenModel:
    """A model in open_clip's folder layout.

    Raises:
        WeightsUnavailableError: A file is missing, damaged or belongs to another model.
    """
    import open_clip

    if not folder.is_dir():
        raise unavailable(source, f"{folder} is not a folder")
    config = read_json(folder / CONFIG, source, "clip")
    if not isinstance(config.get("model_cfg"), dict):
        raise unavailable(source, f"{folder / CONFIG} has no 'model_cfg'")
    pixels = config.get("preprocess_cfg") or {}
    mean, std = colours(pixels.get("mean"), pixels.get("std"), folder / CONFIG, source, "clip")
    checkpoint = _checkpoint(folder, source)
    name = f"local-dir:{folder}"
    model = _create(source, checkpoint, name)
    text = config["model_cfg"].get("text_cfg", {})
    with loading(source, "its tokenizer", "clip"):
        tokenizer = open_clip.get_tokenizer(name)
    files = [folder / CONFIG, checkpoint]
    if text.get("hf_tokenizer_name"):
        files += [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return OpenModel(model, tokenizer, mean, std, files_hash(files))


def open_name(model_name: str, weights: str, source: str) -> OpenModel:
    """An architecture that open_clip knows, with the weights of a tag or of a file.

    Raises:
        UnknownNameError: open_clip knows no such architecture, or no such tag for it.
        WeightsUnavailableError: The weights cannot be had or do not fit the architecture.
    """
    import open_clip

    if model_name not in open_clip.list_models():
        raise UnknownNameError.of("open_clip model", model_name, open_clip.list_models())
    tags = open_clip.list_pretrained_tags_by_model(model_name)
    path = Path(weights).expanduser()
    if weights in tags:
        tag = open_clip.get_pretrained_cfg(model_name, weights)
        _same_gelu(open_clip.get_model_config(model_name), tag, source)
        checkpoint = _from_hub(tag, source)
    elif path.is_file():
        tag = _common(open_clip.get_pretrained_cfg(model_name, known) for known in tags)
        checkpoint = path
    elif path.suffix in ENDINGS or os.sep in weights:
        raise unavailable(source, f"there is no file {path}")
    else:
        raise UnknownNameError.of(f"pretrained tag of {model_name}", weights, tags)
    mean, std = colours(tag["mean"], tag["std"], "open_clip", source, "clip")
    model = _create(source, checkpoint, model_name, pretrained=str(checkpoint))
    tokenizer = _tokenizer_of(model_name, source)
    # The architecture stands in no file: the same weights with another GELU are another model.
    digest = files_hash([checkpoint], salt=model_name)
    return OpenModel(model, tokenizer, mean, std, digest)


class OpenClipText:
    """Text tower and tokenizer of an open_clip model."""

    def __init__(self, model: Any, tokenizer: Any, device: str) -> None:
        self._model, self._tokenizer, self._device = model, tokenizer, device

    def embed(self, texts: Sequence[str]) -> Tensor:
        embeddings: Tensor = self._model.encode_text(self._tokenizer(list(texts)).to(self._device))
        return embeddings

    def knows(self, text: str) -> bool:
        inner = getattr(self._tokenizer, "tokenizer", None)
        unknown = getattr(inner, "unk_token_id", None)
        if inner is None or unknown is None:  # open_clip's own splits anything into bytes
            return True
        return unknown not in inner(text, add_special_tokens=False).input_ids


def _checkpoint(folder: Path, source: str) -> Path:
    for name in CHECKPOINTS:
        if (folder / name).is_file():
            return folder / name
    raise unavailable(source, f"{folder} has neither {CHECKPOINTS[0]} nor {CHECKPOINTS[2]}")


def _from_hub(tag: Mapping[str, Any], source: str) -> Path:
    # "organisation/name/" or "organisation/name/file"
    organisation, _, rest = str(tag.get("hf_hub", "")).partition("/")
    name, _, file = rest.partition("/")
    if not name:
        why = "open_clip knows no Hugging Face repository for this tag; pass MODEL@FILE"
        raise unavailable(source, why, "clip")
    folder = locate(f"{organisation}/{name}")
    if file and (folder / file).is_file():
        return folder / file
    return _checkpoint(folder, source)


def _same_gelu(architecture: Mapping[str, Any], tag: Mapping[str, Any], source: str) -> None:
    """open_clip only warns when weights meet the GELU they were not trained with."""
    has, wants = bool(architecture.get("quick_gelu")), bool(tag.get("quick_gelu"))
    if has != wants:
        kind, ending = ("quick-GELU", "with") if wants else ("plain GELU", "without")
        why = (
            f"these weights were trained with {kind}; choose the architecture {ending} "
            f"'-quickgelu' at the end of its name"
        )
        raise unavailable(source, why, "clip")


def _common(tags: Any) -> Mapping[str, Any]:
    """Mean and std that all tags of an architecture share, else OpenAI's as open_clip assumes."""
    import open_clip

    pairs = {(tuple(tag["mean"]), tuple(tag["std"])) for tag in tags}
    openai = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    mean, std = pairs.pop() if len(pairs) == 1 else openai
    return {"mean": mean, "std": std}


def _create(source: str, checkpoint: Path, name: str, pretrained: str | None = None) -> Any:
    import open_clip

    shapes = _position_shapes(checkpoint, source)
    with loading(source, checkpoint, "clip"):
        # Strict: every weight must be there. Half-precision files become float32.
        model = open_clip.create_model(
            name,
            pretrained=pretrained,
            require_pretrained=True,
            pretrained_text=False,
            precision="fp32",
        )
    state = model.state_dict()
    for key, shape in shapes.items():
        if key in state and tuple(state[key].shape) != shape:
            why = (
                f"{checkpoint} has {key!r} of shape {shape}, the architecture "
                f"{tuple(state[key].shape)}: it belongs to another input size or text length, "
                f"and open_clip would stretch it without a word"
            )
            raise unavailable(source, why, "clip")
    return model


def _position_shapes(checkpoint: Path, source: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the position tables in a checkpoint, without reading the rest if it can be."""
    if checkpoint.suffix == ".safetensors":
        from safetensors import safe_open

        with loading(source, checkpoint, "clip"), safe_open(checkpoint, "pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in list(file.keys())}
    else:
        tensors = read_tensors(checkpoint, source, "clip")
        shapes = {key.removeprefix("module."): tuple(t.shape) for key, t in tensors.items()}
    if not shapes:
        raise unavailable(source, f"{checkpoint} holds no state of a model", "clip")
    return {key: shape for key, shape in shapes.items() if key.endswith("positional_embedding")}


def _tokenizer_of(model_name: str, source: str) -> Any:
    """The tokenizer of a built-in architecture; fetched files come the way weights do."""
    import open_clip
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    text: dict[str, Any] = open_clip.get_model_config(model_name).get("text_cfg", {})
    with loading(source, "its tokenizer", "clip"):
        if not text.get("hf_tokenizer_name"):
            return open_clip.get_tokenizer(model_name)
        return HFTokenizer(
            str(locate(text["hf_tokenizer_name"])),
            context_length=text.get("context_length", DEFAULT_CONTEXT_LENGTH),
            tokenizer_mode=text.get("tokenizer_mode"),
            **(text.get("tokenizer_kwargs") or {}),
        )


def towers(opened: OpenModel, source: str, device: str) -> Towers:
    """The towers of an opened model on a device; errors as :func:`open_folder`."""
    check_tokenizer(opened.tokenizer, int(opened.model.vocab_size), source)
    model = opened.model.eval().requires_grad_(False).to(device)
    text = OpenClipText(model, opened.tokenizer, device)
    vision, scale = vision_of(model, source), float(model.logit_scale.exp())
    return Towers(vision, text, opened.mean, opened.std, scale, opened.weights)
