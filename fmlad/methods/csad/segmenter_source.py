"""CSAD's own segmenters: pseudo-labels, or labels that were given, and a training on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fmlad.errors import OptionError
from fmlad.methods.csad.describe import describer
from fmlad.methods.csad.lsa import Labelled
from fmlad.methods.csad.pseudo_config import PseudoConfig, pseudo_config
from fmlad.methods.csad.pseudo_labels import PseudoLabels, make_pseudo_labels
from fmlad.methods.csad.released import pseudo_settings, segmenter_settings, settings_of
from fmlad.methods.csad.report import write_report
from fmlad.methods.csad.segmentation import Labels, SegmenterOptions
from fmlad.methods.csad.segmenter import FittedSegmenter, fit_segmenter
from fmlad.methods.csad.segmenter_config import segmenter_config
from fmlad.methods.csad.segmenter_data import labelled_square
from fmlad.methods.part_classes import class_names
from fmlad.methods.shared_encoder import SharedEncoder
from fmlad.progress import Progress, silent
from fmlad.views import ImageView

REPORTED = 8  # images in the report of stages


class TrainedSegmenters:
    """See :class:`fmlad.methods.csad.segmentation.SegmenterSource`."""

    def fit(
        self,
        views: Sequence[ImageView],
        labels: Sequence[Labels | None] | None,
        encoder: SharedEncoder,
        config: SegmenterOptions,
        *,
        names: tuple[str, ...] = (),
        prompts: Any = None,
        seed: int,
        device: str,
        progress: Progress,
        checkpoint: Path | None,
        resume: bool,
        settings: Mapping[str, Any],
    ) -> FittedSegmenter:
        """Learns from images, most or all of them without labels.

        Where pseudo-labels are made and there is a folder for checkpoints, pictures of all their
        stages are put there, in ``pseudo-labels``.

        Raises:
            OptionError: Labels that are none, options that do not exist or fit, or no class of
                components that recurs.
            PromptError: The grounder cannot read a tag.
            TrainingError: See :func:`fmlad.training.loop.train`.
        """
        released = settings_of(prompts)
        training = segmenter_config(
            config.preset, **{**segmenter_settings(released), **config.segmenter}
        )
        file = None if checkpoint is None else checkpoint / "segmenter.safetensors"
        if labels is None:
            options = _pseudo_options(config, released)
            made = _made(views, encoder, options, seed, progress, checkpoint, resume)
            labelled = [_labelled(views[row], made, row, encoder) for row in made.rows]
            names, notes, rows = made.names, made.notes, set(made.rows)
        else:
            names = _names(labels, names)
            rows = {row for row, one in enumerate(labels) if one is not None}
            labelled = [
                labelled_square(view, own, encoder)
                for view, own in zip(views, labels, strict=True)
                if own is not None
            ]
            notes = (
                f"parts were learned from labels of {len(rows)} of {len(views)} normal images; no "
                f"pseudo-labels were made",
            )
        others = [view for row, view in enumerate(views) if row not in rows]
        return fit_segmenter(
            labelled, others, names, encoder, training, notes=notes, seed=seed, device=device,
            progress=progress, checkpoint=file, resume=resume, settings=settings,
        )  # fmt: skip

    def restore(
        self,
        tensors: Mapping[str, Tensor],
        meta: Mapping[str, Any],
        device: str,
        encoder: SharedEncoder,
    ) -> FittedSegmenter:
        """Inverse of ``tensors`` and ``meta`` of what :meth:`fit` gave."""
        return FittedSegmenter.restore(tensors, meta, device, encoder)


def pseudo_labels(
    views: Sequence[ImageView], side: int, *, seed: int = 0, progress: Progress = silent
) -> PseudoLabels:
    """Pseudo-labels alone, with the numbers of the preset ``"cpu"``.

    Args:
        views: Normal images, with the roles of this method.
        side: Px that the encoder sees components' images at, where there is no extractor.
        seed: Of the projection.
        progress: Called for each image.

    Raises:
        OptionError: No component recurs.
    """
    encoder: Any = views[0].backbone_set.backbones["encoder"]
    shared = SharedEncoder(encoder, side)
    return _made(views, shared, pseudo_config("cpu"), seed, progress, None, False)


def _pseudo_options(config: SegmenterOptions, released: Mapping[str, Any]) -> PseudoConfig:
    """The preset, changed by the prompt set, and that by the user."""
    known = pseudo_settings(released)
    if config.preset == "cpu":
        # The published bandwidths are for the features of a Wide ResNet-50 alone.
        known.pop("bandwidth", None)
    return pseudo_config(config.preset, **{**known, **config.pseudo_labels})


def _made(
    views: Sequence[ImageView],
    encoder: SharedEncoder,
    options: PseudoConfig,
    seed: int,
    progress: Progress,
    checkpoint: Path | None,
    resume: bool,
) -> PseudoLabels:
    describe, fingerprint = describer(views[0].backbone_set, encoder)
    made = make_pseudo_labels(
        views, describe, fingerprint, options, seed=seed, progress=progress,
        folder=None if checkpoint is None else checkpoint / "components", resume=resume,
    )  # fmt: skip
    if checkpoint is not None:
        write_report(checkpoint / "pseudo-labels", views, made, options, REPORTED)
    return made


def _labelled(view: ImageView, made: PseudoLabels, row: int, encoder: SharedEncoder) -> Labelled:
    own = made.components[row]
    return labelled_square(view, made.labels[row], encoder, own.instances, own.background)


def _names(labels: Sequence[Labels | None], given: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the classes of given labels.

    Raises:
        OptionError: There is none, or they do not fit.
    """
    known = [one for one in labels if one is not None]
    if not known:
        raise OptionError("labels= holds none for any image; leave it out for pseudo-labels.")
    return class_names(known, given)
