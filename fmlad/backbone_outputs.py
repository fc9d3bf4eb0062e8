"""What each backbone sees in one image, step by step: the chain taken apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fmlad import draw, profiles
from fmlad.backbones.roles import Backbone, Masks
from fmlad.errors import FmladError, OptionError, PromptError, UnknownNameError
from fmlad.io.images import ImageSource, load_image, source_name
from fmlad.loading import load_backbones
from fmlad.objects.instances import resized
from fmlad.objects.proposals import expanded
from fmlad.progress import Progress, silent
from fmlad.views import BackboneSet, ImageView

STEPS = ("tagger", "grounder", "mask_proposer", "text_aligner", "feature_extractor", "upsampler")
GROUNDED = "grounded masks"
NO_WORDS = "there are no words to look for: give some (words=, --words)"
MOST_WORDS = 12  # similarity maps drawn
SHARPENED = 4  # factor by which features are sharpened for the picture
NEAR, FAR = 2, 98  # percentiles between which a similarity is drawn


@dataclass(frozen=True)
class Step:
    """What the backbone in one role says of an image.

    Attributes:
        role: The role, or ``"grounded masks"``.
        backbone: Its name.
        lines: The result in words.
        pictures: The result drawn, each with a caption.
        seconds: Loading not counted; nearly none where the result was on disk.
        problem: Why there is no result, or None.
    """

    role: str
    backbone: str
    lines: tuple[str, ...] = ()
    pictures: tuple[tuple[str, Image.Image], ...] = ()
    seconds: float = 0.0
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without pictures."""
        named = ("role", "backbone", "problem")
        return {**{name: getattr(self, name) for name in named}, "lines": list(self.lines)}


def look(
    image: ImageSource,
    words: Sequence[str] | str = (),
    *,
    profile: str | None = None,
    backbones: Mapping[str, str | Backbone] | None = None,
    roles: Iterable[str] = STEPS,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[Step]:
    """Asks the backbones of a profile about one image; one that fails does not stop the others.

    Args:
        image: A path, bytes, a PIL image or an array ``(H, W, 3)``.
        words: What is grounded and compared: a list, ``"screw, nut"``, or ``"prompts:NAME"`` for
            the words of a prompt set; none: what the tagger sees.
        profile: As in ``Detector.from_shots``.
        backbones: Role -> backbone name or object, overriding the profile.
        roles: Those to ask, out of :data:`STEPS`.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        progress: Called as ``progress(done, total, what)``.

    Returns:
        A step for each role that the profile has a backbone for, in the order of :data:`STEPS`;
        masks prompted by the grounder's boxes are one of their own.

    Raises:
        InvalidImageError: The image cannot be read.
        UnknownNameError: A profile or role does not exist.
        OptionError: The device is not usable here, or there is no word in ``words``.
    """
    progress = progress or silent
    wanted = list(roles)
    for role in wanted:
        if role not in STEPS:
            raise UnknownNameError.of("role to look through", role, STEPS)
    profile, device = profiles.profile_name(profile), profiles.pick_device(device)
    given = {**profiles.PROFILES[profile], **(backbones or {})}
    chosen = [role for role in STEPS if role in wanted and role in given]
    given_words = tuple(word for word in expanded(words) if word)
    if words and not given_words:
        raise OptionError(f"words={words!r} (--words) has no word; write 'screw, nut'.")
    seen = _Seen(load_image(image), source_name(image), device, given_words)
    steps = {}
    for done, role in enumerate(chosen):  # all before the first is asked: some share a network
        progress(done, len(chosen), "loading networks")
        backbone = given[role]
        steps[role] = Step(role, backbone if isinstance(backbone, str) else backbone.name)
        try:
            seen.add(profiles.resolve([role], profile, override={role: backbone}))
        except FmladError as error:
            steps[role] = replace(steps[role], problem=str(error))
    found = []
    for done, role in enumerate(chosen):
        progress(done, len(chosen), f"asking the {role.replace('_', ' ')}")
        step = steps[role]
        found.append(step if step.problem else _asked(step, _ASK[role], seen))
        if role == "mask_proposer" and not step.problem and seen.boxes is not None:
            found.append(_asked(replace(step, role=GROUNDED), _grounded, seen))
    progress(len(chosen), len(chosen), "done")
    return found


Result = tuple[list[str], list[tuple[str, Image.Image]]]


def _asked(step: Step, ask: Callable[[_Seen], Result], seen: _Seen) -> Step:
    started = time.monotonic()
    try:
        lines, pictures = ask(seen)
    except PromptError as error:
        if not seen.tagged:
            return replace(step, problem=str(error))
        # Not the user's fault: an embedded backbone reads attributes, and tags are nouns.
        return replace(
            step, lines=(f"it cannot read the tags; name attributes (words=, --words): {error}",)
        )
    except FmladError as error:
        return replace(step, problem=str(error))
    return replace(
        step, lines=tuple(lines), pictures=tuple(pictures), seconds=time.monotonic() - started
    )


@dataclass
class _Seen:
    """The image and what earlier steps found in it."""

    pixels: npt.NDArray[np.uint8]
    name: str
    device: str
    words: tuple[str, ...]
    tagged: bool = False  # whether the words are the tagger's
    boxes: npt.NDArray[np.float32] | None = None
    masks: Masks | None = None
    answers: list[str] = field(default_factory=list)  # of each box
    view: ImageView | None = None

    def add(self, chosen: Mapping[str, str | Backbone]) -> None:
        """Loads more backbones; results so far are kept."""
        more = load_backbones(chosen, self.device)
        if self.view is None:
            self.view = more.view(self.pixels, self.name)
            return
        known = self.view.backbone_set
        self.view = self.view.through(
            BackboneSet({**known.backbones, **more.backbones}, known.cache, self.device)
        )

    @property
    def picture(self) -> Image.Image:
        return Image.fromarray(self.pixels)

    @property
    def looked_at(self) -> ImageView:
        if self.view is None:
            raise OptionError("No backbone is loaded.")
        return self.view


def _tags(seen: _Seen) -> Result:
    tags = seen.looked_at.tags()
    if not seen.words:
        seen.words, seen.tagged = tuple(tag.word for tag in tags), True
    lines = [f"{tag.word}: {tag.score:.2f}" for tag in tags]
    return lines or ["no word is certain enough"], []


def _boxes(seen: _Seen) -> Result:
    if not seen.words:
        raise PromptError(f"{NO_WORDS}.")
    found = seen.looked_at.boxes(seen.words)
    seen.boxes = found.boxes
    seen.answers = [seen.words[number] for number in found.phrases]
    titles = [f"{w} {s:.2f}" for w, s in zip(seen.answers, found.scores, strict=True)]
    labelled = list(zip(titles, map(_box, found.boxes), strict=True))
    counts = {word: seen.answers.count(word) for word in seen.words}
    lines = [f"{word}: {count}" for word, count in counts.items() if count]
    if none := [word for word, count in counts.items() if not count]:
        more = f" and {len(none) - MOST_WORDS} more" if len(none) > MOST_WORDS else ""
        lines.append(f"nothing: {', '.join(none[:MOST_WORDS])}{more}")
    return lines, [(f"{len(found)} boxes", draw.framed(seen.picture, labelled))]


def _masks(seen: _Seen) -> Result:
    found = seen.masks = seen.looked_at.masks().best()
    lines = [f"{len(found)} masks" + (f", quality {_range(found.scores)}" if len(found) else "")]
    return lines, [("automatic masks", _painted(seen, found))]


def _grounded(seen: _Seen) -> Result:
    if seen.boxes is None:
        raise PromptError(f"{NO_WORDS}.")
    found = seen.looked_at.prompted(seen.boxes)
    words = tuple(dict.fromkeys(seen.answers))
    names = ["background", *words]
    labels = _labels(found, seen.looked_at.size, [names.index(word) for word in seen.answers])
    counts = {word: seen.answers.count(word) for word in words}
    drawn = draw.outlines(seen.picture, labels, names, counts)
    lines = [f"{len(found)} masks, one a box, quality {_range(found.scores)}"]
    return lines, [("masks of the boxes", drawn)]


def _similarity(seen: _Seen) -> Result:
    if not seen.words:
        raise PromptError(f"{NO_WORDS}.")
    words = seen.words[:MOST_WORDS]
    values, large = _similarities(seen, words)
    low, high = np.percentile(large, (NEAR, FAR))
    pictures = [
        (f"{word}: {_range(own)}", draw.heat(seen.pixels, shown, float(low), float(high)))
        for word, own, shown in zip(words, values, large, strict=True)
    ]
    best = large.argmax(0)
    lines = [f"{word}: nearest in {(best == n).mean():.0%}" for n, word in enumerate(words)]
    if left := len(seen.words) - len(words):
        lines.append(f"{left} more words were left out")
    return lines, pictures


def _similarities(
    seen: _Seen, words: Sequence[str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Of each word at each place or for each object ``(n, ...)``, and drawn, ``(n, H, W)``."""
    view = seen.looked_at
    if not view.reads and seen.masks is not None and len(seen.masks):
        # Words for size and shape are judged for objects alone.
        masks = seen.masks
        values = view.ground(words, masks.masks).float().cpu().numpy()
        labels = _labels(masks, view.size, range(1, len(masks) + 1))
        lowest = np.full((len(words), 1), values.min(), np.float32)
        return values, np.concatenate([lowest, values], axis=1)[:, labels]
    maps = view.ground(words).float().cpu()
    large = F.interpolate(maps[None], view.size, mode="bilinear", align_corners=False)[0]
    return maps.numpy(), large.numpy()


def _features(seen: _Seen) -> Result:
    pyramid = seen.looked_at.pyramid()
    lines = [
        f"stride {stride}: {level.shape[1]} channels on {level.shape[2]} x {level.shape[3]} cells"
        for stride, level in sorted(pyramid.levels.items())
    ]
    pictures = [
        (f"stride {stride}, three main components as colours", _as_colours(level, seen))
        for stride, level in sorted(pyramid.levels.items())
    ]
    return lines, pictures


def _sharpened(seen: _Seen) -> Result:
    level = seen.looked_at.upsampled(SHARPENED)
    lines = [f"{SHARPENED} times as fine: {level.shape[2]} x {level.shape[3]} cells"]
    return lines, [("sharpened features as colours", _as_colours(level, seen))]


_ASK: Mapping[str, Callable[[_Seen], Result]] = {
    "tagger": _tags,
    "grounder": _boxes,
    "mask_proposer": _masks,
    "text_aligner": _similarity,
    "feature_extractor": _features,
    "upsampler": _sharpened,
}


def _as_colours(level: Tensor, seen: _Seen) -> Image.Image:
    """Features ``(1, C, h, w)`` by their three main components."""
    flat = level[0].flatten(1).T.float().cpu()
    flat = flat - flat.mean(0)
    _, _, axes = torch.linalg.svd(flat if len(flat) < 4096 else flat[:: len(flat) // 2048], False)
    parts = flat @ axes[:3].T
    if parts.shape[1] < 3:
        parts = F.pad(parts, (0, 3 - parts.shape[1]))
    low, high = (torch.quantile(parts[:65536], q, dim=0) for q in (0.02, 0.98))
    colours = ((parts - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
    height, width = level.shape[-2:]
    pixels = (255 * colours.reshape(height, width, 3)).round().byte().numpy()
    size = (seen.pixels.shape[1], seen.pixels.shape[0])
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def _painted(seen: _Seen, masks: Masks) -> Image.Image:
    names = [str(number) for number in range(len(masks) + 1)]
    labels = _labels(masks, seen.looked_at.size, range(1, len(masks) + 1))
    return draw.outlines(seen.picture, labels, names)


def _labels(masks: Masks, size: tuple[int, int], numbers: Sequence[int]) -> npt.NDArray[np.integer]:
    """Label map ``(H, W)`` of masks, smaller ones on top."""
    labels = np.zeros(size, np.int64)
    for row in np.argsort(-masks.masks.sum(axis=(1, 2)), kind="stable"):
        labels[resized(masks.masks[row], size)] = numbers[row]
    return labels


def _box(box: npt.NDArray[np.float32]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1, y1, x2, y2


def _range(values: npt.NDArray[np.floating]) -> str:
    return f"{values.min():.2f} to {values.max():.2f}" if values.size else "none"
