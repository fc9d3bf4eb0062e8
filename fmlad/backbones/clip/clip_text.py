"""Words into a CLIP model's space: the ensemble of templates, remembered in memory and on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.errors import OptionError, PromptError

if TYPE_CHECKING:
    from fmlad.backbones.clip.clip_towers import Text
    from fmlad.io.cache import DiskCache


def imagenet_templates() -> tuple[str, ...]:
    """The 80 templates of Radford et al. (ICML 2021) as open_clip ships them, ``{}`` the word."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)


class Ensemble:
    """Text embeddings averaged over templates, made once per weights, templates and word."""

    def __init__(self, tower: Text, weights: str, cache: DiskCache | None) -> None:
        """``weights`` identifies tower and tokenizer in the keys of the disk ``cache``."""
        self._tower, self._weights, self._cache = tower, weights, cache
        self._known: dict[str, Tensor] = {}

    @torch.inference_mode()
    def __call__(self, words: Sequence[str], templates: Sequence[str] | None = None) -> Tensor:
        """As :meth:`.CLIP.text`: normalise each, average, normalise."""
        if isinstance(words, str) or not words:
            raise PromptError(f"Expected a list of at least one word, got {words!r}.")
        chosen = imagenet_templates() if templates is None else tuple(templates)
        if not chosen or any("{}" not in template for template in chosen):
            raise OptionError(f"Every template must hold {{}} for the word, got {chosen!r}.")
        version = hashlib.sha256("\n".join(chosen).encode()).hexdigest()[:16]
        return torch.stack([self._one(word, chosen, version) for word in words])

    def _one(self, word: str, templates: tuple[str, ...], version: str) -> Tensor:
        key = f"text {self._weights} {version} {word}"
        if key not in self._known:
            stored = self._cache.get(key) if self._cache else None
            if stored is None or "embedding" not in stored:
                stored = {"embedding": self._embed(word, templates)}
                if self._cache:
                    self._cache.put(key, stored)
            self._known[key] = stored["embedding"]
        return self._known[key]

    def _embed(self, word: str, templates: tuple[str, ...]) -> Tensor:
        if not word.strip():
            raise PromptError("A word to look for is empty.")
        if not self._tower.knows(word):
            raise PromptError(
                f"The model's tokenizer does not know {word!r}; it would look for anything. "
                f"Use another word, or a model with a larger vocabulary."
            )
        # replace, not format: braces in a user's word stay what they are.
        texts = [template.replace("{}", word) for template in templates]
        each = F.normalize(self._tower.embed(texts), dim=-1)
        return F.normalize(each.mean(dim=0), dim=-1).cpu()
