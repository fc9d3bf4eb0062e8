"""The foundation models by method: which networks, which options, and how often they are asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import fmlad
from fmlad import Detector
from tests.conftest import Pixels, picture
from tools import random_weights

FEATURES = "dinov2:facebook/dinov2-small"
GROUNDER = "grounding-dino:IDEA-Research/grounding-dino-tiny#box=0,text=0,nms=0.3"
# Random networks are sure of nothing: what they say is kept whatever its quality.
OPEN = "points=4,iou=0,stability=0,nms=1"
SAM = f"sam:facebook/sam-vit-huge#{OPEN}"
SAM_HQ = f"sam-hq:syscv-community/sam-hq-vit-huge#{OPEN}"
RAM = "ram:xinyu1205/recognize-anything-plus-model#least=0"
FEATUP = "featup:dinov2_jbu_stack_cocostuff"

WORDS = """
coarse: {background: [background, plastic bag], foreground: [screw, nut, washer]}
templates: ['a photo of a {}.']
fine:
  screw: {words: [long screw, bolt], expect: 0..99}
  nut: [hex nut]
  washer: {words: [washer], decide: region}
"""

SIZES = ((120, 160), (150, 200), (120, 160), (160, 120))
SHOTS = [picture(seed, size) for seed, size in enumerate(SIZES)]
QUERY = picture(9, (140, 180), defect=True)


@dataclass(frozen=True)
class Case:
    """A method with its networks.

    Attributes:
        method: Its name.
        backbones: By role, for weights in ``$FMLAD_WEIGHTS``.
        once: Networks that see every image once, at fit time and at predict time.
        shots_only: Networks that see the shots alone.
        options: Of the method.
    """

    method: str
    backbones: Mapping[str, str]
    once: tuple[str, ...]
    shots_only: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def fit(self, shots: list[Pixels], **more: Any) -> Detector:
        prompts = {"prompts": fmlad.PromptSet.from_text(WORDS)} if "clip" in self.method else {}
        given: dict[str, Any] = {**prompts, **self.options, **more}
        return Detector.from_shots(
            shots, method=self.method, profile="foundation", backbones=dict(self.backbones),
            **given,
        )  # fmt: skip

    def at_fit(self, images: int) -> dict[str, int]:
        """Passes that a fit takes."""
        return dict.fromkeys((*self.once, *self.shots_only), images)

    def at_predict(self, images: int) -> dict[str, int]:
        """Passes that predictions take."""
        return dict.fromkeys(self.once, images)


def cases(clip: str, vocabulary: Path) -> dict[str, Case]:
    """By name.

    Args:
        clip: The source of a CLIP.
        vocabulary: A file with the words of its tagger: to embed the bundled ones takes a while.
    """
    # To register images takes most of the time, and is done in the first case.
    grounded = {"proposals": "grounded", "registration": False}
    look = {"feature_extractor": FEATURES, "grounder": GROUNDER}
    tags = f"clip-tags:{clip}#least=0,most=4,words={vocabulary}"
    return {
        "banks": Case(
            "banks", {"feature_extractor": FEATURES, "mask_proposer": SAM}, ("DINOv2", "SAM")
        ),
        "banks-clip-tags": Case(
            "banks", {**look, "mask_proposer": SAM, "tagger": tags},
            ("DINOv2", "Grounding DINO", "SAM"), ("CLIP",), grounded,
        ),
        "banks-ram-sam-hq": Case(
            "banks", {**look, "mask_proposer": SAM_HQ, "tagger": RAM},
            ("DINOv2", "Grounding DINO", "SAM"), ("RAM++",), {**grounded, "proposals": "both"},
        ),
        "clip-lad": Case("clip-lad", {"text_aligner": f"clip:{clip}"}, ("CLIP",)),
        "sam-lad": Case(
            "sam-lad",
            {
                "feature_extractor": f"{FEATURES}#side=224,fit=squash",
                "mask_proposer": SAM, "upsampler": FEATUP,
            },
            ("DINOv2", "SAM", "FeatUp"),
        ),
    }  # fmt: skip


NAMES = tuple(cases("", Path()))


def fill_tiny(root: Path) -> dict[str, Case]:
    """Writes weights of all cases, tiny, and gives the cases."""
    more = ["sam-hq:syscv-community/sam-hq-vit-huge", "ram:xinyu1205/recognize-anything-plus-model"]
    random_weights.fill(root, [*random_weights.profile_names("foundation"), *more], "tiny")
    (root / "words.txt").write_text("\n".join(random_weights.WORDS))
    clip = random_weights.overrides(root, "foundation")["text_aligner"].removeprefix("clip:")
    return cases(clip, root / "words.txt")


def save_pictures(folder: Path, pictures: list[Pixels]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    places = [folder / f"{number}.png" for number in range(len(pictures))]
    for place, pixels in zip(places, pictures, strict=True):
        Image.fromarray(pixels).save(place)
    return places


ELSEWHERE = """
import json, os, sys
import torch
from fmlad import Detector, profiles
from tools.passes import counted
query, threads, cache, *folders = sys.argv[1:]
torch.set_num_threads(int(threads))
for number, folder in enumerate(folders):
    os.environ["FMLAD_CACHE_DIR"] = f"{cache}/{number}"
    profiles._build.cache_clear()  # SAM keeps what it said of the last picture
    with counted() as passes:
        score = Detector.load(folder, device="cpu").predict(query).score
    print(json.dumps([score, passes]))
"""


def judged_elsewhere(
    folders: list[Path], query: Path, weights: Path, cache: Path
) -> list[tuple[float, dict[str, int]]]:
    """Score of a picture, and passes, by saved detectors in a new process with empty caches.

    With as many threads as here: more would sum in another order, and change last digits.
    """
    words = [query, torch.get_num_threads(), cache, *folders]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *map(str, words)],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
        env={**os.environ, "FMLAD_WEIGHTS": str(weights), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]
