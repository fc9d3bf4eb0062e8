"""Tags by CLIP: the words of a vocabulary whose embeddings are nearest to the image's.

The zero-shot classification of Radford et al. (ICML 2021) with a vocabulary in place of classes:
cosines times the model's own scale, and a softmax over all words. It names what the picture is
about rather than everything in it, and it can only say words of its vocabulary.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from fmlad.backbones.clip.clip import CLIP, Attention
from fmlad.backbones.clip.clip import load as load_clip
from fmlad.backbones.clip.clip_text import imagenet_templates
from fmlad.backbones.common import STRICT, parse
from fmlad.backbones.roles import Tag
from fmlad.errors import OptionError

VOCABULARY = Path(__file__).parents[1] / "vocabulary.txt"
# Of the 80 templates of ImageNet the first that says no more than the word; a vocabulary times 80
# sentences takes hours without a GPU.
TEMPLATE = "a photo of a {}."
# Ours, by reason and not by measurement: chance is below 0.001 with the bundled vocabulary, so a
# word needs some thirty times that, and several things in one picture share the sum of 1. A tag
# too many costs a look for it, a tag too few a part.
LEAST = 0.02
MOST = 20
CHUNK = 50  # words embedded between two looks at the clock
PATIENCE = 5.0  # s of embedding, after which the log says how long it will take

_log = logging.getLogger(__name__)


@dataclass(frozen=True, config=STRICT)
class _Options:
    words: str | None = None
    least: Annotated[float, Field(ge=0, le=1)] = LEAST
    most: Annotated[int, Field(ge=1)] = MOST
    templates: Literal["one", "imagenet"] = "one"
    side: Annotated[int, Field(ge=1)] | None = None
    attention: Attention | None = None


def aligner_of(name: str) -> str:
    """The CLIP that a tagger works on: of ``"clip-tags:X#most=5,side=224"`` ``"clip:X#side=224"``.

    Raises:
        OptionError: An option that does not exist, or a value that does not fit.
    """
    source, options = parse(name, _Options)
    given = {"side": options.side, "attention": options.attention}
    text = ",".join(f"{key}={value}" for key, value in given.items() if value is not None)
    return f"clip:{source}#{text}" if text else f"clip:{source}"


def load(name: str, device: str = "cpu", aligner: CLIP | None = None) -> VocabularyTagger:
    """Builds the backbone from ``"clip-tags:SOURCE"`` or ``"clip-tags:SOURCE#words=FILE"``.

    SOURCE is whatever :func:`.clip.load` takes. Options behind ``#``:

    - ``words``: file with a word or phrase a line, in place of the bundled vocabulary;
    - ``least``: probability that a tag needs (0.02); ``most``: how many tags there may be (20);
    - ``templates``: ``one`` sentence a word (default) or the 80 of ``imagenet``;
    - ``side``, ``attention``: as of ``clip``; choose the same for one network to serve both.

    Args:
        aligner: The backbone of the name :func:`aligner_of`; None: it is loaded.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or are not what the name says.
        OptionError: An option that does not exist, a value that does not fit, or a file of words
            that cannot be used.
    """
    _, options = parse(name, _Options)
    words = vocabulary() if options.words is None else read_words(Path(options.words).expanduser())
    clip = load_clip(aligner_of(name), device) if aligner is None else aligner
    templates = (TEMPLATE,) if options.templates == "one" else imagenet_templates()
    return VocabularyTagger(
        name, clip, words, templates=templates, least=options.least, most=options.most
    )


class VocabularyTagger:
    """:class:`~fmlad.backbones.roles.Tagger` over a CLIP backbone.

    Attributes:
        aligner: The CLIP backbone. Of an image that it has encoded, :meth:`tags_of` its ``pooled``
            costs next to nothing.
        words: The vocabulary, in the order of :meth:`probabilities`.
    """

    expensive = True

    def __init__(
        self,
        name: str,
        aligner: CLIP,
        words: Sequence[str],
        *,
        templates: Sequence[str] = (TEMPLATE,),
        least: float = LEAST,
        most: int = MOST,
    ) -> None:
        """Words are embedded when the first tags are asked for; for the rest see :func:`load`."""
        self.name = name
        self.aligner = aligner
        self.words = tuple(words)
        self._templates = tuple(templates)
        self._least, self._most = least, most
        said = "\n".join([*self.words, "", *self._templates])
        self.fingerprint = (
            f"clip-tags least={least!r} most={most} "
            f"words={hashlib.sha256(said.encode()).hexdigest()} {aligner.fingerprint}"
        )

    def tags(self, image: Tensor) -> list[Tag]:
        """Words of ``uint8 (1, 3, H, W)`` with probability enough, most probable first.

        There may be none.
        """
        return self.tags_of(self.aligner.encode(image).pooled)

    def tags_of(self, pooled: Tensor) -> list[Tag]:
        """As :meth:`tags`, from the image's embedding in the aligner's pyramid, ``(1, D)``."""
        chances, order = self.probabilities(pooled)[0].sort(descending=True, stable=True)
        pairs = zip(order.tolist(), chances.tolist(), strict=True)
        found = [Tag(self.words[index], chance) for index, chance in pairs if chance >= self._least]
        return found[: self._most]

    @torch.inference_mode()
    def probabilities(self, pooled: Tensor) -> Tensor:
        """Unit-length embeddings ``(B, D)`` of images -> float32 ``(B, words)``, sum 1."""
        embeddings = self._embeddings.to(pooled.device)
        return (self.aligner.scale * pooled @ embeddings.T).softmax(1)

    @cached_property
    def _embeddings(self) -> Tensor:
        """Of all words, float32 ``(words, D)`` on the CPU."""
        parts, begun, warned = [], time.monotonic(), False
        for start in range(0, len(self.words), CHUNK):
            parts.append(self.aligner.text(self.words[start : start + CHUNK], self._templates))
            done, left = start + CHUNK, len(self.words) - start - CHUNK
            passed = time.monotonic() - begun
            if passed > PATIENCE and left > 0 and not warned:
                _log.warning(
                    "fmlad: embedding the %d words of %s takes about %.0f s more; it is done once "
                    "and kept in the disk cache.", len(self.words), self.name, left * passed / done,
                )  # fmt: skip
                warned = True
        return torch.cat(parts)


@lru_cache(maxsize=1)
def vocabulary() -> tuple[str, ...]:
    """The bundled words: things, materials and food that may come before an inspecting camera."""
    return read_words(VOCABULARY)


def read_words(path: Path) -> tuple[str, ...]:
    """The words of a file, one a line; blank lines and repetitions do not count.

    Raises:
        OptionError: It cannot be read, or holds no word.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"The list of words {path} cannot be read ({error}).") from None
    words = tuple(dict.fromkeys(filter(None, lines)))
    if not words:
        raise OptionError(f"The list of words {path} holds none; it needs one on each line.")
    return words
