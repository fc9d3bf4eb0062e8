"""RAM++ as a tagger: its published checkpoint, and two lists that are published elsewhere.

The checkpoint says what its outputs are worth and not what they are called. The words and the
least probability of each are two text files of the repository xinyu1205/recognize-anything, which
fmlad neither ships nor fetches: they lie beside the checkpoint, or options name them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from fmlad.backbones.catalogue import describe
from fmlad.backbones.common import STRICT, normalised, only_checkpoint, parse
from fmlad.backbones.hub import (
    HUB_IDENTIFIER,
    find,
    folder_hash,
    loading,
    locate,
    read_tensors,
)
from fmlad.backbones.ram_checkpoint import network_of
from fmlad.backbones.roles import Tag
from fmlad.errors import OptionError, WeightsUnavailableError
from fmlad.networks.ram_plus import RamPlus

TAGS, THRESHOLDS = "ram_tag_list.txt", "ram_tag_list_threshold.txt"
ORIGIN = "https://github.com/xinyu1205/recognize-anything, folder ram/data (Apache-2.0)"
LEAST = 0.68  # for every tag where no file says else: the repository's constructor

_log = logging.getLogger(__name__)


@dataclass(frozen=True, config=STRICT)
class _Options:
    tags: str | None = None
    thresholds: str | None = None
    least: Annotated[float, Field(ge=0, le=1)] | None = None


def load(name: str, device: str = "cpu") -> RamTagger:
    """Builds the backbone from ``"ram:SOURCE"`` or ``"ram:SOURCE#tags=FILE,thresholds=FILE"``.

    SOURCE is the checkpoint ``ram_plus_swin_large_14m.pth`` (read as tensors alone), a folder with
    exactly one checkpoint, or the identifier of the catalogue. Options behind ``#``:

    - ``tags``: file with a word a line, in the order of the outputs; default: ``ram_tag_list.txt``
      beside the checkpoint;
    - ``thresholds``: file with a probability a line, in the same order; default:
      ``ram_tag_list_threshold.txt`` beside the checkpoint, and where there is none 0.68 for every
      tag, which is said in the log;
    - ``least``: one probability for all tags instead of a file.

    Raises:
        WeightsUnavailableError: The checkpoint or the list of tags cannot be had, or the checkpoint
            is not one of RAM++ with as many tags.
        OptionError: An option that does not exist, a value that does not fit, or a file of tags or
            thresholds that cannot be used.
    """
    source, options = parse(name, _Options)
    if options.thresholds is not None and options.least is not None:
        raise OptionError(f"The backbone {name!r} has both thresholds= and least=; leave one out.")
    # First the small files: the large one takes a while to read, and a long while to fetch.
    fetched = HUB_IDENTIFIER.fullmatch(source) and find(describe(f"ram:{source}")) is None
    if fetched and not options.tags:
        raise WeightsUnavailableError(_no_tags(name, "the checkpoint, which is not here yet"))
    file = only_checkpoint(locate(source, family="ram"), source, "RAM++")
    listed = Path(options.tags).expanduser() if options.tags else file.parent / TAGS
    if not options.tags and not listed.is_file():
        raise WeightsUnavailableError(_no_tags(name, str(file)))
    tags = _lines(listed)
    least = _thresholds(options, file, len(tags))
    state = read_tensors(file, source, "ram")
    with loading(source, f"{file} with the {len(tags)} tags of {listed}", "ram"):
        network = network_of(state, len(tags))
    return RamTagger(name, network, tags, least, folder_hash(file), device)


class RamTagger:
    """:class:`~fmlad.backbones.roles.Tagger`: words of a fixed list whose probability suffices.

    The image is squashed to the network's square (384 px), antialiased and bilinear as the
    repository does it, and normalised by ImageNet's mean and deviation.
    """

    expensive = True

    def __init__(
        self,
        name: str,
        network: RamPlus,
        words: Sequence[str],
        least: Sequence[float],
        weights_hash: str,
        device: str = "cpu",
    ) -> None:
        """Wraps a network in evaluation mode; word and threshold of each of its outputs.

        Raises:
            OptionError: Not as many words or thresholds as the network has outputs.
        """
        outputs = network.sizes.tags
        if not len(words) == len(least) == outputs:
            raise OptionError(
                f"The network has {outputs} outputs, got {len(words)} words and {len(least)} "
                f"thresholds."
            )
        self.name = name
        self.words = tuple(words)
        self.side = network.sizes.side
        # repr gives a float with all its digits.
        lists = "\n".join([*self.words, *map(repr, least)])
        self.fingerprint = (
            f"ram side={self.side} squash bilinear imagenet "
            f"lists={hashlib.sha256(lists.encode()).hexdigest()} {_said(least)} "
            f"sha256={weights_hash}"
        )
        self._least = torch.tensor(list(least), dtype=torch.float64)
        self._network = network.to(device)
        self._device = device

    def tags(self, image: Tensor) -> list[Tag]:
        """Words of ``uint8 (1, 3, H, W)`` above their thresholds, most probable first.

        There may be none. A word that stands in the list twice is said once.
        """
        chances = self.probabilities(image)[0].cpu().double()
        found: dict[str, float] = {}
        for index in chances.argsort(descending=True, stable=True).tolist():
            if chances[index] > self._least[index]:
                found.setdefault(self.words[index], chances[index].item())
        return [Tag(word, score) for word, score in found.items()]

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """``uint8 (B, 3, H, W)`` -> float32 ``(B, tags)`` in (0, 1), in the order of ``words``."""
        pixels = images.to(self._device).float()
        pixels = F.interpolate(pixels, (self.side, self.side), mode="bilinear", antialias=True)
        # The repository resizes a picture of whole numbers.
        found: Tensor = self._network(normalised(pixels.round(), self._device)).sigmoid()
        return found


def _no_tags(name: str, file: str) -> str:
    return (
        f"The backbone {name!r} lacks a file: there is no {TAGS} beside {file}, and a checkpoint "
        f"of RAM++ does not say what its outputs are called. Get {TAGS} and {THRESHOLDS} from "
        f"{ORIGIN}, and copy them there or name them: "
        f"{name.partition('#')[0]}#tags=FILE,thresholds=FILE."
    )


def _thresholds(options: _Options, file: Path, tags: int) -> list[float]:
    if options.least is not None:
        return [options.least] * tags
    path = file.parent / THRESHOLDS
    if options.thresholds is not None:
        path = Path(options.thresholds).expanduser()
    elif not path.is_file():
        _log.warning(
            "fmlad: no %s beside %s, so every tag of RAM++ needs a probability of %s; the file is "
            "in %s.", THRESHOLDS, file, LEAST, ORIGIN,
        )  # fmt: skip
        return [LEAST] * tags
    try:
        least = [float(line) for line in _lines(path)]
    except ValueError as error:
        raise OptionError(f"{path} must hold one probability a line ({error}).") from None
    if len(least) != tags or not all(0 <= value <= 1 for value in least):
        raise OptionError(
            f"{path} must hold {tags} probabilities in 0..1, one for each tag; it holds "
            f"{len(least)} numbers from {min(least)} to {max(least)}."
        )
    return least


def _lines(path: Path) -> list[str]:
    """The lines of a list, none of them empty; OptionError where that is not so."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").strip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"The list {path} cannot be read ({error}).") from None
    if not all(lines) or not lines:
        raise OptionError(f"The list {path} must have an entry on every line.")
    return lines


def _said(least: Sequence[float]) -> str:
    return f"least={least[0]:g}" if len(set(least)) == 1 else "least=each"
