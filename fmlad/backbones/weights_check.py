"""Whether weights on this machine are what they should be: files, hashes, structure, companions.

Nothing is built. A safetensors header is read, a pickled checkpoint is opened with tensors without
memory and ``weights_only``, and the small files beside them are parsed. The last matters most:
transformers makes a tokenizer with an empty vocabulary out of a folder that has none, and says
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fmlad.backbones.pretrained import named_tensors
from fmlad.backbones.weights import CHECKPOINTS, COMPANIONS, CONFIGS, file_hash, find, searched
from fmlad.backbones.weights_catalogue import Weights
from fmlad.errors import WeightsUnavailableError

# Kinds of model (model_type in config.json) that read words -> size of the vocabulary where the
# config leaves its library's default out (transformers 5.23); None: it never does.
VOCABULARIES = {
    "clip": 49408,
    "clipseg": 49408,
    "owlvit": 49408,
    "owlv2": 49408,
    "siglip": 32000,
    "siglip2": None,
    "grounding-dino": 30522,
    "mm-grounding-dino": 30522,
}
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
NEEDS_PREPROCESSOR = {*VOCABULARIES, "sam3"}  # fmlad feeds SAM, SAM-HQ and SAM 2 itself
# Family -> a tensor without which a single checkpoint is not what its name says.
LANDMARKS = {
    "featup": "upsampler.up1.range_temp",
    "sam": "image_encoder.pos_embed",
    "sam-hq": "mask_decoder.hf_token.weight",
}


@dataclass(frozen=True)
class CheckedFile:
    """One file that belongs to the weights.

    Attributes:
        name: File name.
        size: Bytes.
        sha256: Hexadecimal, as found.
        pinned: What the catalogue expects; None: not pinned.
    """

    name: str
    size: int
    sha256: str
    pinned: str | None


@dataclass(frozen=True)
class Report:
    """The outcome of :func:`check`.

    Attributes:
        name: Backbone name, as asked for.
        where: Folder or file, None: not on this machine.
        files: Those that belong to it.
        problems: Sentences without a full stop; empty: all is well.
    """

    name: str
    where: Path | None
    files: tuple[CheckedFile, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "ok": self.ok,
            "where": str(self.where) if self.where else None,
            "files": [asdict(file) for file in self.files],
            "problems": list(self.problems),
        }


def check(
    weights: Weights, progress: Callable[[int, int, str], None] = lambda done, total, what: None
) -> Report:
    """Looks for weights on this machine and examines them; never raises for what it finds.

    Args:
        weights: Of the catalogue, or any others.
        progress: Told files done, files in all and what is being read.
    """
    try:
        where = find(weights.source, family=weights.family or None)
    except WeightsUnavailableError as error:
        return Report(weights.name, None, (), (str(error).rstrip("."),))
    if where is None:
        return Report(weights.name, None, (), (describe_absence(weights),))
    try:
        return _examine(where, weights, progress)
    except OSError as error:  # no right to read it, or it vanished meanwhile
        return Report(weights.name, where, (), (f"{where} cannot be read ({error})",))


def _examine(where: Path, weights: Weights, progress: Callable[[int, int, str], None]) -> Report:
    problems: list[str] = []
    paths = files_of(where, weights)
    landmark = LANDMARKS.get(weights.family) if where.is_file() else None
    files = []
    for number, path in enumerate(paths):
        progress(number, len(paths), f"reading {path.name}")
        problems += _unreadable(path, landmark)
        found = file_hash(path)
        pinned = _pinned(weights, path.name)
        if pinned is not None and found != pinned:
            problems.append(
                f"{path.name} has the SHA-256 {found}, expected {pinned}: it is damaged, or its "
                f"publisher changed it"
            )
        files.append(CheckedFile(path.name, path.stat().st_size, found, pinned))
    progress(len(paths), len(paths), "reading")
    if where.is_dir():
        problems += _incomplete(where, weights, paths)
        if not problems:  # a config that cannot be read has been reported
            try:
                problems += _silent_fallbacks(where)
            except (AttributeError, KeyError, TypeError, ValueError):
                problems.append("its config is JSON of another shape than a model's")
    return Report(weights.name, where, tuple(files), tuple(problems))


def describe_absence(weights: Weights) -> str:
    """Why :func:`find` did not find it, as a sentence without a full stop."""
    partial = searched(weights.source, weights.family or None)
    if not partial:
        return "not on this machine"
    place, lacking = partial[0]
    return f"incomplete: {place} has no {', no '.join(lacking)}"


def files_of(where: Path, weights: Weights) -> list[Path]:
    """The files that make up a set of weights, in a fixed order.

    Of catalogued weights those listed; of other folders everything a model library writes there,
    without pickled checkpoints where there is a safetensors file.
    """
    if where.is_file():
        return [where]
    if weights.files:
        found = []
        for file in weights.files:
            found += [where / name for name in file.names if (where / name).is_file()][:1]
        if found:
            return found
    everything = sorted(path for path in where.iterdir() if path.is_file())
    safe = [path for path in everything if path.suffix == ".safetensors"]
    tensors = safe or [path for path in everything if path.suffix in CHECKPOINTS]
    return [path for path in everything if path.suffix in COMPANIONS] + tensors


def _pinned(weights: Weights, name: str) -> str | None:
    return next((file.sha256 for file in weights.files if file.name == name), None)


def _unreadable(path: Path, landmark: str | None = None) -> Iterator[str]:
    """At most one sentence about a file that is not what its name says.

    Args:
        path: The file.
        landmark: Name of a tensor that a checkpoint must hold.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        yield f"{path.name} is empty"
    elif start.startswith(b"version https://git-lfs"):
        yield f"{path.name} is a Git LFS pointer, not the file; fetch it with `git lfs pull`"
    elif path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as opened:
                if not opened.keys():
                    yield f"{path.name} holds no tensors"
        except (SafetensorError, OSError) as error:
            yield f"{path.name} cannot be read as safetensors ({error})"
    elif path.suffix in CHECKPOINTS:
        import torch

        try:
            loaded = torch.load(path, map_location="meta", weights_only=True)
        except Exception as error:  # whatever a damaged pickle provokes
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            yield f"{path.name} cannot be read as a checkpoint of tensors alone ({reason})"
            return
        if landmark is not None and landmark not in named_tensors(loaded):
            yield f"{path.name} has no tensor {landmark!r}: it is a checkpoint of something else"
    elif path.suffix == ".json":
        try:
            _json(path)
        except ValueError as error:
            yield f"{path.name} cannot be read as JSON ({error})"


def _incomplete(folder: Path, weights: Weights, paths: list[Path]) -> Iterator[str]:
    names = {path.name for path in paths}
    for file in weights.files:
        if not names & set(file.names):
            yield f"{' or '.join(file.names)} is missing"
    if not any(path.suffix in (".safetensors", *CHECKPOINTS) for path in paths):
        yield "there is no file with weights"
    for index in folder.glob("*.safetensors.index.json"):
        try:
            shards = set(_json(index)["weight_map"].values())
        except (ValueError, KeyError, AttributeError):
            yield f"{index.name} is no index of a model in parts"
            continue
        for name in sorted(shards - names):
            yield f"{name} is missing, which {index.name} names"


def _silent_fallbacks(folder: Path) -> Iterator[str]:
    """Companions without which a library would go on with something useless."""
    config = next((folder / name for name in CONFIGS if (folder / name).is_file()), None)
    if config is None:
        return
    settings = _json(config)
    if config.name == "open_clip_config.json":
        text = settings.get("model_cfg", {}).get("text_cfg", {})
        # Without this key open_clip uses the vocabulary that it ships.
        if "hf_tokenizer_name" in text and not _vocabulary(folder):
            yield f"open_clip would look for the tokenizer {text['hf_tokenizer_name']!r} elsewhere"
        return
    kind = settings.get("model_type")
    if kind in NEEDS_PREPROCESSOR and not any((folder / name).is_file() for name in PREPROCESSORS):
        yield f"a {kind!r} model needs {' or '.join(PREPROCESSORS)}, and there is none"
    if kind in VOCABULARIES:
        yield from _bad_tokenizer(folder, kind, settings)


def _bad_tokenizer(folder: Path, kind: str, settings: dict[str, Any]) -> Iterator[str]:
    words = _vocabulary(folder)
    if words is None:
        yield (
            f"a {kind!r} model needs a tokenizer (tokenizer.json, vocab.json with merges.txt, "
            f"vocab.txt or spiece.model), and there is none: every word would become unknown"
        )
        return
    expected = (settings.get("text_config") or {}).get("vocab_size", VOCABULARIES[kind])
    if words and expected and words != expected:
        yield (
            f"the tokenizer knows {words} words and the model {expected}: it belongs to another "
            f"model or lost its vocabulary"
        )


def _vocabulary(folder: Path) -> int | None:
    """Words of the tokenizer's vocabulary; 0: there is one that cannot be counted; None: none."""
    try:
        if (folder / "tokenizer.json").is_file():
            tokenizer = _json(folder / "tokenizer.json")
            model = tokenizer["model"]["vocab"]  # a mapping, or for unigrams a list of pairs
            words = set(model) if isinstance(model, dict) else {word for word, _ in model}
            return len(words | {token["content"] for token in tokenizer.get("added_tokens", [])})
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return len(_json(folder / "vocab.json"))
        if (folder / "vocab.txt").is_file():
            return len((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())
    except (ValueError, KeyError, TypeError):
        return 1  # readable as JSON, but no vocabulary: too few words for any model
    return 0 if (folder / "spiece.model").is_file() else None


def _json(path: Path) -> dict[str, Any]:
    """One JSON object.

    Raises:
        ValueError: It is none.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError("expected an object in braces")
    return data
