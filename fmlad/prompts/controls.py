"""Prompt sets that should do worse than the one they are made of, if words matter at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fmlad.prompts.sets import PromptSet

DEALS = 32  # of words, of which the most unlike the set is taken
# Things that no inspection picture shows; ours.
ELSEWHERE = ("giraffe", "piano", "waterfall", "castle", "bicycle", "octopus", "sofa", "volcano")


def wrong_nouns(prompts: PromptSet, reads: bool, rng: np.random.Generator) -> PromptSet:
    """Every phrase of a part names something else.

    On profiles that read the last word of a phrase becomes a thing from elsewhere. Others take no
    notice of nouns: there each attribute becomes one that the set does not use.
    """
    if reads:
        names = iter(rng.permutation(_enough(ELSEWHERE, len(prompts.phrases()[0]))).tolist())
        return _rewritten(prompts, lambda phrase: " ".join([*phrase.split()[:-1], next(names)]))
    from fmlad.backbones.embedded.lexicon import lexicon

    used = {word for phrase in prompts.phrases()[0] for word in _attributes(phrase)}
    free = [word for word in lexicon().words if word not in used] or list(lexicon().words)
    wanted = sum(len(_attributes(phrase)) for phrase in prompts.phrases()[0])
    others = iter(rng.permutation(_enough(free, wanted)).tolist())
    return _rewritten(prompts, lambda phrase: _replaced(phrase, lambda word: next(others)))


def shuffled_nouns(prompts: PromptSet, reads: bool, rng: np.random.Generator) -> PromptSet:
    """The same words, dealt anew among the phrases of all parts.

    On profiles that read the nouns (the last word of each phrase), on others the attributes. Of
    several deals the one with the most phrases that the set did not have. Where phrases differ in
    nothing else every deal is the same set under other names (:func:`only_names`).
    """
    deals = [_dealt(prompts, reads, rng) for _ in range(DEALS)]
    return max(deals, key=lambda deal: len(_meanings(deal, reads) - _meanings(prompts, reads)))


def only_names(prompts: PromptSet, control: PromptSet, reads: bool) -> bool:
    """Whether a control says the same phrases, of other parts: it divides images alike."""
    return _meanings(prompts, reads) == _meanings(control, reads)


def _meanings(prompts: PromptSet, reads: bool) -> set[frozenset[str]]:
    """What is looked for, whatever it is called."""
    phrases = prompts.phrases()[0]
    return {frozenset(phrase.split() if reads else _attributes(phrase)) for phrase in phrases}


def _dealt(prompts: PromptSet, reads: bool, rng: np.random.Generator) -> PromptSet:
    phrases = prompts.phrases()[0]
    if reads:
        dealt = iter(rng.permutation([phrase.split()[-1] for phrase in phrases]).tolist())
        return _rewritten(prompts, lambda phrase: " ".join([*phrase.split()[:-1], next(dealt)]))
    dealt = iter(rng.permutation([w for p in phrases for w in _attributes(p)]).tolist())
    return _rewritten(prompts, lambda phrase: _replaced(phrase, lambda word: next(dealt)))


def _rewritten(prompts: PromptSet, change: Callable[[str], str]) -> PromptSet:
    """New phrases; the foreground's follow the parts' where they are the same."""
    parts = tuple(
        replace(part, words=tuple(change(word) for word in part.words)) for part in prompts.parts
    )
    foreground = prompts.foreground
    if set(foreground) == set(prompts.phrases()[0]):
        foreground = tuple(word for part in parts for word in part.words)
    return replace(prompts, parts=parts, foreground=foreground)


def _attributes(phrase: str) -> tuple[str, ...]:
    from fmlad.backbones.embedded.lexicon import attributes

    return attributes(phrase) or ()


def _replaced(phrase: str, other: Callable[[str], str]) -> str:
    """Attributes in front of what is left of a phrase, its noun."""
    from fmlad.backbones.embedded.lexicon import lexicon

    noun = [word for word in re.findall(r"\S+", phrase) if word.lower() not in lexicon().spellings]
    return " ".join([*(other(word) for word in _attributes(phrase)), *noun])


def _enough(words: Sequence[str], count: int) -> list[str]:
    return [words[index % len(words)] for index in range(max(count, len(words)))]
