"""Weights on this machine examined, packed into one file, and unpacked where there is no network.

A bundle is a plain tar whose first member, ``manifest.json``, has the SHA-256 of every other.
Nothing in one is trusted: it may hold regular files alone, exactly those of its manifest in its
order, and they reach their place only after every hash was verified.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from fmlad._version import __version__
from fmlad.backbones.catalogue import Weights, catalogue
from fmlad.backbones.hub import (
    CHECKPOINTS,
    CONFIGS,
    describe_absence,
    file_hash,
    find,
    first_line,
    place_of,
    read_tensors,
    root,
    weight_files,
    wrong_hash,
)
from fmlad.errors import CorruptBundleError, OptionError, WeightsUnavailableError
from fmlad.io.files import whole_file
from fmlad.progress import Progress, silent

COMPANIONS = (".json", ".txt", ".model")  # endings of what lies beside weights
# Kinds of model (model_type in config.json) that read words.
TEXT_MODELS = {"clip", "clipseg", "owlvit", "owlv2", "siglip", "siglip2"}
TEXT_MODELS |= {"grounding-dino", "mm-grounding-dino"}
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model")
MANIFEST = "manifest.json"
MANIFEST_LIMIT = 2**20  # bytes; a manifest of all our profiles has a few thousand
LOCAL = "local"  # stands for the organisation where weights came from a local path


# --- examining ------------------------------------------------------------------------------------


@dataclass
class Report:
    """The outcome of :func:`check`: files by name with their SHA-256, problems as sentences.

    ``where`` is the folder or file, None: not on this machine. No problem: all is well.
    """

    name: str
    where: Path | None = None
    files: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def check(weights: Weights, progress: Progress = silent) -> Report:
    """Looks for weights on this machine and examines them; never raises for what it finds."""
    report = Report(weights.name)
    try:
        report.where = find(weights)
        if report.where is None:
            report.problems.append(describe_absence(weights))
            return report
        paths = files_of(report.where, weights)
        for number, path in enumerate(paths):
            progress(number, len(paths), f"reading {path.name}")
            report.files[path.name] = found = file_hash(path)
            report.problems += _unreadable(path)
            if wrong := wrong_hash(path.name, found, weights):
                report.problems.append(wrong)
        if report.where.is_dir() and not report.problems:
            report.problems += _incomplete(report.where, weights)
    except OSError as error:  # no right to read it, or it vanished meanwhile
        report.problems.append(f"{weights.source} cannot be read ({error})")
    return report


def files_of(where: Path, weights: Weights) -> list[Path]:
    """The files of a set of weights: those the catalogue lists, or all that a library writes."""
    if where.is_file():
        return [where]
    if weights.files:
        named = [[where / name for name in file.names] for file in weights.files]
        return [path for paths in named for path in [p for p in paths if p.is_file()][:1]]
    beside = sorted(p for p in where.iterdir() if p.suffix in COMPANIONS and p.is_file())
    return beside + weight_files(where)


def _unreadable(path: Path) -> Iterator[str]:
    """At most one sentence about a file that is not what its name says."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy") as opened:
                if not opened.keys():
                    yield f"{path.name} holds no tensors"
        elif path.suffix in CHECKPOINTS:
            read_tensors(path, path.name, "", device="meta")
        elif path.suffix == ".json" and not isinstance(json.loads(path.read_bytes()), dict):
            yield f"{path.name} holds no JSON object"
    except (SafetensorError, ValueError, RecursionError, WeightsUnavailableError) as error:
        why = first_line(error.__cause__ or error)
        with path.open("rb") as file:
            if file.read(23) == b"version https://git-lfs":
                why = "a Git LFS pointer: fetch it with `git lfs pull`"
        yield f"{path.name} cannot be read ({why})"


def _incomplete(folder: Path, weights: Weights) -> Iterator[str]:
    """What a library would miss, or silently replace by something useless."""

    def has(names: Sequence[str]) -> bool:
        return any((folder / name).is_file() for name in names)

    def read(name: str) -> Any:
        return json.loads((folder / name).read_bytes())

    if not weight_files(folder):
        yield "there is no file with weights"
    if not weights.files and not has(CONFIGS):
        yield f"there is no {' or '.join(CONFIGS)}"
    try:
        for index in folder.glob("*.safetensors.index.json"):
            for name in sorted(set(read(index.name)["weight_map"].values())):
                if not has([name]):
                    yield f"{name} is missing, which {index.name} names"
        if has(CONFIGS[:1]):
            kind = read(CONFIGS[0]).get("model_type")
            if kind in {*TEXT_MODELS, "sam3"} and not has(PREPROCESSORS):
                # fmlad feeds SAM, SAM-HQ and SAM 2 itself.
                yield f"a {kind!r} model needs {' or '.join(PREPROCESSORS)}, and there is none"
            if kind in TEXT_MODELS:
                yield from _bad_tokenizer(folder)
        elif has(CONFIGS):
            # Without this key open_clip uses the vocabulary that it ships.
            tokenizer = read(CONFIGS[1])["model_cfg"].get("text_cfg", {}).get("hf_tokenizer_name")
            if tokenizer and not has(TOKENIZERS):
                yield f"open_clip would look for the tokenizer {tokenizer!r} elsewhere"
    except (AttributeError, KeyError, TypeError) as error:
        yield f"its config or index is JSON of another shape than a model's ({error!r})"


def _bad_tokenizer(folder: Path) -> Iterator[str]:
    from transformers import AutoConfig, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
        words = len(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    except Exception as error:  # whatever transformers and tokenizers raise
        yield f"its config or tokenizer cannot be loaded ({first_line(error)})"
        return
    if words != config.vocab_size:  # without a vocabulary transformers goes on with two words
        yield (
            f"the tokenizer knows {words} words and the model {config.vocab_size}: it belongs to "
            f"another model or lost its vocabulary"
        )


# --- packing --------------------------------------------------------------------------------------

# Below the root, of up to nine steps: no drive, nothing hidden, no "..".
_STEP = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}"
Inside = Annotated[str, StringConstraints(pattern=rf"^{_STEP}(/{_STEP}){{0,8}}$")]


class Manifest(BaseModel, extra="forbid", strict=True):
    """The first member of a bundle.

    ``weights``: name -> place below the root; ``files``: path below the root -> SHA-256, in the
    order of the members.
    """

    format: Literal[1]
    fmlad: str
    weights: dict[Annotated[str, StringConstraints(pattern=r"^[ -~]{1,300}$")], Inside]
    files: Annotated[
        dict[Inside, Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]],
        Field(min_length=1, max_length=1000),
    ]


def bundle(chosen: Sequence[Weights], out: Path, progress: Progress = silent) -> list[str]:
    """Writes a bundle of checked weights and returns the names that they will be found by.

    Raises:
        WeightsUnavailableError: One of them is not here, or :func:`check` finds it wrong.
        OptionError: ``out`` exists or cannot be written, or names are not portable.
    """
    if out.exists():
        raise OptionError(f"{out} exists; delete it first, or choose another name.")
    weights: dict[str, str] = {}  # the manifest's
    files: dict[str, str] = {}
    sources: list[Path] = []
    for one in chosen:
        report = check(one, progress)
        if report.where is None or report.problems:
            raise WeightsUnavailableError(
                f"{one.name} cannot be bundled: {'; '.join(report.problems)}. Fetch it with "
                f"`fmlad weights pull {one.name}`, or mend it."
            )
        name, place = one.name, place_of(one.source)
        if Path(one.source).expanduser().exists():  # a path here means nothing elsewhere
            place = f"{LOCAL}/{report.where.resolve().name}"
            name = f"{one.family}:{place}" if one.family else place
        weights[name] = place
        single = report.where.is_file()
        files |= {place if single else f"{place}/{f}": sha for f, sha in report.files.items()}
        sources += files_of(report.where, one)
    try:
        manifest = Manifest(format=1, fmlad=__version__, weights=weights, files=files)
    except ValidationError as error:
        raise OptionError(
            f"They cannot be bundled: names of folders and files must be short and of letters, "
            f"digits and . _ + - only; got {error.errors()[0]['input']!r}."
        ) from error
    data = manifest.model_dump_json(indent=1).encode()
    try:
        with whole_file(out) as file, tarfile.open(fileobj=file, mode="w") as tar:
            _add(tar, MANIFEST, io.BytesIO(data), len(data))
            for number, (path, source) in enumerate(zip(files, sources, strict=True)):
                progress(number, len(sources), f"packing {source.name}")
                with source.open("rb") as content:
                    _add(tar, path, content, source.stat().st_size)
    except OSError as error:
        raise OptionError(f"The bundle cannot be written to {out}: {error}.") from error
    return list(weights)


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)  # no owner and no date: the same weights make the same bundle
    member.size = size
    tar.addfile(member, content)


# --- unpacking ------------------------------------------------------------------------------------


def unbundle(bundled: Path, to: Path | None = None, progress: Progress = silent) -> dict[str, Path]:
    """Verifies a bundle and puts its weights below ``to``, else where ``locate`` finds them.

    Returns:
        Name -> place of each set of weights.

    Raises:
        CorruptBundleError: The file is no bundle, damaged, or not what its manifest or fmlad's
            catalogue says. Nothing has been put in place.
        OptionError: It cannot be read, the target not be written, or other files are in the way.
    """
    target = root() if to is None else to
    try:
        with tarfile.open(bundled, "r:") as tar:
            manifest = _read_manifest(tar)
            target.mkdir(parents=True, exist_ok=True)
            # Beside what it will become, so that renaming is enough.
            with tempfile.TemporaryDirectory(prefix=".unbundle-", dir=target) as staging:
                for number, (path, expected) in enumerate(manifest.files.items()):
                    progress(number, len(manifest.files), f"unpacking {path}")
                    unpacked = Path(staging, path)
                    unpacked.parent.mkdir(parents=True, exist_ok=True)
                    # Bytes alone: neither owner nor mode of a member counts.
                    with _next(tar, path) as packed, unpacked.open("xb") as file:
                        shutil.copyfileobj(packed, file)
                    if file_hash(unpacked) != expected:
                        raise ValueError(f"{path} does not hash to what its manifest says")
                if tar.next() is not None:
                    raise ValueError("it has members that its manifest does not list")
                _settle(manifest, Path(staging), target)
    except (tarfile.TarError, ValueError, RecursionError) as error:
        raise CorruptBundleError(
            f"{bundled} cannot be trusted: {first_line(error)}. Expected a file that `fmlad "
            f"weights bundle` wrote; copy it again, or make it anew."
        ) from error
    except OSError as error:
        raise OptionError(f"The bundle {bundled} cannot be unpacked: {error}.") from error
    return {name: target / place for name, place in manifest.weights.items()}


def _next(tar: tarfile.TarFile, name: str, limit: int | None = None) -> IO[bytes]:
    """The next member; ValueError unless it is a regular file of that name and not too large."""
    member = tar.next()
    if member is None:
        raise ValueError(f"it ends or is damaged before {name}")
    # A sparse file of a few bytes may claim terabytes.
    if not member.isreg() or member.issparse() or member.name != name:
        raise ValueError(f"it holds {member.name!r} where the regular file {name} was expected")
    if limit is not None and member.size > limit:
        raise ValueError(f"its {name} claims {member.size} bytes")
    content = tar.extractfile(member)
    if content is None:
        raise ValueError(f"it has no content for {name}")
    return content


def _read_manifest(tar: tarfile.TarFile) -> Manifest:
    with _next(tar, MANIFEST, MANIFEST_LIMIT) as content:
        written = content.read()
    try:
        manifest = Manifest.model_validate_json(written)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"its manifest is wrong at {where!r}: {first['msg']}") from error
    if len({path.lower() for path in manifest.files}) < len(manifest.files):
        raise ValueError("its manifest lists the same place twice")
    for known in catalogue():
        place = place_of(known.source).lower()
        for path, found in manifest.files.items():
            inside = path.lower() == place or path.lower().startswith(f"{place}/")
            if inside and wrong_hash(PurePosixPath(path).name, found, known):
                raise ValueError(f"{path} is not the file that fmlad's catalogue pins")
    return manifest


def _settle(manifest: Manifest, staging: Path, target: Path) -> None:
    """Moves verified files to their places, whole folders where possible; equal files stay."""
    for path, expected in manifest.files.items():
        there = target / path
        if there.exists() and not (there.is_file() and file_hash(there) == expected):
            raise OptionError(
                f"{there} is another file than the bundle's. Remove it, or unpack elsewhere with "
                f"--to."
            )
    for path in manifest.files:
        folder = Path(path).parent
        for moved in (folder, path):
            if (staging / moved).exists() and not (target / moved).exists():
                (target / moved).parent.mkdir(parents=True, exist_ok=True)
                (staging / moved).rename(target / moved)
