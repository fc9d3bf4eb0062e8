"""What fmlad knows of pretrained weights: source, files, size, licence, hash, input.

The facts are data, in ``weights_catalogue.toml`` beside this file, each with the document it comes
from. Nothing here touches a network or a disk other than that file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

# Mean and standard deviation per channel (RGB, of pixels in [0, 1]).
NORMALISATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
HUB = "https://huggingface.co/"
OPTIONED = ("clip", "dinov2", "featup", "sam", "sam-hq", "sam2")  # take options behind a "#"


@dataclass(frozen=True)
class WeightFile:
    """One file of a set of weights.

    Attributes:
        name: File name in the repository or folder.
        alternative: Another name under which the same may be found, used where ``name`` is absent.
        size: Bytes, rounded to three digits unless the source gives them all; None: undocumented.
        sha256: Hexadecimal, or None: no document gives it ("not pinned"). It belongs to ``name``.
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
class NetworkInput:
    """What the network is fed: by fmlad where it can load it, otherwise as its source says.

    Attributes:
        side: Pixels.
        fit: Which side that is: ``"longer"`` or ``"shorter"`` (aspect kept), ``"squash"`` (both).
        normalise: Key of :data:`NORMALISATIONS`.
        interpolation: Of the resize, or None where the source does not say.
    """

    side: int
    fit: str
    normalise: str
    interpolation: str | None = None

    def describe(self) -> str:
        """One phrase: ``"448 px longer side, bicubic, imagenet"``."""
        side = f"{self.side} px " + ("squashed" if self.fit == "squash" else f"{self.fit} side")
        return ", ".join(filter(None, (side, self.interpolation, self.normalise)))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the numbers of the normalisation."""
        mean, std = NORMALISATIONS[self.normalise]
        return {
            "side": self.side,
            "fit": self.fit,
            "interpolation": self.interpolation,
            "mean": list(mean),
            "std": list(std),
        }


@dataclass(frozen=True)
class Weights:
    """One set of weights. A set that the catalogue does not know has no files and no role.

    Attributes:
        name: Backbone name as users write it, ``FAMILY:IDENTIFIER``.
        source: Repository on the Hugging Face hub, the address of a file, or a local path.
        files: What is needed of it.
        licence: SPDX identifier.
        role: Role of the backbone (see ``roles.py``).
        profiles: Profiles that name it.
        input: What the network is fed.
        optional: Its profile works without it.
        note: Who uses it, in a few words.
    """

    name: str
    source: str
    files: tuple[WeightFile, ...] = ()
    licence: str = "not known to fmlad"
    role: str = ""
    profiles: tuple[str, ...] = ()
    input: NetworkInput | None = None
    optional: bool = False
    note: str = field(default="", compare=False)

    @property
    def family(self) -> str:
        """What stands before the colon of the name, ``""`` without one."""
        family, colon, _ = self.name.partition(":")
        return family if colon else ""

    @property
    def size(self) -> int | None:
        """Documented bytes of all files together, None where the weights' own are unknown."""
        known = [file.size for file in self.files if file.size is not None]
        return sum(known) if known else None

    @property
    def url(self) -> bool:
        """Whether the source is the address of a file rather than a repository or a path."""
        return self.source.startswith(("https://", "http://"))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "role": self.role,
            "profiles": list(self.profiles),
            "source": self.source,
            "licence": self.licence,
            "size_bytes": self.size,
            "files": [asdict(file) for file in self.files],
            "input": self.input.to_dict() if self.input else None,
            "optional": self.optional,
            "note": self.note,
        }


@lru_cache(maxsize=1)
def catalogue() -> tuple[Weights, ...]:
    """All weights that the profiles name, in the order of the file."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return tuple(_entry(table) for table in tomllib.loads(text)["weights"])


def of_profile(profile: str) -> tuple[Weights, ...]:
    """Those a profile names; empty for ``"builtin"``, which needs none."""
    return tuple(weights for weights in catalogue() if profile in weights.profiles)


def lookup(text: str, family: str | None = None) -> Weights | None:
    """The catalogued weights that a name, an identifier or a source stands for.

    Args:
        text: ``"dinov2:facebook/dinov2-small"``, or either part of what users may write for it:
            the identifier behind the colon, or the source.
        family: Only of this family.
    """
    for weights in catalogue():
        if family is not None and weights.family != family:
            continue
        if text in (weights.name, weights.name.partition(":")[2], weights.source):
            return weights
    return None


def describe(name: str) -> Weights:
    """The catalogued weights of a name, or a bare entry for others: a local path, another model."""
    known = lookup(name)
    if known is not None:
        return known
    family, _, identifier = name.partition(":")
    if family in OPTIONED and not Path(identifier).expanduser().exists():
        identifier = identifier.partition("#")[0]
    if family == "clip":  # its places; see fmlad.backbones.clip.load
        identifier = identifier.removeprefix("hf-hub:").removeprefix("local-dir:")
    if identifier and family in {weights.family for weights in catalogue()}:
        return lookup(identifier, family) or Weights(name, identifier)
    return Weights(name, name)


def say_size(size: int | None) -> str:
    """A size for people: ``"88 MB"``, ``"2.6 GB"``."""
    if size is None:
        return "size not documented"
    for unit, scale, digits in (("GB", 1e9, 1), ("MB", 1e6, 0), ("kB", 1e3, 0)):
        if size >= scale:
            return f"{size / scale:.{digits}f} {unit}"
    return f"{size} bytes"


def markdown_table(entries: Sequence[Weights] | None = None) -> str:
    """The table of ``docs/weights.md``: one row a set of weights."""
    rows = [
        "| backbone | role | profiles | from | size | licence | SHA-256 of the weights | input |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for weights in catalogue() if entries is None else entries:
        hashes = [file.sha256[:12] + "…" for file in weights.files if file.sha256]
        where = weights.source if weights.url else HUB + weights.source
        shown = "its address" if weights.url else weights.source
        role = weights.role + (" (optional)" if weights.optional else "")
        cells = (
            f"`{weights.name}`",
            role,
            ", ".join(weights.profiles),
            f"[{shown}]({where})",
            say_size(weights.size).removeprefix("size "),
            weights.licence,
            f"`{hashes[0]}`" if hashes else "not pinned",
            weights.input.describe() if weights.input else "",
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _entry(table: dict[str, Any]) -> Weights:
    files = tuple(
        WeightFile(file["name"], file.get("or"), file.get("size"), file.get("sha256"))
        for file in table["files"]
    )
    return Weights(
        **{
            **table,
            "files": files,
            "profiles": tuple(table["profiles"]),
            "input": NetworkInput(**table["input"]),
        }
    )
