"""Trains the tests' tiny CLIP on captioned crops of the scenes: python tools/train_tiny_clip.py

No CLIP weights are small enough to travel with a repository, yet prompts, NACLIP and controls such
as a wrong noun mean nothing on random weights. So here is real image-text alignment, in little: an
architecture and a folder layout of open_clip's, a vocabulary of whole words, and crops of scenes of
other worlds (seeds 1 and up) than the one that tests judge it on (seed 0).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor

from fmlad.datasets import SCENE_CATEGORIES, render_scene

TARGET = Path(__file__).resolve().parents[1] / "tests" / "assets" / "tiny_clip"
SIDE, PATCH = 64, 8
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
WORLD = 1  # seed of the scenes; 0 belongs to the tests
SCENES = 80  # a category
STEPS, BATCH, RATE, WARMUP = 2400, 64, 1e-3, 100
SCALES = (0.25, 1.0)  # pixels of a crop per pixel of the scene, least and greatest
STRETCH = math.log(1.4)  # of a crop's sides; a scene is squashed by up to twice that
TILES = {SIDE: 150, SIDE // 2: 300, SIDE // 4: 300}  # px -> number a kind of object
MOVED = 0.5  # share of tiles with an object from elsewhere
WHOLE = 0.4  # share of pages of one tile
QUARTERED = 0.2  # share of quarters of a page that are quartered again
HARD = 0.6  # share of batches from a single category
REDUCED = 0.5  # share of steps without the last block's residual and MLP

# What each kind of object may be called. The first is the scenes' own name for it.
NAMES: dict[str, tuple[str, ...]] = {
    "box": ("box", "plastic box", "lunch box"),
    "tangerine": ("tangerine", "orange fruit", "orange tangerine"),
    "nectarine": ("nectarine", "peach", "red nectarine"),
    "cereals": ("cereals", "cereal", "oatmeal"),
    "almonds": ("almonds", "brown almonds", "nuts to eat"),
    "banana chips": ("banana chips", "dried banana", "yellow banana chips"),
    "bottle": ("bottle", "glass bottle", "glass"),
    "banana juice": ("banana juice", "juice", "pale yellow juice"),
    "orange juice": ("orange juice", "juice", "orange drink"),
    "cherry juice": ("cherry juice", "juice", "dark red juice"),
    "label": ("label", "paper label", "white label"),
    "banana icon": ("banana icon", "banana picture", "yellow fruit icon"),
    "orange icon": ("orange icon", "orange picture", "orange fruit icon"),
    "cherry icon": ("cherry icon", "cherry picture", "red fruit icon"),
    "text label": ("text label", "printed text", "label with text"),
    "tray": ("tray", "plastic tray", "compartment"),
    "red pushpin": ("red pushpin", "pushpin", "small red pin"),
    "yellow pushpin": ("yellow pushpin", "pushpin", "small yellow pin"),
    "blue pushpin": ("blue pushpin", "pushpin", "small blue pin"),
    "bag": ("bag", "plastic bag", "transparent bag"),
    "washer": ("washer", "metal ring", "round washer"),
    "nut": ("nut", "hex nut", "small metal nut"),
    "long screw": ("long screw", "screw", "long bolt"),
    "short screw": ("short screw", "screw", "short bolt"),
    "2-clamp connector": ("2-clamp connector", "connector", "small connector"),
    "3-clamp connector": ("3-clamp connector", "connector", "splicing connector"),
    "5-clamp connector": ("5-clamp connector", "connector", "large connector"),
    "yellow cable": ("yellow cable", "cable", "yellow wire"),
    "blue cable": ("blue cable", "cable", "blue wire"),
    "red cable": ("red cable", "cable", "red wire"),
    "background": ("background", "table", "surface"),
}
BACKGROUND = "background"
# The kinds of each category of scenes, in the order of SCENE_CATEGORIES.
GROUPS = [
    [*list(NAMES)[start:stop], BACKGROUND]
    for start, stop in ((0, 6), (6, 15), (15, 19), (19, 24), (24, 30))
]
ABSENT = (
    "dog", "cat", "car", "tree", "house", "bicycle", "shoe", "phone", "chair", "cup", "flower",
    "bird", "book", "hat", "boat", "horse",
)  # fmt: skip
TEMPLATES = (
    "{}", "a {}", "one {}", "the {}", "some {}", "there is a {}", "a photo of {}",
    "a picture of {}", "{} seen from above", "a close look at {}",
)  # fmt: skip
JOINTS = ("{} and {}", "{} with {}", "{} beside {}", "{} , {}")


Window = tuple[float, float, float, float]


@dataclass(frozen=True)
class Plate:
    """One scene, in memory."""

    image: Image.Image
    instances: npt.NDArray[np.uint8]
    kinds: dict[int, str]  # id -> kind
    areas: dict[int, int]
    boxes: dict[str, list[tuple[int, int, int, int]]]  # kind -> xyxy of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=TARGET)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--world", type=int, default=WORLD)
    arguments = parser.parse_args()
    if arguments.world == 0:
        parser.error("world 0 is what the tests judge by")
    train(arguments.folder, arguments.seed, arguments.steps, arguments.world)


def train(folder: Path, seed: int, steps: int, world: int) -> None:
    """Trains and saves; the same numbers from the same seed on the same machine."""
    import open_clip

    start = time.perf_counter()
    torch.set_num_threads(1)  # how sums are split among threads shows in their last digits
    torch.manual_seed(seed)
    rng = random.Random(seed)
    words = vocabulary()
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(folder, words)
    (folder / "open_clip_config.json").write_text(json.dumps(config(len(words)), indent=1) + "\n")
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).train()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    tiles = cut(render(world), rng)
    optimiser = torch.optim.AdamW(groups(model), lr=RATE, betas=(0.9, 0.98))
    sentences = (*TEMPLATES, *imagenet())
    absent = [rng.choice(sentences).replace("{}", word) for word in ABSENT]
    losses: list[float] = []
    for step in track(range(steps), description="training"):
        for group in optimiser.param_groups:
            ramp = min(1.0, (step + 1) / WARMUP)
            group["lr"] = (
                RATE * ramp * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))
            )
        images, seen, named, captions = batch(tiles, sentences, rng)
        picture = F.normalize(embed(model.visual, images, rng.random() < REDUCED), dim=-1)
        text = F.normalize(model.encode_text(tokenizer([*captions, *absent])), dim=-1)
        logits = model.logit_scale.exp().clamp(max=100) * picture @ text.T
        loss = contrast(logits, matches(seen, named))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        if (step + 1) % 200 == 0:
            print(f"step {step + 1}: loss {np.mean(losses[-200:]):.3f}", flush=True)
    state = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    print(f"{sum(v.numel() for v in state.values())} numbers, {time.perf_counter() - start:.0f} s")


def embed(visual: Any, images: Tensor, reduced: bool) -> Tensor:
    """The image embedding, computed in the last block for the class token alone.

    Args:
        visual: open_clip's vision transformer.
        images: ``(B, 3, SIDE, SIDE)``.
        reduced: Leave out the last block's residual and MLP, as stochastic depth does.
    """
    tokens = visual._embeds(images)
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        tokens = block(tokens)
    normed = last.ln_1(tokens)
    token = last.attn(normed[:, :1], normed, normed, need_weights=False)[0]
    if not reduced:
        token = tokens[:, :1] + token
        token = token + last.mlp(last.ln_2(token))
    embedding: Tensor = visual.ln_post(token[:, 0]) @ visual.proj
    return embedding


def config(words: int) -> dict[str, Any]:
    """What open_clip needs to know."""
    vision = {"image_size": SIDE, "patch_size": PATCH, "layers": 3, "width": 96, "head_width": 48}
    text: dict[str, Any] = {"vocab_size": words, "width": 64, "heads": 2, "layers": 2}
    text |= {"context_length": 24, "hf_tokenizer_name": "tiny_clip"}
    model = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text}
    look = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "squash"}
    return {"model_cfg": model, "preprocess_cfg": look}


def groups(model: torch.nn.Module) -> list[dict[str, Any]]:
    """No weight decay on vectors, as CLIP was trained."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]


def imagenet() -> tuple[str, ...]:
    """open_clip's 80 templates: what text is averaged over later should be in the training."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)


def vocabulary() -> list[str]:
    """Every word that a caption can hold, the special tokens first and the end token last."""
    import re

    texts = [
        *TEMPLATES, *imagenet(), *JOINTS, *ABSENT,
        *(name for names in NAMES.values() for name in names),
    ]  # fmt: skip
    found = {word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text.lower())}
    found -= {"{}"}
    # The end token must be the greatest: open_clip finds it by that.
    return ["<pad>", "<unk>", "<start>", *sorted(found | {".", ",", "-"}), "<end>"]


def save_tokenizer(folder: Path, words: list[str]) -> None:
    """A tokenizer of whole words in transformers' format, which open_clip reads from a folder.

    Its own vocabulary of 49,408 pieces would be six times as large as all the rest of the model.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[("<start>", ids["<start>"]), ("<end>", ids["<end>"])],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<start>",
        eos_token="<end>",
    ).save_pretrained(folder)  # fmt: skip


def render(world: int) -> list[Plate]:
    plates = []
    jobs = [(category, index) for category in SCENE_CATEGORIES for index in range(SCENES)]
    for category, index in track(jobs, description="rendering"):
        scene = render_scene(category, world, "train", "good", index)
        boxes: dict[str, list[tuple[int, int, int, int]]] = {}
        for item in scene.objects:
            boxes.setdefault(item.kind, []).append(item.box)
        plates.append(
            Plate(
                Image.fromarray(scene.image),
                scene.instances,
                {item.id: item.kind for item in scene.objects},
                {item.id: item.area for item in scene.objects},
                boxes,
            )
        )
    return plates


@dataclass(frozen=True)
class Tile:
    """A small picture that a page is put together from."""

    pixels: npt.NDArray[np.uint8]
    names: frozenset[str]  # of all that is to be seen
    subjects: tuple[str, ...]  # what may be said of it


def cut(plates: list[Plate], rng: random.Random) -> dict[str, dict[int, list[Tile]]]:
    """Tiles by what they are about and by size."""
    found = {}
    for kind in track(NAMES, description="cutting"):
        own = [plate for plate in plates if kind == BACKGROUND or kind in plate.boxes]
        found[kind] = {
            size: [
                moved(kind, own, plates, size, rng)
                if kind != BACKGROUND and rng.random() < MOVED
                else kept(kind, own, size, rng)
                for _ in range(number)
            ]
            for size, number in TILES.items()
        }
    return found


def kept(kind: str, plates: list[Plate], size: int, rng: random.Random) -> Tile:
    """A piece of a scene as it is."""
    while True:
        plate = rng.choice(plates)
        window = choose_window(plate, size, rng, kind)
        pixels, ids = cropped(plate, window, size)
        kinds = visible(ids, plate, window)
        if kind in kinds:
            return tile(pixels, kinds, kind, rng)


def moved(
    kind: str, plates: list[Plate], others: list[Plate], size: int, rng: random.Random
) -> Tile:
    """An object cut out by its mask and laid upon a piece of some scene, or upon nothing known.

    In the scenes a pin never lies but in a tray: no caption could tell which of the two is which.
    """
    while True:
        plate, other = rng.choice(plates), rng.choice(others)
        window = choose_window(plate, size, rng, kind)
        above, ids = cropped(plate, window, size)
        chosen = np.isin(ids, [number for number, name in plate.kinds.items() if name == kind])
        if kind not in visible(np.where(chosen, ids, 255), plate, window):
            continue
        kinds = {kind}
        if rng.random() < 0.5:
            pixels = noise(size, rng)
        else:
            below = choose_window(other, size, rng, rng.choice((BACKGROUND, *sorted(other.boxes))))
            pixels, rest = cropped(other, below, size)
            kinds |= visible(np.where(chosen, 255, rest), other, below)
        soft = Image.fromarray(chosen.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(0.4))
        share = np.asarray(soft, np.float32)[..., None] / 255
        return tile((share * above + (1 - share) * pixels + 0.5).astype(np.uint8), kinds, kind, rng)


def noise(size: int, rng: random.Random) -> npt.NDArray[np.uint8]:
    """A patch of one colour, more or less grainy, that nobody has a word for."""
    colour = np.array([rng.uniform(0, 255) for _ in range(3)])
    grain = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(0, 25), (size, size))
    return (colour + grain[..., None]).clip(0, 255).astype(np.uint8)


def tile(pixels: npt.NDArray[np.uint8], kinds: set[str], kind: str, rng: random.Random) -> Tile:
    names = frozenset(name for one in kinds for name in NAMES[one])
    return Tile(pixels, names, NAMES[kind] if rng.random() < 0.8 else tuple(sorted(names)))


def cropped(
    plate: Plate, window: Window, size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Pixels ``(size, size, 3)`` and instances ``(size, size)`` of a window."""
    picture = plate.image.resize((size, size), Image.Resampling.BICUBIC, box=window)
    left, top, right, bottom = window
    steps = (np.arange(size) + 0.5) / size
    rows = (top + steps * (bottom - top)).astype(int)
    columns = (left + steps * (right - left)).astype(int)
    return np.asarray(picture), plate.instances[np.ix_(rows, columns)]


def choose_window(plate: Plate, size: int, rng: random.Random, kind: str) -> Window:
    """A window ``xyxy`` near an object of a kind, or anywhere for the background.

    Its scale is that of a whole scene seen at two to eight times SIDE, squashed or not, so that a
    model trained on pieces meets in a scene what it knows.
    """
    width, height = plate.image.size
    side = size / math.exp(rng.uniform(*(math.log(scale) for scale in SCALES)))
    stretch = math.exp(rng.uniform(-STRETCH, STRETCH))
    across, down = min(side * stretch, width), min(side / stretch, height)
    if kind == BACKGROUND:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
    else:
        x0, y0, x1, y1 = rng.choice(plate.boxes[kind])
        x = rng.uniform(x0, x1) + across * rng.uniform(-0.3, 0.3)
        y = rng.uniform(y0, y1) + down * rng.uniform(-0.3, 0.3)
    left = min(max(x - across / 2, 0), width - across)
    top = min(max(y - down / 2, 0), height - down)
    return (left, top, left + across, top + down)


def visible(ids: npt.NDArray[np.uint8], plate: Plate, window: Window) -> set[str]:
    """Kinds that fill enough of a window, or show enough of themselves, to be spoken of."""
    left, top, right, bottom = window
    cell = (right - left) * (bottom - top) / ids.size  # pixels of the scene
    counts = np.bincount(ids.ravel(), minlength=256)
    kinds = set()
    for number, kind in plate.kinds.items():
        share = counts[number] / ids.size
        # A tray that peeps out between pins is not what a picture of pins is about.
        if share > 0.2 or (share > 0.02 and counts[number] * cell > 0.6 * plate.areas[number]):
            kinds.add(kind)
    if counts[0] > 0.3 * ids.size:
        kinds.add(BACKGROUND)
    return kinds


def batch(
    tiles: dict[str, dict[int, list[Tile]]], sentences: tuple[str, ...], rng: random.Random
) -> tuple[Tensor, list[set[str]], list[set[str]], list[str]]:
    """Pages ``(B, 3, SIDE, SIDE)``, what is in each, what each caption names, the captions."""
    # Else telling bottles from screws would be all there is to learn.
    topics = list(NAMES) if rng.random() >= HARD else rng.choice(GROUPS)
    images = np.empty((BATCH, SIDE, SIDE, 3), np.uint8)
    seen, named, captions = [], [], []
    for page in images:
        names: set[str] = set()
        said: list[str] = []
        # Were all things on all pages, no word would ever be wrong.
        kinds = rng.sample(topics, rng.randint(1, 3))
        for top, left, size in layout(rng):
            piece = rng.choice(tiles[rng.choice(kinds)][size])
            flipped = rng.random() < 0.5
            page[top : top + size, left : left + size] = (
                piece.pixels[:, ::-1] if flipped else piece.pixels
            )
            names |= piece.names
            said.append(rng.choice(piece.subjects))
        said = rng.sample(said, min(len(said), 1 if rng.random() < 0.7 else 2))
        phrase = said[0] if len(said) == 1 else rng.choice(JOINTS).format(*said)
        seen.append(names)
        named.append(set(said))
        captions.append(rng.choice(sentences).replace("{}", phrase))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    gain = torch.empty(BATCH, 1, 1, 1).uniform_(0.8, 1.2)
    pixels = (pixels * gain).clamp(0, 1)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return (pixels - mean) / std, seen, named, captions


def layout(rng: random.Random) -> list[tuple[int, int, int]]:
    """Places of a page's tiles, ``(top, left, size)``: one, four, or quarters of these.

    A collage has neighbours that no scene has: what is in a picture can then not be guessed from
    the kind of scene, and every patch has to speak for itself.
    """
    if rng.random() < WHOLE:
        return [(0, 0, SIDE)]
    half, quarter = SIDE // 2, SIDE // 4
    places = []
    for top in (0, half):
        for left in (0, half):
            if rng.random() < QUARTERED:
                corners = [(y, x) for y in (0, quarter) for x in (0, quarter)]
                places += [(top + y, left + x, quarter) for y, x in corners]
            else:
                places.append((top, left, half))
    return places


def matches(seen: list[set[str]], named: list[set[str]]) -> Tensor:
    """bool ``(B, B)``: whether crop i shows all that caption j names."""
    return torch.tensor([[said <= there for said in named] for there in seen])


def contrast(logits: Tensor, positive: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy, less its least value, where several captions may be true.

    Args:
        logits: ``(B, B + n)``; the last n texts are true of no crop.
        positive: bool ``(B, B)``; every row and column has one.
    """
    size = len(positive)
    target = positive.float()
    rows = F.pad(target / target.sum(1, keepdim=True), (0, logits.shape[1] - size))
    columns = target / target.sum(0)
    by_image = F.kl_div(logits.log_softmax(1), rows, reduction="sum") / size
    by_text = F.kl_div(logits[:, :size].log_softmax(0), columns, reduction="sum") / size
    return (by_image + by_text) / 2


if __name__ == "__main__":
    main()
