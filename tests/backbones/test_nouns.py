"""The embedded tagger: a cat is one, the most certain first, and nothing is downloaded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.data import chelsea, coffee
from torch import Tensor

import fmlad
from fmlad.backbones.embedded.nouns import LEAST, NounTagger, nouns
from fmlad.backbones.roles import Tagger


@pytest.fixture(scope="module")
def tagger() -> NounTagger:
    return NounTagger()


def photograph(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]


def test_it_fills_its_role_and_is_the_default_of_builtin(tagger: NounTagger) -> None:
    assert isinstance(tagger, Tagger)
    chosen = fmlad.profiles.resolve(["tagger"], "builtin")
    assert chosen == {"tagger": "builtin:nouns@1"}
    built = fmlad.profiles.load_backbones(chosen, "cpu")["tagger"]
    assert isinstance(built, NounTagger)
    assert built.fingerprint == tagger.fingerprint


def test_the_nouns_stand_in_the_order_of_the_classes() -> None:
    assert len(nouns()) == 1000
    assert nouns()[0] == "tench"
    assert nouns()[281] == "tabby"
    assert nouns()[950] == "orange"
    assert nouns()[999] == "toilet tissue"
    assert all(noun and noun == noun.strip() for noun in nouns())


def test_photographs_are_called_by_their_names(tagger: NounTagger) -> None:
    cat = {tag.word for tag in tagger.tags(photograph(chelsea()))}
    assert {"tabby", "tiger cat", "Egyptian cat"} & cat
    assert tagger.tags(photograph(coffee()))[0].word in {"espresso", "cup"}


def test_the_most_certain_comes_first_and_the_doubtful_not_at_all(tagger: NounTagger) -> None:
    image = photograph(coffee())
    chances = tagger.probabilities(image)[0]
    assert chances.sum().item() == pytest.approx(1, abs=1e-4)
    found = tagger.tags(image)
    for tag in found:
        assert tag.score == pytest.approx(chances[nouns().index(tag.word)].item())
    assert [tag.score for tag in found] == sorted((tag.score for tag in found), reverse=True)
    assert len(found) == int((chances >= LEAST).sum())
    assert tagger.tags(image) == tagger.tags(image.clone())


def test_a_name_of_two_classes_is_said_once(
    tagger: NounTagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    chances = torch.zeros(1, 1000)
    chances[0, [134, 517, 0]] = torch.tensor([0.3, 0.5, 0.2])  # a crane, a crane, a tench
    monkeypatch.setattr(tagger, "probabilities", lambda image: chances)
    found = tagger.tags(photograph(coffee()))
    assert [tag.word for tag in found] == ["crane", "tench"]
    assert found[0].score == pytest.approx(0.5)


@pytest.mark.parametrize("size", [(64, 64), (33, 400), (900, 700)])
def test_any_size_is_taken(tagger: NounTagger, size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    assert tagger.probabilities(images).shape == (2, 1000)
    assert isinstance(tagger.tags(images[:1]), list)
