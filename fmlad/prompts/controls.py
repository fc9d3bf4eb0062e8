"""Prompt sets that should do worse than the one they are made of, if words matter at all."""

from __future__ import annotations

from collections.abc import Sequence
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
    from fmlad.backbones.embedded.lexicon import lexicon

    said = _words(prompts, reads)
    free = [word for word in lexicon().words if word not in said] or list(lexicon().words)
    pool = ELSEWHERE if reads else free
    wrong = [pool[index % len(pool)] for index in range(max(len(said), len(pool)))]
    return _reworded(prompts, reads, rng.permutation(wrong).tolist())


def shuffled_nouns(prompts: PromptSet, reads: bool, rng: np.random.Generator) -> PromptSet:
    """The same words, dealt anew among the phrases of all parts.

    On profiles that read the nouns (the last word of each phrase), on others the attributes. Of
    several deals the one with the most phrases that the set did not have. Where phrases differ in
    nothing else every deal is the same set under other names (:func:`only_names`).
    """
    said = _words(prompts, reads)
    deals = [_reworded(prompts, reads, rng.permutation(said).tolist()) for _ in range(DEALS)]
    return max(deals, key=lambda deal: len(_meanings(deal, reads) - _meanings(prompts, reads)))


def only_names(prompts: PromptSet, control: PromptSet, reads: bool) -> bool:
    """Whether a control says the same phrases, of other parts: it divides images alike."""
    return _meanings(prompts, reads) == _meanings(control, reads)


def _meanings(prompts: PromptSet, reads: bool) -> set[frozenset[str]]:
    """What is looked for, whatever it is called."""
    phrases = prompts.phrases()[0]
    return {frozenset(phrase.split() if reads else _attributes(phrase)) for phrase in phrases}


def _words(prompts: PromptSet, reads: bool) -> list[str]:
    """What tells the phrases apart: the noun of each, or all attributes."""
    phrases = prompts.phrases()[0]
    if reads:
        return [phrase.split()[-1] for phrase in phrases]
    return [word for phrase in phrases for word in _attributes(phrase)]


def _reworded(prompts: PromptSet, reads: bool, words: Sequence[str]) -> PromptSet:
    """Nouns or attributes replaced in order; the foreground follows where its phrases are the same.

    Attributes stand in front of what is left of a phrase, its noun.
    """
    from fmlad.backbones.embedded.lexicon import lexicon

    others = iter(words)

    def change(phrase: str) -> str:
        if reads:
            return " ".join([*phrase.split()[:-1], next(others)])
        noun = [word for word in phrase.split() if word.lower() not in lexicon().spellings]
        return " ".join([*(next(others) for _ in _attributes(phrase)), *noun])

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
