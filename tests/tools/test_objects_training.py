from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("cv2", reason="the training of objects needs opencv-python-headless")

from fmlad.backbones.embedded.learned_objects import LearnedProposer
from fmlad.networks.object_decoder import OFFSETS, ObjectMaps, displaced
from tools.objects.rating import add_rating, overlaps
from tools.objects.store import Store
from tools.objects.targets import affinities_of, innermost, loss, maps_of
from tools.objects.train import batch, trained


def labels() -> np.ndarray:
    picture = np.zeros((64, 64), np.uint8)
    picture[8:40, 8:48] = 1
    picture[20:30, 20:30] = 2
    return picture


def test_innermost_is_the_deepest_layer_that_is_there() -> None:
    layers = np.array([[[1, 1, 0]], [[0, 2, 0]], [[0, 0, 0]]], np.uint8)
    assert innermost(layers).tolist() == [[1, 2, 0]]


def test_maps_of_known_objects() -> None:
    leaves = np.zeros(256, bool)
    leaves[2] = True
    covered, leaf, boundary, interior = maps_of(labels(), leaves)
    assert covered.shape == (32, 32)
    assert covered.sum() == 16 * 20
    assert leaf.sum() == 5 * 5
    assert boundary[4, 10] == 1
    assert boundary[16, 7] == 0
    assert interior[12, 12] > interior[11, 11]
    assert interior.max() == 1


def test_affinities_tell_whether_a_pair_is_of_one_object() -> None:
    cells = labels()[2::4, 2::4]
    for (down, right), affinity in zip(OFFSETS, affinities_of(labels()), strict=True):
        here, there = displaced(cells.shape, down, right)
        assert np.array_equal(affinity[here], cells[here] == cells[there])
        assert (affinity == 255).sum() == cells.size - cells[here].size


def test_the_right_answer_costs_least() -> None:
    leaves = np.ones(256, bool)
    maps = torch.from_numpy(maps_of(labels(), leaves))[None]
    affinities = torch.from_numpy(affinities_of(labels()))[None]
    right = ObjectMaps(20 * (maps - 0.5), 20.0 * affinities.eq(1) - 10)
    wrong = ObjectMaps(-right.maps, -right.affinities)
    unsure = ObjectMaps(0 * right.maps, 0 * right.affinities)
    costs = [float(loss(said, maps, affinities)) for said in (right, unsure, wrong)]
    assert costs[0] < costs[1] < costs[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("pictures"), chunk=6)
    made.draw(12, processes=1)
    return made


def test_crops_have_the_objects_of_their_pictures(store: Store) -> None:
    pixels, maps, affinities = batch(store, [0, 1, 2], np.random.default_rng(0))
    assert pixels.shape == (3, 3, 256, 256)
    assert maps.shape == (3, 4, 128, 128)
    assert affinities.shape == (3, len(OFFSETS), 64, 64)
    assert maps.min() >= 0
    assert maps.max() <= 1


@pytest.mark.slow
def test_a_tiny_training_is_deterministic_and_resumes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = trained(store, 6, 3, seed=1).state_dict()
    again = trained(store, 6, 3, seed=1).state_dict()
    other = trained(store, 6, 3, seed=2).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in once.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in once.items())

    def killed(done: int, total: int, what: str) -> None:
        if done == 2:
            raise RuntimeError("killed")

    monkeypatch.setattr("tools.objects.train.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("fmlad.training.loop.TELL_SECONDS", 0.0)
    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(RuntimeError, match="killed"):
        trained(store, 6, 3, seed=1, checkpoint=file, progress=killed)
    resumed = trained(store, 6, 3, seed=1, checkpoint=file, resume=True).state_dict()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in once.items())


@pytest.mark.slow
def test_decoder_and_rating_make_a_proposer(store: Store, tmp_path: Path) -> None:
    decoder = trained(store, 6, 1).state_dict()
    stored = {f"decoder.{name}": tensor.contiguous() for name, tensor in decoder.items()}
    save_file(stored, tmp_path / "decoder.safetensors")
    add_rating(
        tmp_path / "decoder.safetensors", tmp_path / "objects.safetensors", store, range(6, 12)
    )
    proposer = LearnedProposer(weights=tmp_path / "objects.safetensors")
    pixels, layers, leaves = store[0]
    tree = proposer.tree(torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None])
    small = np.ascontiguousarray(layers[:, ::2, ::2])
    found = overlaps(tree, small, ~leaves)
    assert found.shape == (len(tree), 2)
    assert (found <= 1).all()
    # The root of the tree is the image: it overlaps as much as the largest object covers.
    inside = np.bincount(innermost(small).ravel(), minlength=256)[1:].max() / small[0].size
    roots = np.flatnonzero(tree.parent < 0)
    if len(roots) == 1:
        assert found[roots[0], 0] == pytest.approx(inside)
