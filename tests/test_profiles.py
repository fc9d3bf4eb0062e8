"""Which backbone fills which role: ranks, names, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fmlad
from fmlad import profiles
from fmlad.backbones.embedded.builtin import HandmadeFeatures
from fmlad.backbones.roles import ROLES, Backbone, FeatureExtractor, Pyramid
from fmlad.errors import OptionError, UnknownNameError
from fmlad.loading import method_backbones
from fmlad.profiles import (
    PROFILE_VARIABLE,
    PROFILES,
    BackboneEntry,
    list_backbones,
    list_profiles,
    load_backbones,
    pick_device,
    profile_name,
    resolve,
)
from tests.conftest import picture

FEATURES = "feature_extractor"
HANDMADE = "builtin:handmade@1"


class Live:
    """A feature extractor of the user's own."""

    name = "mine:live@1"
    fingerprint = "mine"
    expensive = False

    def encode(self, images: torch.Tensor) -> Pyramid:
        raise NotImplementedError


class Nameless:
    def encode(self, images: torch.Tensor) -> Pyramid:
        raise NotImplementedError


# --- profiles ------------------------------------------------------------------------------------


def test_the_three_profiles_are_there() -> None:
    assert list_profiles() == ["builtin", "foundation", "light"]
    assert fmlad.list_profiles() == list_profiles()


@pytest.mark.parametrize("profile", list_profiles())
def test_every_default_is_registered_for_its_role(profile: str) -> None:
    needs = list(PROFILES[profile])
    assert resolve(needs, profile) == dict(PROFILES[profile])
    assert set(needs) <= set(ROLES)


def test_the_argument_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROFILE_VARIABLE, "light")
    assert profile_name("builtin") == "builtin"
    assert profile_name(None) == "light"
    monkeypatch.delenv(PROFILE_VARIABLE)
    assert profile_name(None) == "builtin"
    monkeypatch.setenv(PROFILE_VARIABLE, "")
    assert profile_name(None) == "builtin"


def test_one_line_says_once_what_another_profile_would_add(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shot = picture(0, size=(60, 80))
    profiles.say_default.cache_clear()
    for _ in range(2):
        fmlad.Detector.from_shots(shot, banks="patch", registration=False)
    (line,) = (record.message for record in caplog.records if "profile" in record.message)
    assert "profile='foundation'" in line
    caplog.clear()
    profiles.say_default.cache_clear()
    fmlad.Detector.from_shots(shot, banks="patch", registration=False, profile="builtin")
    assert not caplog.records


def test_a_bad_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROFILE_VARIABLE, "buildin")
    with pytest.raises(UnknownNameError, match=r"'buildin'. Did you mean 'builtin'"):
        profile_name(None)


@pytest.mark.parametrize("name", ["fondation", "", "Builtin", " light"])
def test_an_unknown_profile_lists_what_exists(name: str) -> None:
    with pytest.raises(UnknownNameError, match="builtin, foundation, light"):
        profile_name(name)


def test_the_profile_reaches_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROFILE_VARIABLE, "no-such")
    with pytest.raises(UnknownNameError, match="no-such"):
        fmlad.Detector.from_shots("not looked at yet")


# --- roles ---------------------------------------------------------------------------------------


def test_argument_before_declared_before_profile() -> None:
    declared, mine = {FEATURES: "dinov2:declared"}, {FEATURES: "dinov2:mine"}
    assert resolve([FEATURES], "builtin") == {FEATURES: "builtin:features@1"}
    assert resolve([FEATURES], "builtin", declared) == {FEATURES: "dinov2:declared"}
    assert resolve([FEATURES], "builtin", declared, mine) == {FEATURES: "dinov2:mine"}
    assert resolve([FEATURES], "builtin", None, mine) == {FEATURES: "dinov2:mine"}


@pytest.mark.parametrize(
    ("method", "name"),
    [("banks", "builtin:features@1"), ("sam-lad", HANDMADE), ("clip-lad", HANDMADE)],
)
def test_a_method_has_the_features_that_it_was_measured_with(method: str, name: str) -> None:
    assert method_backbones(method, "builtin", device="cpu").backbones[FEATURES].name == name


def test_the_profiles_themselves_are_left_alone() -> None:
    before = {name: dict(roles) for name, roles in PROFILES.items()}
    resolve([FEATURES], "builtin", {FEATURES: "dinov2:a"}, {FEATURES: "dinov2:b"})
    assert before == {name: dict(roles) for name, roles in PROFILES.items()}


def test_only_what_is_needed_is_chosen() -> None:
    assert resolve([], "builtin") == {}
    assert resolve([FEATURES], "builtin").keys() == {FEATURES}


def test_the_embedded_profile_fills_every_role() -> None:
    assert PROFILES["builtin"].keys() == ROLES.keys()
    assert all(backbone.startswith("builtin:") for backbone in PROFILES["builtin"].values())


def test_a_role_that_a_profile_does_not_fill_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "few", {FEATURES: HANDMADE})  # type: ignore[arg-type]
    said = r"'few' has no backbone for the role 'grounder'.* known for it: builtin:lexicon-boxes@1,"
    with pytest.raises(OptionError, match=said):
        resolve(["grounder"], "few")


@pytest.mark.parametrize("role", ["feature_extracter", "", "FeatureExtractor"])
def test_an_unknown_role_is_refused(role: str) -> None:
    with pytest.raises(UnknownNameError, match=r"Known ones: .*feature_extractor"):
        resolve([FEATURES], "builtin", None, {role: HANDMADE})
    with pytest.raises(UnknownNameError, match="Known ones"):
        list_backbones(role)


def test_a_near_role_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'feature_extractor'"):
        resolve([FEATURES], "builtin", None, {"feature_extracter": HANDMADE})


@pytest.mark.parametrize("name", ["builtin:handmade", "builtin:handmade@2", "dinov2:", "", "*"])
def test_an_unknown_backbone_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"Known ones: .*builtin:handmade@1"):
        resolve([FEATURES], "builtin", None, {FEATURES: name})


def test_a_backbone_in_the_wrong_role_is_refused() -> None:
    with pytest.raises(
        OptionError, match=f"does not fill the role 'mask_proposer' .it fills {FEATURES}"
    ):
        resolve(["mask_proposer"], "builtin", None, {"mask_proposer": HANDMADE})


@pytest.mark.parametrize("override", [{"tagger": "nonsense"}, {"mask_proposer": HANDMADE}])
def test_an_override_is_checked_even_if_it_is_not_needed(override: Any) -> None:
    with pytest.raises(OptionError):
        resolve([FEATURES], "builtin", None, override)


# --- live objects --------------------------------------------------------------------------------


def test_a_live_object_that_fills_the_role_is_taken_as_it_is() -> None:
    live = Live()
    chosen = resolve([FEATURES], "builtin", None, {FEATURES: live})
    assert chosen[FEATURES] is live
    assert load_backbones(chosen, "cpu")[FEATURES] is live


@pytest.mark.parametrize("thing", [Nameless(), object(), 5, None, ["dinov2:x"]])
def test_a_live_object_that_does_not_fill_the_role_is_refused(thing: Any) -> None:
    with pytest.raises(OptionError, match=f"{type(thing).__name__}.*FeatureExtractor"):
        resolve([FEATURES], "builtin", None, {FEATURES: thing})


def test_a_live_object_in_the_wrong_role_is_refused() -> None:
    with pytest.raises(OptionError, match=r"Live.*MaskProposer"):
        resolve(["mask_proposer"], "builtin", None, {"mask_proposer": Live()})  # type: ignore[dict-item]


# --- names and loading ---------------------------------------------------------------------------


def test_backbones_are_listed_by_role() -> None:
    assert HANDMADE in list_backbones(FEATURES)
    assert HANDMADE not in list_backbones("mask_proposer")
    everything = list_backbones()
    assert everything == sorted(set(everything))
    assert set(everything) == {name for role in ROLES for name in list_backbones(role)}
    assert fmlad.list_backbones(FEATURES) == list_backbones(FEATURES)


def test_a_family_matches_whatever_follows_its_colon() -> None:
    family = BackboneEntry("dinov2:*", (FEATURES,), "m:f", "")
    assert family.matches("dinov2:facebook/dinov2-small")
    assert family.matches("dinov2:/a/local folder")
    assert not family.matches("dinov2:")
    assert not family.matches("dinov2")
    assert not family.matches("dinov22:x")
    single = BackboneEntry(HANDMADE, (FEATURES,), "m:f", "")
    assert single.matches(HANDMADE)
    assert not single.matches(HANDMADE + "0")


def test_the_same_name_is_built_once() -> None:
    first = load_backbones({FEATURES: HANDMADE}, "cpu")[FEATURES]
    assert load_backbones({FEATURES: HANDMADE}, "cpu")[FEATURES] is first
    assert isinstance(first, HandmadeFeatures)
    assert isinstance(first, FeatureExtractor)
    assert isinstance(first, Backbone)


def test_a_plugged_backbone_can_be_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = BackboneEntry("mine:live@1", (FEATURES,), f"{__name__}:make_live", "a test's own")

    class Point:
        def load(self) -> tuple[BackboneEntry, ...]:
            return entry  # type: ignore[return-value]

    monkeypatch.setattr(profiles, "entry_points", lambda group: [Point()])
    profiles._entries.cache_clear()
    profiles._build.cache_clear()
    try:
        assert "mine:live@1" in list_backbones(FEATURES)
        chosen = resolve([FEATURES], "builtin", None, {FEATURES: "mine:live@1"})
        assert isinstance(load_backbones(chosen, "cpu")[FEATURES], Live)
    finally:
        monkeypatch.undo()
        profiles._entries.cache_clear()
        profiles._build.cache_clear()
    assert "mine:live@1" not in list_backbones()


def make_live(name: str, device: str) -> Live:
    assert (name, device) == ("mine:live@1", "cpu")
    return Live()


# --- devices -------------------------------------------------------------------------------------


def test_auto_is_something_that_works() -> None:
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device("auto") == wanted
    assert pick_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "", "cpu:x", "CPU "])
def test_a_device_that_is_not_here_is_refused(device: str) -> None:
    with pytest.raises(OptionError, match="device='auto'"):
        pick_device(device)


def test_a_backbone_for_a_role_without_use_is_refused_and_not_ignored() -> None:
    with pytest.raises(OptionError, match=r"no use of the role 'mask_proposer'.*feature_extractor"):
        profiles.resolve(
            ["feature_extractor"], "builtin", None, {"mask_proposer": "builtin:regions@2"}
        )
