"""Settings that prompt sets bring."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fmlad.errors import PromptError
from fmlad.methods.csad.pseudo_config import pseudo_config
from fmlad.methods.csad.released import pseudo_settings, segmenter_settings, settings_of
from fmlad.methods.csad.segmenter_config import segmenter_config
from fmlad.prompts import PromptSet
from fmlad.prompts.groups import PromptGroup, load_prompts

# Mode, bandwidth, largest cluster alone, holes filled, distance of LSA, number of tags.
RELEASED = {
    "breakfast_box": ("coarse", 3.5, True, True, 0.2, 6),
    "juice_bottle": ("fine", 3.5, True, True, 0.2, 23),
    "pushpins": ("coarse", 3.5, False, False, 0.2, 3),
    "screw_bag": ("fine", 3.0, True, False, 0.1, 15),
    "splicing_connectors": ("coarse", 4.0, False, False, 0.2, 9),
}


@pytest.mark.parametrize("category", RELEASED)
def test_the_released_settings_are_options_of_the_method(category: str) -> None:
    found = settings_of(load_prompts(f"mvtec_loco/{category}"))
    pseudo = pseudo_config("code", **pseudo_settings(found))
    segmenter = segmenter_config("code", **segmenter_settings(found))
    assert (
        pseudo.mode, pseudo.bandwidth, pseudo.largest, pseudo.fill_holes, segmenter.distance,
        len(pseudo.tags),
    ) == RELEASED[category]  # fmt: skip
    assert all(any(word in tag for tag in pseudo.tags) for word in pseudo.background) or (
        category == "pushpins"  # its background phrase is no tag of its own in the released code
    )


def test_sets_without_them_bring_nothing() -> None:
    assert settings_of(None) == {}
    assert settings_of(PromptSet.load("scenes/screw_bag")) == {}


def test_kinds_must_not_contradict_each_other() -> None:
    group = load_prompts("mvtec_loco/juice_bottle")
    assert isinstance(group, PromptGroup)
    kind, one = next(iter(group.sets.items()))
    other = replace(one, pseudo_labels={**one.pseudo_labels, "mode": "coarse"})
    with pytest.raises(PromptError, match="mode is"):
        settings_of(replace(group, sets={**group.sets, kind: other}))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{mode: fine}", "'tags' is missing"),
        ("{tags: [a], mode: medium}", "fine or coarse"),
        ("{tags: [a], bandwidth: -1}", "above 0"),
        ("{tags: [a], largest: 3}", "true or false"),
        ("{tags: [a], distance: 2}", "0 to 1"),
        ("{tags: [a], rotation: 2}", "unknown key"),
    ],
)
def test_mistakes_in_a_file_are_told_with_their_line(line: str, fault: str) -> None:
    text = f"coarse: {{background: [table]}}\nfine: {{disc: [disc]}}\npseudo_labels: {line}\n"
    with pytest.raises(PromptError, match=f"line 3.*{fault}"):
        PromptSet.from_text(text)


def test_they_come_back_from_a_saved_set() -> None:
    one = PromptSet.load("mvtec_loco/screw_bag")
    assert one.pseudo_labels
    assert PromptSet.from_dict(one.to_dict()) == one
