"""Originals in a saved detector: what it takes to fit it again with further shots.

They are an option, because they are most of its size: the pixels of every image it was fitted to,
as PNG, without loss. Loading a detector does not read them.

``originals/shot-000.png``        one a shot, and so on
``originals/validation-000.png``  validation images
``originals/unlabeled-000.png``   unlabeled images
``originals/exemplar-000.png``    pictures that exemplars of the prompt set are cut from
``originals/labels.safetensors``  part masks of the shots
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from fmlad.datasets.part_labels import default_names
from fmlad.errors import InvalidImageError
from fmlad.io.folders import damaged, digest_of, read_files
from fmlad.io.images import load_image
from fmlad.methods.protocol import FitContext
from fmlad.prompts import PromptSet
from fmlad.views import BackboneSet, ImageView

if TYPE_CHECKING:
    from fmlad.backbones.roles import Encoder

FOLDER = "originals"
LABELS = f"{FOLDER}/labels.safetensors"
_FILE = rf"{FOLDER}/(?:(?:shot|validation|unlabeled|exemplar)-\d{{3,}}\.png|labels\.safetensors)"
# Half as large again as with most effort, in a quarter of the time.
_EFFORT = 3

Pixels = npt.NDArray[np.uint8]


class Kept(BaseModel):
    """What the manifest says of originals.

    Attributes:
        validation: Names of the validation images.
        unlabeled: Names of the unlabeled images.
        exemplars: The prompt set's names of the pictures of its exemplars.
        rate: ``FitContext.rate``.
        odd_shots: ``FitContext.odd_shots``.
        label_names: Names of the classes of labels.
        files: SHA-256 of each file.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    validation: list[str]
    unlabeled: list[str]
    exemplars: list[str]
    rate: float | None = Field(gt=0, lt=1)
    odd_shots: Literal["keep", "drop"]
    label_names: list[str] = Field(default_factory=list)
    files: dict[str, str]

    def pictures(self, shots: int) -> list[str]:
        """File names of all pictures, with so many shots."""
        counts = {
            "shot": shots,
            "validation": len(self.validation),
            "unlabeled": len(self.unlabeled),
            "exemplar": len(self.exemplars),
        }
        return [name for kind, count in counts.items() for name in _names(kind, count)]


@dataclass(frozen=True)
class Originals:
    """Originals of a saved detector, read and verified when they are asked for.

    Attributes:
        folder: Of the detector.
        kept: What its manifest says of them.
        shots: Name and pixel hash of each shot.
    """

    folder: Path
    kept: Kept
    shots: tuple[tuple[str, str], ...]

    def contents(self) -> dict[str, bytes]:
        """Bytes of all files.

        Raises:
            CorruptDetectorError: One is missing or was changed.
        """
        return read_files(self.folder, self.kept.files)

    def restore(
        self, backbone_set: BackboneSet, prompts: Mapping[str, Any] | None, seed: int
    ) -> tuple[list[ImageView], FitContext]:
        """The shots, and the rest of what the detector was fitted to.

        Args:
            backbone_set: What they are looked at with.
            prompts: The prompt set as a dictionary, or None.
            seed: Of the fit.

        Raises:
            CorruptDetectorError: A file is missing, was changed, or is no picture.
        """
        contents = self.contents()

        def pictures(kind: str, names: Sequence[str]) -> list[Pixels]:
            return [self._decoded(name, contents[name]) for name in _names(kind, len(names))]

        def views(kind: str, names: Sequence[str]) -> list[ImageView]:
            pairs = zip(pictures(kind, names), names, strict=True)
            return [backbone_set.view(pixels, name) for pixels, name in pairs]

        shots = views("shot", [name for name, _ in self.shots])
        for view, file, (_, key) in zip(shots, _names("shot", len(shots)), self.shots, strict=True):
            if view.key != key:
                raise damaged(self.folder, f"{file} is not the shot it was fitted to")
        kept = self.kept
        chosen = None
        if prompts is not None:
            shown = pictures("exemplar", kept.exemplars)
            chosen = PromptSet.from_dict(prompts).with_pictures(
                dict(zip(kept.exemplars, shown, strict=True))
            )
        labels = self._labels(contents[LABELS], shots) if LABELS in contents else None
        context = FitContext(
            labels=labels,
            label_names=self._label_names(labels or ()),
            unlabeled=views("unlabeled", kept.unlabeled),
            validation=views("validation", kept.validation),
            prompts=chosen,
            device=backbone_set.device,
            seed=seed,
            encoder=cast("Encoder | None", backbone_set.backbones.get("encoder")),
            rate=kept.rate,
            odd_shots=kept.odd_shots,
        )
        return shots, context

    def _decoded(self, name: str, data: bytes) -> Pixels:
        try:
            return load_image(data)
        except InvalidImageError as error:
            raise damaged(self.folder, f"{name} is no picture ({error})") from error

    def _label_names(self, labels: Sequence[npt.NDArray[np.integer[Any]]]) -> tuple[str, ...]:
        classes = max((int(label.max()) + 1 for label in labels), default=0)
        known = tuple(self.kept.label_names)  # none in what was saved before they had names
        if known and len(known) < classes:
            raise damaged(self.folder, f"{LABELS} has classes without a name")
        return known or (default_names(classes) if classes else ())

    def _labels(
        self, data: bytes, shots: Sequence[ImageView]
    ) -> list[npt.NDArray[np.integer[Any]]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            labels = load(data)
        except SafetensorError as error:
            raise damaged(self.folder, f"{LABELS} is unreadable ({error})") from error
        found = [labels.get(f"{index:03d}") for index in range(len(shots))]
        for label, view in zip(found, shots, strict=True):
            fits = label is not None and label.shape == view.size
            if not fits or not np.issubdtype(cast(Any, label).dtype, np.integer):
                raise damaged(self.folder, f"{LABELS} does not fit the shots")
        return cast(list[npt.NDArray[np.integer[Any]]], found)


def encode(
    shots: Sequence[ImageView], context: FitContext, prompts: PromptSet | None
) -> tuple[Kept, dict[str, bytes]]:
    """What the manifest says of originals, and their files.

    Args:
        shots: The shots.
        context: The rest of what a detector was fitted to.
        prompts: The prompt set in use, or None.

    Raises:
        PromptError: The picture of an exemplar is not there any more.
    """
    exemplars = {} if prompts is None else prompts.exemplar_pictures()
    pictures: dict[str, Sequence[Pixels]] = {
        "shot": [view.pixels for view in shots],
        "validation": [view.pixels for view in context.validation],
        "unlabeled": [view.pixels for view in context.unlabeled],
        "exemplar": list(exemplars.values()),
    }
    contents: dict[str, bytes] = {}
    for kind, found in pictures.items():
        names = _names(kind, len(found))
        contents |= {name: _png(one) for name, one in zip(names, found, strict=True)}
    if context.labels is not None:
        from safetensors.numpy import save

        labels = {f"{i:03d}": np.ascontiguousarray(one) for i, one in enumerate(context.labels)}
        contents[LABELS] = save(labels)
    kept = Kept(
        validation=[view.name for view in context.validation],
        unlabeled=[view.name for view in context.unlabeled],
        exemplars=list(exemplars),
        rate=context.rate,
        odd_shots=context.odd_shots,
        label_names=list(context.label_names),
        files={name: digest_of(data) for name, data in contents.items()},
    )
    return kept, contents


def size(folder: Path) -> tuple[int, int]:
    """Number of pictures among the originals of a saved detector, and bytes of all of them."""
    files = list((folder / FOLDER).glob("*"))
    return sum(file.suffix == ".png" for file in files), sum(file.stat().st_size for file in files)


def is_file_name(name: str) -> bool:
    """Whether a file of this name, relative to a detector's folder, may be one of originals."""
    return re.fullmatch(_FILE, name) is not None


def _names(kind: str, count: int) -> list[str]:
    return [f"{FOLDER}/{kind}-{index:03d}.png" for index in range(count)]


def _png(pixels: Pixels) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=_EFFORT)
    return buffer.getvalue()
