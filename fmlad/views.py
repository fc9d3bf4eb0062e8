"""An image with its memoised role outputs.

Methods see views only. Every backbone runs at most once per image, however many methods,
leave-one-out rounds or pages use the view.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad import augment
from fmlad.backbones.roles import (
    Backbone,
    Boxes,
    FeatureExtractor,
    Grounder,
    MaskProposer,
    Masks,
    Pyramid,
    Tagger,
    TextAligner,
    Upsampler,
)
from fmlad.role_outputs import (
    BOXES,
    MASKS,
    TAGS,
    Arrays,
    Form,
    Output,
    Tags,
    pyramid_of,
    pyramid_tensors,
)

if TYPE_CHECKING:
    from fmlad.io.cache import DiskCache


@dataclass(frozen=True)
class BackboneSet:
    """The backbones in use and the cache of their results.

    Attributes:
        backbones: By role.
        cache: For results of expensive backbones; None: not cached.
        device: Device of features, whether computed or read from the cache.
    """

    backbones: Mapping[str, Backbone]
    cache: DiskCache | None = None
    device: str = "cpu"
    _latest: list[tuple[Arrays, Masks]] = field(default_factory=list, repr=False, compare=False)

    def unpacked(self, packed: Arrays) -> Masks:
        """Masks from their packed form; the last ones stay unpacked.

        The steps of a method use one image's masks in turn; all images' would fill the memory.
        """
        latest = self._latest[:1]  # once: another thread may replace it meanwhile
        if not latest or latest[0][0] is not packed:
            latest = [(packed, MASKS.unpack(packed))]
            self._latest[:] = latest
        return latest[0][1]

    def view(self, pixels: npt.NDArray[np.uint8], name: str = "image") -> ImageView:
        """A view on ``uint8 (H, W, 3)`` RGB pixels."""
        return ImageView(pixels, name, self)


class ImageView:
    """One decoded image and the outputs of backbones for it, computed on first use.

    Attributes:
        pixels: uint8 ``(H, W, 3)`` RGB, read-only.
        name: For messages and reports.
        memo: Results that methods derived from this image's role outputs, by name.
        of_pixels: Results derived from the pixels alone, by name.
    """

    def __init__(self, pixels: npt.NDArray[np.uint8], name: str, backbone_set: BackboneSet) -> None:
        self.pixels = pixels.view()
        self.pixels.flags.writeable = False
        self.name = name
        self._backbones = backbone_set
        self._pyramids: dict[str, Pyramid] = {}
        self._answers: dict[str, Arrays] = {}  # masks are packed: shots are many
        self.memo: dict[str, Any] = {}
        self.of_pixels: dict[str, Any] = {}

    @property
    def backbone_set(self) -> BackboneSet:
        """The backbones that it asks."""
        return self._backbones

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def key(self) -> str:
        """Hash of the pixels, the same for the same picture from any source."""
        if "key" not in self.of_pixels:
            self.of_pixels["key"] = pixels_key(self.pixels)
        return str(self.of_pixels["key"])

    @property
    def tensor(self) -> Tensor:
        """uint8 ``(1, 3, H, W)``."""
        # A writable copy: torch cannot mark a tensor as read-only.
        return torch.from_numpy(np.array(self.pixels.transpose(2, 0, 1)))[None]

    def pyramid(self, role: str = "feature_extractor") -> Pyramid:
        """Dense features from the backbone in ``role`` (batch size 1)."""
        encode_together([self], role)
        return self._pyramids[self._backbones.backbones[role].fingerprint]

    def upsampled(self, factor: int, role: str = "feature_extractor") -> Tensor:
        """The finest level of :meth:`pyramid`, sharpened: ``(1, C, factor * h, factor * w)``.

        Not kept, because it is up to 64 times as large as the level.
        """
        levels = self.pyramid(role).levels
        finest = levels[min(levels)]
        if factor == 1:
            return finest
        upsampler = cast(Upsampler, self._backbones.backbones["upsampler"])
        return upsampler(finest, self.tensor, factor).to(finest.device)

    def release(self) -> None:
        """Drops all features, masks and notes; what is asked for again is computed again."""
        self._pyramids, self._answers, self.memo = {}, {}, {}

    def masks(self, role: str = "mask_proposer") -> Masks:
        """Object proposals, best first."""
        backbone = cast(MaskProposer, self._backbones.backbones[role])
        return self._masks(f"proposals {backbone.fingerprint}", lambda: self._proposed(backbone))

    def prompted(self, boxes: npt.NDArray[np.float32], role: str = "mask_proposer") -> Masks:
        """One mask per box ``(n, 4)``, ``xyxy`` in pixels, in their order."""
        if not len(boxes):  # nothing to encode the image for
            none = np.zeros(0, np.float32)
            return Masks(np.zeros((0, *self.size), bool), none.reshape(0, 4), none)
        backbone = cast(MaskProposer, self._backbones.backbones[role])
        asked = hashlib.sha256(np.ascontiguousarray(boxes, np.float32).tobytes()).hexdigest()
        return self._masks(
            f"prompted {backbone.fingerprint} {asked}",
            lambda: self._answer(
                backbone, MASKS, f"boxes={asked}", lambda: backbone.prompt(self.tensor, boxes)
            ),
        )

    def derived_masks(self, name: str, make: Callable[[], Masks]) -> Masks:
        """Masks made of role outputs, kept under a name in memory alone."""
        return self._masks(f"derived {name}", lambda: MASKS.pack(make()))

    def boxes(self, phrases: Sequence[str], role: str = "grounder") -> Boxes:
        """Boxes that answer phrases; see ``Grounder.find``.

        Raises:
            PromptError: The backbone cannot ground one of them.
        """
        grounder = cast(Grounder, self._backbones.backbones[role])
        asked = json.dumps(list(phrases))
        key = f"boxes {grounder.fingerprint} {asked}"
        if key not in self._answers:
            self._answers[key] = self._answer(
                grounder, BOXES, asked, lambda: grounder.find(self.tensor, phrases)
            )
        return BOXES.unpack(self._answers[key])

    def tags(self, role: str = "tagger") -> Tags:
        """Words for the whole image, most certain first."""
        tagger = cast(Tagger, self._backbones.backbones[role])
        key = f"tags {tagger.fingerprint}"
        if key not in self._answers:
            found = self._answer(tagger, TAGS, "", lambda: self._tagged(tagger))
            self._answers[key] = found
        return TAGS.unpack(self._answers[key])

    def _tagged(self, tagger: Tagger) -> Tags:
        # A tagger over the text aligner's network takes what that one saw.
        # By fingerprint: the same weights may have been read twice.
        shared = getattr(tagger, "aligner", None)
        aligner = self._backbones.backbones.get("text_aligner")
        if shared is not None and aligner and shared.fingerprint == aligner.fingerprint:
            return tuple(tagger.tags_of(self.pyramid("text_aligner").pooled))  # type: ignore[attr-defined]
        return tuple(tagger.tags(self.tensor))

    def has(self, role: str) -> bool:
        """Whether there is a backbone in a role."""
        return role in self._backbones.backbones

    @property
    def reads(self) -> bool:
        """Whether the text aligner takes any word, not only those of a table."""
        return bool(getattr(self._backbones.backbones["text_aligner"], "reads", True))

    def ground(
        self,
        words: Sequence[str],
        regions: npt.NDArray[np.bool_] | None = None,
        templates: Sequence[str] = (),
        role: str = "text_aligner",
    ) -> Tensor:
        """Similarity of words to places or regions; see ``TextAligner.ground``.

        Raises:
            PromptError: The backbone cannot ground one of them.
        """
        aligner = cast(TextAligner, self._backbones.backbones[role])
        return aligner.ground(self.pyramid(role), words, regions, templates)

    def again(self, pixels: npt.NDArray[np.uint8], what: str) -> ImageView:
        """A view on a changed copy of this image, through the same backbones."""
        return ImageView(pixels, f"{self.name} ({what})", self._backbones)

    def through(self, backbone_set: BackboneSet) -> ImageView:
        """A view of the same picture through other backbones.

        Both views share role outputs, by fingerprint, and results of the pixels; not ``memo``,
        which may come from backbones that the other view does not have.
        """
        other = ImageView(self.pixels, self.name, backbone_set)
        other._pyramids, other._answers = self._pyramids, self._answers
        other.of_pixels = self.of_pixels
        if "gentle_copies" in vars(self):
            copies = tuple(copy.through(backbone_set) for copy in self.gentle_copies)
            other.__dict__["gentle_copies"] = copies
        return other

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels and of role outputs so far, ``memo`` not counted."""
        copies: Sequence[ImageView] = vars(self).get("gentle_copies", ())
        total = self.pixels.nbytes + sum(copy.nbytes for copy in copies)
        for pyramid in self._pyramids.values():
            tensors = (*pyramid.levels.values(), *pyramid.stages, pyramid.pooled)
            total += sum(tensor.nbytes for tensor in tensors)
            total += 0 if pyramid.appearance is None else pyramid.appearance.nbytes
        return total + sum(part.nbytes for one in self._answers.values() for part in one.values())

    @cached_property
    def gentle_copies(self) -> tuple[ImageView, ...]:
        """Gently altered copies: the only normal variation that a single shot can show."""
        return tuple(
            self.again(pixels, what) for what, pixels in augment.gentle_copies(self.pixels)
        )

    def _masks(self, key: str, make: Callable[[], Arrays]) -> Masks:
        if key not in self._answers:
            self._answers[key] = make()
        return self._backbones.unpacked(self._answers[key])

    def _proposed(self, backbone: MaskProposer) -> Arrays:
        return self._answer(backbone, MASKS, "", lambda: backbone.propose(self.tensor))

    def _answer(
        self, backbone: Backbone, form: Form[Output], asked: str, ask: Callable[[], Output]
    ) -> Arrays:
        """What an expensive backbone said before, from disk, or says now; packed."""
        cache = self._backbones.cache if backbone.expensive else None
        key = " ".join(filter(None, (form.kind, backbone.fingerprint, asked, self.key)))
        stored = cache.get(key) if cache else None
        if stored is not None and stored.keys() >= form.names:
            return {name: tensor.numpy() for name, tensor in stored.items()}
        packed = form.pack(ask())
        if cache:
            cache.put(key, {name: torch.from_numpy(np.array(a)) for name, a in packed.items()})
        return packed


class LimitedView(ImageView):
    """A view of what lies inside a region.

    All else is of one flat colour, and proposals lie inside by half at least. ``memo`` and role
    outputs are its own.

    Attributes:
        inside: bool ``(H, W)``.
    """

    def __init__(
        self,
        original: ImageView,
        inside: npt.NDArray[np.bool_],
        colour: tuple[int, int, int],
        limit: Callable[[ImageView], ImageView],
    ) -> None:
        """A view of a part of ``original``; ``limit`` makes one of any other image."""
        pixels = np.where(inside[..., None], original.pixels, np.array(colour, np.uint8))
        super().__init__(pixels, original.name, original._backbones)
        self.inside = inside
        # Without the original's memo, in which this view may be kept.
        self._whole = original.through(original._backbones)
        self._limit = limit

    @cached_property
    def gentle_copies(self) -> tuple[ImageView, ...]:
        """Altered copies of the original, each limited: the flat colour is no variation."""
        return tuple(self._limit(copy) for copy in self._whole.gentle_copies)

    def _proposed(self, backbone: MaskProposer) -> Arrays:
        found = MASKS.unpack(super()._proposed(backbone))
        from PIL import Image

        height, width = found.masks.shape[1:]
        small = np.asarray(Image.fromarray(self.inside).resize((width, height)))
        areas = found.masks.sum(axis=(1, 2))
        kept = 2 * (found.masks & small).sum(axis=(1, 2)) >= np.maximum(areas, 1)
        return MASKS.pack(found.rows(kept))

    def boxes(self, phrases: Sequence[str], role: str = "grounder") -> Boxes:
        """Those of all boxes that lie inside by half at least."""
        found = super().boxes(phrases, role)
        height, width = self.size
        spans = np.clip(found.boxes, 0, (width, height, width, height)).round().astype(int)
        shares = [self.inside[y1:y2, x1:x2] for x1, y1, x2, y2 in spans]
        return found.rows(np.array([one.size > 0 and one.mean() >= 0.5 for one in shares], bool))


def pixels_key(pixels: npt.NDArray[np.uint8]) -> str:
    """Hash of decoded pixels ``(H, W, 3)``."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def encode_together(views: Sequence[ImageView], role: str = "feature_extractor") -> None:
    """Fills the views' pyramids: cached ones from disk, the rest in one batch per image size.

    All views must come from the same :class:`BackboneSet`.
    """
    pending: dict[tuple[int, int], list[ImageView]] = {}
    for view in views:
        backbone = cast(FeatureExtractor, view._backbones.backbones[role])
        if backbone.fingerprint in view._pyramids:
            continue
        cache = view._backbones.cache if backbone.expensive else None
        key = f"pyramid {backbone.fingerprint} {view.key}" if cache else ""
        stored = pyramid_of(cache.get(key) or {}) if cache else None
        if stored is not None:
            view._pyramids[backbone.fingerprint] = stored.to(view._backbones.device)
        else:
            pending.setdefault(view.size, []).append(view)
    for group in pending.values():
        backbone = cast(FeatureExtractor, group[0]._backbones.backbones[role])
        pyramid = backbone.encode(torch.cat([view.tensor for view in group]))
        for index, view in enumerate(group):
            one = pyramid[index] if len(group) > 1 else pyramid
            if (cache := view._backbones.cache) and backbone.expensive:
                key = f"pyramid {backbone.fingerprint} {view.key}"
                cache.put(key, pyramid_tensors(one))
            view._pyramids[backbone.fingerprint] = one.to(view._backbones.device)


def prepare(views: Sequence[ImageView], roles: Iterable[str]) -> None:
    """Runs the dense backbones that a method needs over a batch of views."""
    for role in roles:
        if views and isinstance(views[0]._backbones.backbones[role], FeatureExtractor):
            encode_together(views, role)
