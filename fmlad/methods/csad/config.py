"""Options of ``csad``, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from fmlad.methods.csad.patch_histogram import Covariance, Joined
from fmlad.methods.csad.student_config import StudentConfig, student_config
from fmlad.methods.options import CHECKED, SEVERAL, Side

Preset = Literal["paper", "code", "cpu"]
Branch = Literal["histogram", "students"]
BRANCHES: tuple[Branch, ...] = get_args(Branch)
CANDIDATES = (1, 2, 3, 4)  # grids of Table 4: patches of 256, 128, 85 and 64 px


# A list is what JSON made of a tuple.
LISTED = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
Cells = Annotated[int, Field(ge=1, le=16)]


@dataclass(frozen=True, config=CHECKED)
class CsadConfig:
    """Options of the method.

    Attributes:
        preset: ``"paper"``: as published. ``"code"``: as its authors' code has it, where that is
            another. ``"cpu"``: what trains on a CPU: students over the encoder's maps, a small
            segmenter, and variances with a least value (ours).
        branches: ``"histogram"``, ``"students"`` (LGST), or both (the paper's Table 7).
        side: Pixels of both sides that an image is squashed to, a multiple of 64 (paper 256).
        grids: Cells on a side of each patch histogram: 1 is the whole image (paper 1 and 2, which
            are patches of 256 and 128 px; Table 4); ``"spread"``: each class in those whose cells
            it keeps to in the training images (the paper's appendix F.1, made a rule).
        joined: How the grids' distances become one: ``"sum"`` in their scales (paper), ``"norm"``
            as they are (ours), or ``"preset"``: ``"norm"`` for ``"cpu"``, else ``"sum"``.
        covariance: ``"pinv"``, ``"shrunk"``, or ``"preset"``: ``"pinv"`` (code) but for the preset
            ``"cpu"``.
        penalty: Folder of pictures of anything but the product, which the local student must not
            imitate on (EfficientAD takes ImageNet); None: it goes without.
        segmenter: What is unlike the preset in the training of the segmenter, by name.
        pseudo_labels: What is unlike the preset in the making of pseudo-labels, by name.
        students: What is unlike the preset in the training of the students, such as
            ``{"steps": 2000}``; names and sources are in ``student_config.py``.
    """

    preset: Preset = "cpu"
    branches: Annotated[tuple[Branch, ...], SEVERAL, Field(min_length=1)] = BRANCHES
    side: Side = 256
    grids: Annotated[
        Annotated[tuple[Cells, ...], Field(min_length=1)] | Literal["preset", "spread"], LISTED
    ] = "preset"
    joined: Literal["preset", "sum", "norm"] = "preset"
    covariance: Literal["preset", "pinv", "shrunk"] = "preset"
    penalty: str | None = None
    segmenter: Mapping[str, Any] = field(default_factory=dict)
    pseudo_labels: Mapping[str, Any] = field(default_factory=dict)
    students: Mapping[str, Any] = field(default_factory=dict)

    @property
    def training(self) -> StudentConfig:
        """Numbers of the students' training.

        Raises:
            UnknownNameError: ``students`` names an option that there is not.
            OptionError: A value does not fit.
        """
        return student_config(self.preset, **self.students)

    @property
    def cells(self) -> tuple[int, ...] | Literal["spread"]:
        """Grids of the patch histograms."""
        if self.grids != "preset":
            return self.grids
        return "spread" if self.preset == "cpu" else (1, 2)

    @property
    def joint(self) -> Joined:
        """How the grids' distances become one."""
        if self.joined != "preset":
            return self.joined
        return "norm" if self.preset == "cpu" else "sum"

    @property
    def inverse(self) -> Covariance:
        """How the covariance of histograms is inverted."""
        if self.covariance != "preset":
            return self.covariance
        return "shrunk" if self.preset == "cpu" else "pinv"
