"""What only real image-text alignment can show, on the tiny CLIP of ``tools/train_tiny_clip.py``.

It was trained on scenes of another world; everything here is measured on world 0.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones import clip
from fmlad.datasets import SCENE_CATEGORIES, render_scene
from fmlad.datasets.scenes.truth import Scene, SceneObject
from fmlad.errors import PromptError

open_clip = pytest.importorskip("open_clip")

ASSET = Path(__file__).resolve().parents[1] / "assets" / "tiny_clip"
CONTAINERS = ("box", "bottle", "tray", "bag")  # hold the other parts, and are seen with them
LEAST = 80  # pixels of a part below which its IoU says nothing


@lru_cache(maxsize=1)
def scenes() -> list[Scene]:
    """Three normal scenes a category."""
    return [
        render_scene(category, 0, "validation", "good", index)
        for category in SCENE_CATEGORIES
        for index in range(3)
    ]


def backbone(attention: str = "naclip", side: int | None = None) -> clip.CLIP:
    size = "" if side is None else f",side={side}"
    return clip.load(f"clip:local-dir:{ASSET}#attention={attention}{size}")


def tensor(scene: Scene) -> Tensor:
    return torch.from_numpy(scene.image).permute(2, 0, 1)[None]


def test_open_clip_itself_loads_it() -> None:
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{ASSET}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{ASSET}")
    assert tokenizer(["a red pushpin"]).shape == (1, model.context_length)
    assert model.visual.image_size == (64, 64)
    assert transform is not None
    assert sum(path.stat().st_size for path in ASSET.iterdir()) < 1.5e6


def test_its_vocabulary_is_the_tools() -> None:
    from tokenizers import Tokenizer

    from tools.train_tiny_clip import vocabulary

    known = Tokenizer.from_file(str(ASSET / "tokenizer.json")).get_vocab()
    assert sorted(known, key=known.__getitem__) == vocabulary()
    with pytest.raises(PromptError, match="does not know 'giraffe'"):
        backbone().text(["giraffe"])


def crop(scene: Scene, item: SceneObject) -> tuple[Tensor, set[str]]:
    """A square about an object, and the kinds that show in it."""
    height, width = scene.instances.shape
    x0, y0, x1, y1 = item.box
    side = int(min(max(x1 - x0, y1 - y0, 24) * 1.2, height, width))
    left = int(np.clip((x0 + x1 - side) / 2, 0, width - side))
    top = int(np.clip((y0 + y1 - side) / 2, 0, height - side))
    inside = (slice(top, top + side), slice(left, left + side))
    ids = set(np.unique(scene.instances[inside]))
    seen = {other.kind for other in scene.objects if other.id in ids}
    pixels = torch.from_numpy(scene.image[inside].copy()).permute(2, 0, 1)[None]
    return F.interpolate(pixels.float(), (64, 64), mode="area").byte(), seen


def test_right_nouns_beat_wrong_and_shuffled_nouns() -> None:
    model = backbone(side=64)
    kinds = sorted({kind for scene in scenes() for kind in scene.spec.parts})
    words = model.text(kinds)
    found = [(s, o) for s in scenes() for o in s.objects if o.kind not in CONTAINERS]
    crops = [crop(scene, item) for scene, item in found]
    pooled = model.encode(torch.cat([pixels for pixels, _ in crops])).pooled
    shuffled = np.random.default_rng(0).permutation(len(kinds))
    hits, chance, control = [], [], []
    for embedding, (_, item), (_, seen) in zip(pooled, found, crops, strict=True):
        wrong = [i for i, kind in enumerate(kinds) if kind not in seen]
        options = [kinds.index(item.kind), *wrong]
        hits.append(int((words[options] @ embedding).argmax()) == 0)
        control.append(int((words[shuffled][options] @ embedding).argmax()) == 0)
        chance.append(1 / len(options))
    accuracy, other = float(np.mean(hits)), float(np.mean(control))
    print(f"{len(hits)} crops: {accuracy:.3f}, shuffled {other:.3f}, chance {np.mean(chance):.3f}")
    assert accuracy > 0.6
    assert accuracy > 5 * np.mean(chance)
    assert other < accuracy / 3


def iou(attention: str) -> float:
    """Mean IoU of each part with as many of its map's highest pixels as it has itself."""
    model = backbone(attention)
    values = []
    for scene in scenes():
        maps = model.ground(model.encode(tensor(scene)), scene.spec.parts)
        maps = F.interpolate(maps[None], scene.instances.shape, mode="bilinear")[0]
        truth = torch.from_numpy(scene.part_map())
        for number, part in enumerate(maps, start=1):
            true = truth == number
            if true.sum() < LEAST or scene.spec.parts[number - 1] in CONTAINERS:
                continue
            highest = part >= part.flatten().topk(int(true.sum())).values[-1]
            values.append(float((highest & true).sum() / (highest | true).sum()))
    return float(np.mean(values))


def test_naclips_maps_beat_plain_attentions() -> None:
    neighbours, plain = iou("naclip"), iou("plain")
    print(f"IoU: NACLIP {neighbours:.3f}, plain {plain:.3f}")
    assert neighbours > plain + 0.03
