"""Whatever a prompt file holds: a valid set, or one :class:`PromptError`; never a traceback."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmlad.errors import PromptError
from fmlad.prompts import PromptSet, list_prompt_sets
from fmlad.prompts.sets import bundled_folder

pytestmark = pytest.mark.slow

MUTANTS, GENERATED = 400, 200
SEEDS = ("example", "dice_six", "scenes/expect/breakfast_box", "mvtec_loco/juice_bottle_cherry")
KEYS = ("name", "description", "coarse", "background", "foreground", "fine", "decide", "words",
        "exemplars", "image", "box", "crop", "expect", "templates", "states", "normal", "abnormal",
        "<<", "", "é", "no", "1")  # fmt: skip
ODDITIES = ("&a", "*a", "!!binary", "!!python/name:os.system", "{", "}", "[", "]", "|", ">", "? ",
            "- ", "---", "...", "%YAML 1.1", "%TAG ! x", "\t", "#", "'", '"', "\\U00110000", "~",
            "\x00", "\x85", "\u2028", "\ufeff", "\ud7ff", ".nan", "1e999", "0x1F", "1:30", "yes",
            "2020-01-01", "9" * 400, "inside", "15", "2..3", "30%..40%")  # fmt: skip


def check_message(message: str, named: str) -> None:
    assert named in message
    assert "\n" not in message
    assert len(message) < 1000


def outcome(text: str, path: Path) -> PromptSet | None:
    """Reads a text as a file; anything but a set or a PromptError is a failure of the test."""
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    try:
        prompts = PromptSet.load(path)
    except PromptError as error:
        check_message(str(error), str(path))
        return None
    assert PromptSet.from_dict(json.loads(json.dumps(prompts.to_dict()))) == prompts
    return prompts


def flip(text: str, rng: random.Random) -> str:
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data.decode("utf-8", errors="surrogateescape").encode(
        "utf-8", errors="replace").decode()  # fmt: skip


def delete(text: str, rng: random.Random) -> str:
    start = rng.randrange(len(text))
    return text[:start] + text[start + rng.randint(1, 40) :]


def repeat(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    return "".join([*lines[: at + 1], *lines[rng.randrange(len(lines)) :]])


def insert(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text))
    return text[:at] + rng.choice(ODDITIES) + text[at:]


def rename(text: str, rng: random.Random) -> str:
    return text.replace(f"{rng.choice(KEYS[:17])}:", f"{rng.choice(KEYS)}:", rng.randint(1, 3))


def retype(text: str, rng: random.Random) -> str:
    """Puts something of another type where a value was."""
    data = yaml.safe_load(text)
    holder: Any = data
    while True:
        spots = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        spot = rng.choice(spots)
        if isinstance(holder[spot], (dict, list)) and holder[spot] and rng.random() < 0.7:
            holder = holder[spot]
            continue
        holder[spot] = rng.choice([None, True, 3, -1, 2.5, float("nan"), "", "x", [], {}, [[]],
                                   {"words": ["y"]}, ["y", "y"], "a" * 300])  # fmt: skip
        return yaml.safe_dump(data, sort_keys=False)


MUTATIONS: tuple[Callable[[str, random.Random], str], ...] = (
    flip, delete, repeat, insert, rename, retype,
)  # fmt: skip


def test_mutants_of_valid_files(tmp_path: Path) -> None:
    root = bundled_folder()
    for picture in root.glob("*.jpg"):
        (tmp_path / picture.name).write_bytes(picture.read_bytes())
    texts = [(root / f"{name}.yaml").read_text() for name in SEEDS]
    refused = 0
    for number in range(MUTANTS):
        rng = random.Random(number)
        mutate = MUTATIONS[number % len(MUTATIONS)]
        mutant = mutate(rng.choice(texts), rng)
        try:
            refused += outcome(mutant, tmp_path / "mutant.yaml") is None
        except Exception:
            print(f"mutant {number} by {mutate.__name__}:\n{mutant}")
            raise
    # Otherwise the mutations are too tame, or too wild, to test anything.
    assert 0.4 * MUTANTS < refused < 0.95 * MUTANTS


words = st.one_of(
    st.sampled_from([*KEYS, *ODDITIES]), st.text(string.printable, max_size=12), st.text(max_size=8)
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(words, scalars), inner, max_size=4)
    ),
    max_leaves=12,
)
parts = st.dictionaries(words, trees, max_size=3)


@settings(
    max_examples=GENERATED,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(coarse=trees, fine=st.one_of(parts, trees), rest=parts, raw=st.booleans())
def test_generated_files(tmp_path: Path, coarse: Any, fine: Any, rest: Any, raw: bool) -> None:
    data = {"coarse": coarse if raw else {"background": ["background"]}, "fine": fine, **rest}
    try:
        text = yaml.safe_dump(data, allow_unicode=True)
    except (yaml.YAMLError, UnicodeError, TypeError):
        text = repr(data)
    outcome(text, tmp_path / "generated.yaml")


@settings(max_examples=GENERATED, deadline=None, derandomize=True)
@given(data=trees)
def test_generated_json(data: Any) -> None:
    for candidate in (data, {"coarse": {"background": ["b"]}, "fine": data}):
        try:
            PromptSet.from_dict(candidate)
        except PromptError as error:
            check_message(str(error), "prompt set")


BOMBS = {
    "brackets": "[" * 60_000,
    "braces": "{a: " * 15_000,
    "dashes": "- " * 30_000,
    "keys": "? " * 30_000,
    "tag": "!" * 60_000,
    "quotes": "'" * 60_001,
    "anchors": "&a " * 20_000,
    "scalar": "a\n" * 30_000,
    "list": "[" + "a, " * 20_000 + "]",
    "aliases": "a: &a [x]\n" + "b: *a\n" * 900,
    "undefined tag": f"!{'a' * 2000}! x",
    "key": f"{'a' * 1000}: x",
    "relation": "coarse: {background: [b]}\nfine: {a: {words: [x], expect: above "
    + "y" * 900
    + "}}",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused_quickly(bomb: str, tmp_path: Path) -> None:
    assert outcome(bomb, tmp_path / "bomb.yaml") is None


def test_the_seeds_are_bundled() -> None:
    assert set(SEEDS) <= set(list_prompt_sets())
