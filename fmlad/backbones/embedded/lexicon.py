"""The embedded text aligner: what a phrase says about appearance, and nothing else.

Nothing here knows what a thing is. Of ``"long dark screw"`` it takes *long* and *dark*; the noun
only names the part. All it knows is the table ``lexicon.yaml``: colours, brightness, texture, sizes
and shapes, each a membership in [0, 1] (a fuzzy set; Zadeh 1965) of measured quantities.

- An **attribute** holds to the degree of the least of its quantities: "yellow" needs a yellow hue
  *and* enough chroma *and* enough lightness.
- A **phrase** holds to the geometric mean of its attributes, none counted below 0.01.
- **Colour, brightness and texture** are judged at each place, and in a region as the mean over it.
- **Size and shape** are judged for each region: sizes against the typical region of the call
  (:func:`.region_shapes.measure`). Without regions they say nothing and are left out; a phrase of
  such words alone is 0.5 everywhere.
- **"background"**, alone or beside words that are not in the table, is what is left: 1 minus the
  best of the other phrases of the call.

Other words are ignored; a phrase without any known attribute is refused, and so is a negation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.embedded import region_shapes
from fmlad.backbones.embedded.builtin import slopes, working_lab
from fmlad.backbones.pooling import region_means
from fmlad.backbones.roles import Pyramid
from fmlad.errors import PromptError

STRIDES = (2, 8)  # px of the working size; words are grounded on the finer level
WINDOW = 9  # px of the working size, over which texture is measured
PLANES = ("lightness", "red-green", "yellow-blue", "texture", "coherence")
LOCAL = ("hue", "chroma", "lightness", "texture", "coherence")
FLOOR = 0.01  # least membership in a phrase: one bad attribute does not make all alike
NEUTRAL = 0.5
BACKGROUND = "background"
NEGATIONS = frozenset({"not", "no", "non", "without", "never"})

Trapezoid = tuple[float, ...]


@dataclass(frozen=True)
class Lexicon:
    """The table: attribute -> quantity -> two or four numbers; every spelling -> its attribute."""

    words: Mapping[str, Mapping[str, Trapezoid]]
    spellings: Mapping[str, str]
    digest: str


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The table that ships with the package."""
    import yaml

    data = resources.files("fmlad.backbones.embedded").joinpath("lexicon.yaml").read_bytes()
    table = yaml.safe_load(data)
    words = {
        word: {quantity: tuple(map(float, numbers)) for quantity, numbers in rule.items()}
        for word, rule in table["words"].items()
    }
    spellings = {word: word for word in words}
    spellings |= {other: word for word, others in table["same"].items() for other in others}
    return Lexicon(words, spellings, hashlib.sha256(data).hexdigest())


def attributes(phrase: str) -> tuple[str, ...] | None:
    """The attributes that a phrase names, each once; None for the background.

    Raises:
        PromptError: It names none, or negates.
    """
    spellings = lexicon().spellings
    found: dict[str, None] = {}
    words = re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", phrase.lower())
    for word in words:
        for piece in (word,) if word in spellings else word.split("-"):
            if piece in spellings:
                found[spellings[piece]] = None
            elif piece in NEGATIONS:
                raise PromptError(
                    f"The phrase {phrase!r} says {piece!r}, and the embedded lexicon cannot "
                    f"negate; say what it looks like instead."
                )
    if found:
        return tuple(found)
    if BACKGROUND in words:
        return None
    raise PromptError(
        f"The phrase {phrase!r} has no word for what it looks like, and the profile 'builtin' "
        f"does not read: it sees attributes only. Add one ({', '.join(lexicon().words)}), give the "
        f"part by exemplars instead of words, or use a profile that reads, such as 'light'."
    )


class LexiconAligner:
    """``builtin:lexicon@1``: :class:`~fmlad.backbones.roles.TextAligner` without weights."""

    name = "builtin:lexicon@1"
    expensive = False
    reads = False  # attributes only: "broken" means nothing to it

    def __init__(self, name: str = name, device: str = "cpu") -> None:
        self._device = device

    @property
    def fingerprint(self) -> str:
        """Name and hash of the table: another table gives other similarities."""
        return f"{self.name} {lexicon().digest[:16]}"

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> levels 2 and 8 of the working size, ``(B, 5, h, w)`` each.

        Channels are :data:`PLANES`: CIE Lab / 100, standard deviation of the lightness / 100 in a
        window of 9 px, and how much the edges of that window agree in direction, in [0, 1].
        """
        colours = working_lab(images, self._device)
        planes = torch.cat([colours, _texture(colours[:, :1]), _coherence(colours[:, :1])], dim=1)
        levels = {stride: F.avg_pool2d(planes, stride) for stride in STRIDES}
        return Pyramid(levels, planes.mean(dim=(2, 3)))

    @torch.inference_mode()
    def ground(
        self,
        pyramid: Pyramid,
        words: Sequence[str],
        regions: npt.NDArray[np.bool_] | None = None,
        templates: Sequence[str] = (),
    ) -> Tensor:
        """To what degree each phrase holds, at every place or of every region.

        Returns:
            float32 in [0, 1]: ``(n_words, h, w)`` on the finer level, or ``(n_words, R)`` for
            regions bool ``(R, h, w)`` on any grid; 0 for an empty region. Templates do nothing.

        Raises:
            PromptError: A phrase has no attribute that can be seen.
        """
        phrases = [attributes(word) for word in words]
        needed = sorted({name for phrase in phrases if phrase for name in phrase})
        planes = pyramid.levels[STRIDES[0]]
        degrees = {name: _local_degree(lexicon().words[name], planes[0]) for name in needed}
        shape = planes.shape[-2:]
        if regions is not None:
            degrees = _of_regions(degrees, regions, planes.device)
            shape = torch.Size([len(regions)])
        scores = planes.new_zeros((len(phrases), *shape))
        for row, phrase in enumerate(phrases):
            if phrase is not None:
                scores[row] = _phrase([degrees[name] for name in phrase], scores[row])
        if regions is not None:
            scores[:, torch.from_numpy(~regions.any(axis=(1, 2)))] = 0
        rest = [row for row, phrase in enumerate(phrases) if phrase is None]
        best = scores.amax(dim=0) if len(phrases) else scores
        scores[rest] = 1 - best
        return scores


def _phrase(degrees: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """Geometric mean of what the attributes say; those that say nothing are left out."""
    stated = [degree.clamp_min(FLOOR).log() for degree in degrees if degree is not None]
    return torch.stack(stated).mean(dim=0).exp() if stated else torch.full_like(like, NEUTRAL)


def _local_degree(rule: Mapping[str, Trapezoid], planes: Tensor) -> Tensor | None:
    """Degree of an attribute at each place ``(h, w)``; None if it is about regions only."""
    _, a, b = 100 * planes[:3]
    found = None
    for quantity, numbers in rule.items():
        if quantity not in LOCAL:
            continue
        if quantity == "hue":
            middle = (numbers[1] + numbers[2]) / 2
            angle = torch.rad2deg(torch.atan2(b, a))
            values = (angle - middle + 180) % 360 - 180 + middle  # the turn nearest the middle
        elif quantity == "chroma":
            values = torch.hypot(a, b)
        else:
            values = planes[PLANES.index(quantity)] * (1 if quantity == "coherence" else 100)
        degree = membership(values, numbers)
        found = degree if found is None else torch.minimum(found, degree)
    return found


def _of_regions(
    local: Mapping[str, Tensor | None], regions: npt.NDArray[np.bool_], device: torch.device
) -> dict[str, Tensor | None]:
    """Degrees ``(R,)``: the mean over the region, or a membership of its shape."""
    shapes: dict[str, npt.NDArray[np.float32]] | None = None
    result: dict[str, Tensor | None] = {}
    places = {name: degree for name, degree in local.items() if degree is not None}
    if places:
        means = region_means(torch.stack(list(places.values())), regions).T
        result |= dict(zip(places, means, strict=True))
    for name in local:
        for quantity, numbers in lexicon().words[name].items():
            if quantity in LOCAL:
                continue
            shapes = shapes or region_shapes.measure(regions)
            degree = membership(torch.from_numpy(shapes[quantity]).to(device), numbers)
            before = result.get(name)
            result[name] = degree if before is None else torch.minimum(before, degree)
    return result


def membership(values: Tensor, numbers: Trapezoid) -> Tensor:
    """A ramp (two numbers) or a trapezoid (four) of values, in [0, 1]; NaN gives 0."""
    if len(numbers) == 2:
        first, last = numbers
        degree = (values - first) / (last - first)
    else:
        a, b, c, d = numbers
        degree = torch.minimum((values - a) / (b - a), (d - values) / (d - c))
    return torch.nan_to_num(degree).clamp(0, 1)


def _texture(lightness: Tensor) -> Tensor:
    mean = _window(lightness)
    return (_window(lightness.square()) - mean.square()).clamp_min(0).sqrt()


def _coherence(lightness: Tensor) -> Tensor:
    """Of the structure tensor: how much larger the one eigenvalue is (Bigun and Granlund 1987)."""
    dx, dy = slopes(lightness)
    xx, yy, xy = _window(dx.square()), _window(dy.square()), _window(dx * dy)
    # Slopes of a hundredth of the scale a window count as none.
    return ((xx - yy).square() + 4 * xy.square()).sqrt() / (xx + yy + 1e-5)


def _window(maps: Tensor) -> Tensor:
    margin = WINDOW // 2
    return F.avg_pool2d(F.pad(maps, (margin,) * 4, mode="replicate"), WINDOW, stride=1)
