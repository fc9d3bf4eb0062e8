"""Phrases as one text for a network that says which words of it a box answers.

Such a text is ``"long screw. zip-lock bag. "``, and its tokens are
``[CLS] long screw . zip - lock bag . [SEP]``. A phrase is known by the places of its tokens, not by
searching its letters: one may lie inside another, and a tokenizer puts spaces around a hyphen. A
WordPiece tokenizer cuts at spaces and punctuation before all else, so the tokens of the text are
those of its phrases, one after another with a full stop behind each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fmlad.errors import PromptError

STOPS = ".?"  # each ends a phrase for the network


@dataclass(frozen=True)
class Vocabulary:
    """What a tokenizer offers.

    Attributes:
        tokens: Text -> token ids, without any around them.
        first: Id that starts a text, ``[CLS]``.
        last: Id that ends it, ``[SEP]``.
        stop: Id of the full stop.
        unknown: Id of whatever is not in the vocabulary, ``[UNK]``.
    """

    tokens: Callable[[str], Sequence[int]]
    first: int
    last: int
    stop: int
    unknown: int


@dataclass(frozen=True)
class Prompt:
    """Phrases that the network reads together.

    Attributes:
        tokens: Ids of the whole text.
        phrases: Indices of its phrases in the list that was asked for.
        spans: For each of them its first token and the one behind its last.
    """

    tokens: tuple[int, ...]
    phrases: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


def cleaned(phrase: str) -> str:
    """In lower case, with single spaces, and a space for every full stop and question mark."""
    return " ".join(phrase.lower().translate(dict.fromkeys(map(ord, STOPS), " ")).split())


def check(phrases: object) -> None:
    """Refuses what is no list of texts.

    Raises:
        PromptError: There is no phrase, a text instead of a list, or one that is no text.
    """
    if isinstance(phrases, str) or not isinstance(phrases, Sequence) or not phrases:
        raise PromptError(
            f"Boxes are found for a list of phrases, got {phrases!r}; give one phrase at least, "
            f"such as ['long dark screw']."
        )
    for index, phrase in enumerate(phrases):
        if not isinstance(phrase, str):
            raise PromptError(f"Phrase {index} is {phrase!r}, not text; write it as words.")


def prompts(phrases: Sequence[str], vocabulary: Vocabulary, limit: int) -> list[Prompt]:
    """As few texts as take all phrases in their order, none of more than ``limit`` tokens.

    Phrases of equal tokens (``"Screw"`` and ``"screw"``) are asked once, under the first index.

    Raises:
        PromptError: There is no phrase; or one is no text, has no word that the vocabulary knows,
            or is alone longer than the limit.
    """
    check(phrases)
    asked: dict[tuple[int, ...], int] = {}
    for index, phrase in enumerate(phrases):
        asked.setdefault(_tokens(phrase, index, vocabulary, limit), index)
    result: list[Prompt] = []
    for tokens, index in asked.items():
        # The last prompt's own [SEP] makes room for the phrase, and comes again behind it.
        before = result.pop() if result else Prompt((vocabulary.first, vocabulary.last), (), ())
        if len(before.tokens) + len(tokens) + 1 > limit:
            result.append(before)
            before = Prompt((vocabulary.first, vocabulary.last), (), ())
        start = len(before.tokens) - 1
        text = (*before.tokens[:-1], *tokens, vocabulary.stop, vocabulary.last)
        span = (start, start + len(tokens))
        result.append(Prompt(text, (*before.phrases, index), (*before.spans, span)))
    return result


def phrase_scores(chances: Tensor, prompt: Prompt) -> Tensor:
    """How far each box answers each phrase: the largest chance among the phrase's own tokens.

    The largest, because the threshold on boxes is one on a box's largest token chance: so the score
    of a box is that of its phrase. A mean would be lower for a phrase of many word pieces, which
    hangs on the vocabulary. Nothing is lost where phrases share words, because a token was read
    within its own phrase: the *screw* of "long screw" is another one than that of "screw".

    Args:
        chances: ``(boxes, tokens)`` in [0, 1]; may go on behind the prompt's last token.
        prompt: What was asked.

    Returns:
        ``(boxes, phrases of the prompt)`` in [0, 1].
    """
    return torch.stack([chances[:, a:b].amax(dim=1) for a, b in prompt.spans], dim=1)


def _tokens(phrase: str, index: int, vocabulary: Vocabulary, limit: int) -> tuple[int, ...]:
    found = tuple(vocabulary.tokens(cleaned(phrase)))
    if all(token == vocabulary.unknown for token in found):
        lacks = "is none of the network's vocabulary" if found else "has no word"
        raise PromptError(f"Phrase {index}, {phrase!r}, {lacks}; name the part in English words.")
    if len(found) + 3 > limit:  # with [CLS], a full stop and [SEP]
        shown = f"{phrase[:40]}..." if len(phrase) > 40 else phrase
        raise PromptError(
            f"Phrase {index}, {shown!r}, has {len(found)} tokens, and the network reads "
            f"{limit - 3} at most; use fewer words."
        )
    return found
