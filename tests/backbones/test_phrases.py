"""Phrases and their tokens, against the offsets that BERT's tokenizer gives for the joined text."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fmlad.backbones.phrases import Prompt, Vocabulary, cleaned, phrase_scores, prompts
from fmlad.errors import PromptError
from tests.backbones.tiny_grounding_models import OTHERS, WORDS, tokenizer

UNKNOWN = 100


@cache
def bert() -> Any:
    return tokenizer()


def words() -> Vocabulary:
    return Vocabulary(
        lambda text: bert()(text, add_special_tokens=False).input_ids, 101, 102, 1012, UNKNOWN
    )


def plan(phrases: Any, limit: int = 256) -> list[Prompt]:
    return prompts(phrases, words(), limit)


known = st.sampled_from(WORDS)
pieces = st.builds(str.__add__, known, st.sampled_from(["s", "es", "er", "a", "h0", "12"]))
digits = st.from_regex(r"[0-9]{1,3}", fullmatch=True)
foreign = st.text(st.characters(categories=["L", "N", "M", "P", "S"]), min_size=1, max_size=6)
word = st.one_of(
    known, known.map(str.upper), pieces, digits, foreign,
    st.builds("{}-{}".format, known, known),
    st.sampled_from(["café", "Größe", "中文", "5mm", "[SEP]"]),
)  # fmt: skip
phrase = st.lists(word, min_size=1, max_size=4).map(" ".join)
lists = st.lists(phrase, min_size=1, max_size=9)


def joined(phrases: list[str]) -> tuple[list[int], list[list[int]]]:
    """Tokens of one text of all phrases, and for each phrase the places of its tokens in it."""
    text, intervals = "", []
    for one in phrases:
        intervals.append((len(text), len(text) + len(one)))
        text += f"{one}. "
    read = bert()(text.rstrip(" "), return_offsets_mapping=True)
    places = [
        [n for n, (a, b) in enumerate(read.offset_mapping) if begin <= a < b <= end]
        for begin, end in intervals
    ]
    return read.input_ids, places


@settings(max_examples=200, deadline=None)
@given(lists)
def test_a_phrase_is_known_by_its_own_tokens(given_phrases: list[str]) -> None:
    phrases = [p.lower().replace(".", " ").replace("?", " ").strip() for p in given_phrases]
    alone = [tuple(bert()(p, add_special_tokens=False).input_ids) for p in phrases]
    assume(all(any(token != UNKNOWN for token in tokens) for tokens in alone))
    first = {tokens: index for index, tokens in reversed(list(enumerate(alone)))}
    distinct = sorted(first.values())
    tokens, places = joined([phrases[index] for index in distinct])

    (prompt,) = plan(given_phrases, limit=1000)
    assert list(prompt.tokens) == tokens
    assert list(prompt.phrases) == distinct
    assert [list(range(a, b)) for a, b in prompt.spans] == places

    # A box whose most likely token is one of a phrase's answers that phrase, at that chance.
    rng = np.random.default_rng(len(tokens))
    for row, own in enumerate(places):
        chances = torch.from_numpy(rng.uniform(0, 0.5, (1, len(tokens) + 3)))
        chances[0, rng.choice(own)] = 0.75
        chances[0, [0, own[-1] + 1, -1]] = 1.0  # ends and full stops are no phrase
        scores = phrase_scores(chances, prompt)
        assert scores.shape == (1, len(distinct))
        assert int(scores.argmax()) == row
        assert float(scores.max()) == 0.75


@settings(max_examples=100, deadline=None)
@given(lists, st.integers(8, 30))
def test_long_lists_go_in_several_texts(phrases: list[str], limit: int) -> None:
    alone = {}
    for index, one in enumerate(phrases):
        tokens = tuple(words().tokens(cleaned(one)))
        assume(len(tokens) + 3 <= limit)
        assume(any(token != UNKNOWN for token in tokens))
        alone.setdefault(tokens, index)
    found = plan(phrases, limit)
    assert all(len(prompt.tokens) <= limit for prompt in found)
    assert [index for prompt in found for index in prompt.phrases] == list(alone.values())
    asked = {}
    for prompt in found:
        assert prompt.tokens[0] == 101
        assert prompt.tokens[-1] == 102
        assert sum(b - a + 1 for a, b in prompt.spans) + 2 == len(prompt.tokens)
        for index, (a, b) in zip(prompt.phrases, prompt.spans, strict=True):
            asked[prompt.tokens[a:b]] = index
            assert prompt.tokens[b] == 1012
    assert asked == alone
    # None could have gone with the one before.
    for before, after in pairwise(found):
        a, b = after.spans[0]
        assert len(before.tokens) + b - a + 1 > limit


def test_phrases_that_share_words_are_told_apart() -> None:
    (prompt,) = plan(["screw", "long screw", "zip-lock bag", "screws", "Screw.", "bag?"])
    assert prompt.phrases == (0, 1, 2, 3, 5)
    text = bert().convert_ids_to_tokens(prompt.tokens)
    shown = "[CLS] screw . long screw . zip - lock bag . screw ##s . bag . [SEP]"
    assert text == shown.split()
    assert prompt.spans == ((1, 2), (3, 5), (6, 10), (11, 13), (14, 15))


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (" Zip-Lock\tBag. ", "zip-lock bag"),
        ("no. 5 screw?", "no 5 screw"),
        ("1.5 mm", "1 5 mm"),
        ("ÄRGER", "ärger"),
        ("..", ""),
    ],
)
def test_phrases_are_cleaned(said: str, read: str) -> None:
    assert cleaned(said) == read
    assert cleaned(read) == read


@pytest.mark.parametrize(
    ("phrases", "why"),
    [
        ([], "one phrase at least"),
        ((), "one phrase at least"),
        ("screw", "a list of phrases"),
        (None, "a list of phrases"),
        (["screw", ""], "Phrase 1, '', has no word"),
        ([" . ?"], "has no word"),
        (["screw", 3], "Phrase 1 is 3, not text"),
        ([b"screw"], "not text"),
        (["\N{SNOWMAN}"], "none of the network's vocabulary"),
        (["screw", "long " * 30], "Phrase 1, .* has 30 tokens, and the network reads 17"),
    ],
)
def test_what_is_no_phrase_is_refused(phrases: Any, why: str) -> None:
    with pytest.raises(PromptError, match=why) as error:
        plan(phrases, limit=20)
    assert "\n" not in str(error.value)


def test_a_phrase_may_be_as_long_as_the_text() -> None:
    (prompt,) = plan(["long " * 17], limit=20)
    assert len(prompt.tokens) == 20
    with pytest.raises(PromptError, match="18 tokens"):
        plan(["long " * 18], limit=20)


def test_other_letters_are_known() -> None:
    assert all(plan([letter]) for letter in OTHERS if not letter.startswith("##"))
