"""The detector: from k normal images to predictions."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import numpy.typing as npt

from fmlad import inventory, originals, pipeline, power, profiles, storage
from fmlad.automatic_labels import auto_labels
from fmlad.errors import FmladError, OptionError, PromptError, ShotsError
from fmlad.io.images import ImageSource, source_name
from fmlad.io.inputs import one_by_one
from fmlad.journal import Change, What, last_accepted, now
from fmlad.loading import (
    Inputs,
    checked_labels,
    choose_backbones,
    given,
    load_backbones,
    load_pictures,
    make_views,
    without_copies,
)
from fmlad.methods.protocol import FitContext
from fmlad.methods.registry import aimed, create_method
from fmlad.objects.fixtures import Fixture
from fmlad.objects.rule_checks import RuleCheck
from fmlad.originals import Originals
from fmlad.part_label_inputs import LabelSource, added, is_auto, labelled
from fmlad.power import PowerCheck
from fmlad.prediction import Failure, Prediction
from fmlad.progress import Progress, silent
from fmlad.prompts import PromptGroup, PromptSet, load_prompts
from fmlad.regions import Regions
from fmlad.scoring.calibration import Calibration, OddShots, checked_rate
from fmlad.shots import ShotReport, report
from fmlad.views import BackboneSet, ImageView, prepare

if TYPE_CHECKING:
    from PIL import Image

    from fmlad.backbones.roles import Backbone, Encoder
    from fmlad.objects.inventory import Part

ZERO_SHOT = "clip-lad"  # the method that can do without shots

_log = logging.getLogger(__name__)


class Detector:
    """Judges images by a handful of normal ones; made by :meth:`from_shots` or :meth:`load`."""

    def __init__(
        self,
        fitted: pipeline.Fitted,
        backbone_set: BackboneSet,
        record: storage.Record,
        shots: list[ImageView],
        context: FitContext | None = None,
        power: PowerCheck | None = None,
        changes: tuple[Change, ...] = (),
        kept: Originals | None = None,
    ) -> None:
        """For :meth:`from_shots` and :meth:`load`; not meant to be called by users."""
        self._context = context or FitContext()
        self._kept = kept  # of a loaded detector, until it is fitted again
        self._keeps = kept is not None
        self._changes = changes
        self._fitted = fitted
        self._backbones = backbone_set
        self._record = record
        self._shots = shots
        self._power = power

    @classmethod
    def from_shots(
        cls,
        shots: Inputs,
        *,
        method: str | None = None,
        prompts: Any = None,
        labels: LabelSource | None = None,
        unlabeled: Inputs = (),
        profile: str | None = None,
        backbones: Mapping[str, str | Backbone] | None = None,
        validation: Inputs = (),
        device: str = "auto",
        seed: int = 0,
        looks_for: str = "both",
        target_false_alarms: float | None = None,
        odd_shots: OddShots = "keep",
        roi: Any = None,
        ignore: Any = None,
        progress: Progress | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
        **options: Any,
    ) -> Detector:
        """Fits a detector to k normal images; one is enough.

        Args:
            shots: A folder, one image, or several: paths, bytes, PIL images, arrays ``(H, W, 3)``.
                Sizes and aspect ratios may differ.
            method: Name of a method (``fmlad.list_methods()``); None means ``"banks"``, or
                ``"clip-lad"`` with prompts.
            prompts: A prompt set for methods that take one: ``fmlad.PromptSet``, the name of a
                bundled one, or the path of a file.
            labels: Which part each pixel of a shot is, for methods that learn from it: a folder of
                label images, of labelme's files or of a COCO file, or such a file (found by the
                names of the shots; shots without a label become unlabeled images); arrays
                ``(H, W)`` of whole numbers, one a shot; ``fmlad.datasets.PartLabels``; or
                ``"auto"``: parts found without any (:func:`fmlad.automatic_labels.auto_labels`),
                among the unlabeled images as well.
            unlabeled: Further images of unknown state, for methods that learn from them.
            profile: ``"builtin"``, ``"light"`` or ``"foundation"``; None means ``$FMLAD_PROFILE``,
                else ``"builtin"``, which needs no download; one line on standard error then says
                what ``"foundation"`` would add.
            backbones: Role -> backbone name or object, overriding the profile.
            validation: Further normal images. They set the threshold and, with ``"clip-lad"``,
                the scales of the branches; they are not shots.
            device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
            seed: For everything left to chance.
            looks_for: ``"damage"`` alone, ``"composition"`` alone (missing, extra, misplaced,
                resized or recoloured parts), or ``"both"``.
            target_false_alarms: Share of normal images that may be called anomalous, such as 0.05.
                Where the normal images are too few to promise it, the threshold is read off their
                spread, and ``detector.calibration`` says how many more it takes. None is what they
                can promise, within 0.05 and 0.15.
            odd_shots: ``"keep"`` shots that are far odder than the others for the threshold (they
                are reported, ``detector.shots``), or ``"drop"`` them.
            roi: Where differences count: the path of a mask image (not zero is inside; of the first
                shot's size or proportions), an array ``(H, W)`` of bool or whole numbers, or a list
                of boxes ``(x1, y1, x2, y2)`` or polygons ``[(x, y), ...]`` in pixels of the first
                shot, or the path of a JSON file ``{"boxes": [...], "polygons": [...]}``. It moves
                with the product where the shots register to the first one.
            ignore: Where they do not count, in the same forms.
            progress: Called as ``progress(done, total, what)``.
            checkpoint: Folder where methods that train keep checkpoints.
            resume: Whether to go on from the checkpoint there.
            **options: Options of the method.

        Raises:
            ShotsError: There are no shots.
            InvalidImageError: A shot or validation image cannot be read.
            OptionError: An argument or option does not exist or does not fit.
            WeightsUnavailableError: A backbone's weights are not here and cannot be fetched.
        """
        name = method or ("banks" if prompts is None else ZERO_SHOT)
        chosen_method = create_method(name, aimed(name, looks_for, options))
        arguments = {
            # With labels="auto" they may name the parts alone.
            "prompts": prompts is not None and not is_auto(labels),
            "labels": labels is not None,
            "unlabeled": given(unlabeled),
            "checkpoint": checkpoint is not None or resume,
        }
        for argument, present in arguments.items():
            if present and argument not in chosen_method.takes:
                raise OptionError(
                    f"The method {name!r} makes no use of {argument}=; leave it out, or choose "
                    f"another method."
                )
        if resume and checkpoint is None:
            raise OptionError(
                "resume=True (--resume) needs checkpoint=FOLDER (--checkpoint), where the training "
                "left off."
            )
        if checkpoint is not None and Path(checkpoint).is_file():
            raise OptionError(f"checkpoint={str(checkpoint)!r} is a file; give a folder.")
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise OptionError(f"seed must be a whole number from 0 to 2**63 - 1, got {seed!r}.")
        rate = checked_rate(target_false_alarms)
        if odd_shots not in get_args(OddShots):
            raise OptionError(f"odd_shots is 'keep' or 'drop', got {odd_shots!r}.")
        profile, chosen = choose_backbones(chosen_method, profile, backbones)
        device = profiles.pick_device(device)
        # Images before backbones: a typo in a path should not cost the loading of a network.
        pictures = load_pictures(shots)
        held_out = load_pictures(validation) if given(validation) else []
        extra = load_pictures(unlabeled) if given(unlabeled) else []
        found = labelled(labels, pictures, chosen_method.takes, name)
        extra += found.unlabelled
        pictures, arrays = without_copies(found.pictures, found.labels)
        label_names = found.names
        regions = Regions.parse(pictures[0][1], roi, ignore)
        if is_auto(labels) and not getattr(chosen_method, "finds_labels", False):
            automatic = auto_labels(
                pictures, extra, prompts=prompts, profile=profile, backbones=backbones,
                device=device, seed=seed, progress=progress,
            )  # fmt: skip
            label_names = automatic.names
            pictures, arrays, extra = automatic.shared_out([*pictures, *extra])
            prompts = prompts if "prompts" in chosen_method.takes else None
        backbone_set = load_backbones(chosen, device)
        views = make_views(backbone_set, pictures)
        context = FitContext(
            labels=None if arrays is None else checked_labels(arrays, views),
            label_names=label_names,
            unlabeled=make_views(backbone_set, extra),
            rate=rate,
            odd_shots=odd_shots,
            validation=make_views(backbone_set, held_out),
            prompts=prompts,
            device=device,
            seed=seed,
            progress=progress or silent,
            encoder=cast("Encoder | None", backbone_set.backbones.get("encoder")),
            checkpoint=None if checkpoint is None else Path(checkpoint),
            resume=resume,
        )
        fitted = inventory.grounded(pipeline.fit(chosen_method, views, context, regions), views)
        record = storage.Record(name, profile, chosen, seed, len(held_out))
        return cls(fitted, backbone_set, record, views, context)

    @classmethod
    def from_prompts(
        cls,
        prompts: Any,
        *,
        profile: str | None = None,
        backbones: Mapping[str, str | Backbone] | None = None,
        device: str = "auto",
        **options: Any,
    ) -> Detector:
        """Makes a detector without a single image, from the rules of a prompt set.

        Every rule (``expect``) that an image breaks counts 1 for each object too many, too few or
        out of place; any broken rule is anomalous. On profiles that read, words for sound and
        damaged parts are compared as well.

        Args:
            prompts: ``fmlad.PromptSet``, the name of a bundled one, or the path of a file.
            profile: As in :meth:`from_shots`.
            backbones: As in :meth:`from_shots`.
            device: As in :meth:`from_shots`.
            **options: Options of the method ``"clip-lad"``.

        Raises:
            PromptError: The set is not valid, has a word that the profile cannot ground, or
                declares nothing on a profile that does not read.
            OptionError: An argument or option does not exist or does not fit.
            WeightsUnavailableError: A backbone's weights are not here and cannot be fetched.
        """
        method = create_method(ZERO_SHOT, options)
        chosen_prompts = prompts
        if not isinstance(prompts, (PromptSet, PromptGroup)):
            chosen_prompts = load_prompts(prompts)
        if isinstance(chosen_prompts, PromptGroup):
            raise PromptError(
                f"{chosen_prompts.name!r} is a group of prompt sets, and shots say which image is "
                f"of which kind; give shots, or one set: {', '.join(chosen_prompts.sets)}."
            )
        profile, chosen = choose_backbones(method, profile, backbones)
        backbone_set = load_backbones(chosen, profiles.pick_device(device))
        fitted = pipeline.fit_prompts(method, chosen_prompts, backbone_set.view)
        return cls(fitted, backbone_set, storage.Record(ZERO_SHOT, profile, chosen, 0, 0), [])

    def __repr__(self) -> str:
        return (
            f"Detector(method={self.method!r}, profile={self.profile!r}, "
            f"shots={len(self._fitted.shots)}, threshold={self.threshold})"
        )

    def predict(self, image: ImageSource) -> Prediction:
        """Judges one image: a path, bytes, a PIL image or an array ``(H, W, 3)``.

        Raises:
            InvalidImageError: The image cannot be read.
        """
        return pipeline.judge(pipeline.open_view(image, self._backbones), self._fitted)

    def predict_many(self, images: Inputs, batch_size: int = 8) -> Iterator[Prediction | Failure]:
        """Judges images one by one in order; a bad one yields a :class:`Failure`.

        Args:
            images: A folder, or any iterable of images; consumed as results are.
            batch_size: Images of one size that a backbone sees together.

        Raises:
            OptionError: ``batch_size`` is not a positive whole number.
            ShotsError: ``images`` is an empty or missing folder.
        """
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise OptionError(f"batch_size must be a positive whole number, got {batch_size!r}.")
        return self._judge_in_batches(iter(one_by_one(images)), batch_size)

    def add_shots(
        self,
        images: Inputs,
        labels: LabelSource | None = None,
        *,
        progress: Progress | None = None,
    ) -> None:
        """Fits again with further shots, as if they had been given at first.

        Unlabeled and validation images and prompts are used again. A method that trains is trained
        again from the start, with a warning. A threshold set by hand stays; a measured one is
        measured again. The change is written to :attr:`journal`.

        Args:
            images: As the shots of :meth:`from_shots`.
            labels: Labels of these images, as in :meth:`from_shots` but for ``"auto"``, where the
                shots have labels. Classes of a folder are found by their names.
            progress: Called as ``progress(done, total, what)``.

        Raises:
            OptionError: The detector was saved without originals, or labels are missing, too many,
                or of another size.
            CorruptDetectorError: A saved original is missing or was changed.
        """
        views = self._originals()
        pictures = load_pictures(images)
        more = make_views(self._backbones, pictures)
        known, names = self._context.labels, self._context.label_names
        if (known is None) != (labels is None):
            raise OptionError(
                "The shots have labels, so further ones need labels= as well."
                if labels is None
                else "The shots have no labels, so further ones cannot have any; leave labels= out."
            )
        if known is not None and labels is not None:
            arrays, names = added(labels, pictures, names)
            known = [*known, *checked_labels(arrays, more)]
        self._refit([*views, *more], known, "accept", more, progress, names)

    def remove_shot(self, index: int, *, progress: Progress | None = None) -> None:
        """Fits again without one shot, as if it had never been given.

        Args:
            index: Of the shot, from 0.
            progress: Called as ``progress(done, total, what)``.

        Raises:
            ShotsError: There is no such shot, or it is the last one.
            OptionError: The detector was saved without originals.
            CorruptDetectorError: A saved original is missing or was changed.
        """
        views = self._originals()
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(views):
            raise ShotsError(
                f"There is no shot {index!r}; shots are numbered 0 to {len(views) - 1}."
            )
        self._without({index}, "remove", progress)

    def undo(self, *, progress: Progress | None = None) -> Change:
        """Takes back the last :meth:`add_shots`; again, the one before.

        The detector is then what it was without those shots. What :meth:`remove_shot` took out
        stays out.

        Args:
            progress: Called as ``progress(done, total, what)``.

        Returns:
            The new entry of :attr:`journal`.

        Raises:
            ShotsError: No shot was added since it was fitted, or all were taken back.
            OptionError: The detector was saved without originals.
            CorruptDetectorError: A saved original is missing or was changed.
        """
        added = last_accepted(self._changes, self._shot_keys())
        if not added:
            raise ShotsError(
                "There is nothing to take back: no image was accepted since the detector was "
                "fitted, or all were taken back."
            )
        keys = {key for index, key in enumerate(self._shot_keys()) if index in added}
        accepted = next(one for one in reversed(self._changes) if keys & {*one.keys})
        change = self._without(set(added), "undo", progress)
        self._fitted = inventory.renamed_as(self._fitted, accepted.part_names)
        return change

    @property
    def journal(self) -> tuple[Change, ...]:
        """Its changes since it was fitted, oldest first; saved with it."""
        return self._changes

    @property
    def shots(self) -> list[ShotReport]:
        """A report on each shot: leave-one-out score, duplicates, suspicion, the nearest other."""
        fitted = self._fitted
        keys, baseline = self._shot_keys(), fitted.fusion.baseline
        return report(fitted.shots, fitted.shot_scores, keys, baseline, fitted.gallery)

    def power_check(
        self, *, copies: int = power.COPIES, seed: int = 0, progress: Progress | None = None
    ) -> PowerCheck:
        """What it will see: share of damaged and rearranged copies of its shots that it catches.

        Needs no anomaly. The result stays with the detector (:attr:`power`) and is saved with it.

        Args:
            copies: Of each kind of change.
            seed: Which shots, parts and places.
            progress: Called as ``progress(done, total, what)``.

        Raises:
            OptionError: There are no shots (it was saved without originals, or made from prompts
                alone), there is no threshold, or ``copies`` is not a positive whole number.
            CorruptDetectorError: A saved original is missing or was changed.
        """
        if isinstance(copies, bool) or not isinstance(copies, int) or copies < 1:
            raise OptionError(f"copies must be a positive whole number, got {copies!r}.")
        views = self._originals()
        self._power = power.power_check(
            self._fitted, views, self._backbones, copies=copies, seed=seed,
            progress=progress or silent,
        )  # fmt: skip
        return self._power

    @property
    def power(self) -> PowerCheck | None:
        """The last :meth:`power_check`; None if there was none since it was fitted."""
        return self._power

    @property
    def rule_checks(self) -> tuple[RuleCheck, ...]:
        """Each rule that the prompt set declares, tried on the shots; saved with the detector.

        Empty without rules, or without shots.
        """
        return self._fitted.rule_checks

    @property
    def regions(self) -> Regions | None:
        """Where differences count (``roi=``, ``ignore=``); None: everywhere.

        ``regions.follows`` says whether it moves with the product.
        """
        return self._fitted.regions

    @property
    def fixtures(self) -> tuple[Fixture, ...]:
        """Objects at the same place in every shot while others move: tray bolts, frame edges.

        Found by the method ``"banks"`` on three shots or more; ``fixtures="drop"`` leaves them out.
        """
        return tuple(getattr(self._fitted.state, "fixtures", ()))

    @property
    def threshold(self) -> float | None:
        """Scores above it are anomalous; None means that nothing is decided. Settable."""
        return self._fitted.calibration.threshold

    @threshold.setter
    def threshold(self, value: float | None) -> None:
        self._fitted = pipeline.with_threshold(self._fitted, value)
        self._power = None  # it was about another threshold

    @property
    def calibration(self) -> Calibration:
        """The threshold with the normal scores it was read off and how."""
        return self._fitted.calibration

    @property
    def parts(self) -> list[Part]:
        """The parts of the shots that findings name, with the number of objects in each shot."""
        return inventory.parts(self._fitted)

    def part_picture(self, name: str) -> Image.Image | None:
        """A part as one of the shots shows it; None where no small pictures were kept.

        Raises:
            UnknownNameError: There is no such part.
        """
        return inventory.picture(self._fitted, name)

    def name_parts(self, names: Mapping[str, str]) -> None:
        """Names parts that have none but a letter, for all findings from now on.

        Args:
            names: ``{"part A": "pin"}``; a part named before is named anew, by either of its names.

        Raises:
            UnknownNameError: There is no such part.
            OptionError: A name is empty, or two parts would have the same.
        """
        self._fitted = inventory.named(self._fitted, names)

    @property
    def notes(self) -> list[str]:
        """What holds for every image that it judges, in plain sentences."""
        told = (getattr(one, "note", "") for one in self._backbones.backbones.values())
        return [*pipeline.notes(self._fitted), *filter(None, told)]

    @property
    def method(self) -> str:
        """Name of the method."""
        return self._record.method

    @property
    def profile(self) -> str:
        """Name of the profile."""
        return self._record.profile

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        thumbnails: bool = True,
        originals: bool | None = None,
    ) -> Path:
        """Writes the detector to a folder: safetensors and JSON, never pickle.

        Written beside it first and renamed into place, so that a kill leaves either the old
        detector or the new one.

        Args:
            folder: Created, or replaced if it holds a detector; anything else there is refused.
            thumbnails: Whether to store small pictures of the shots for people to look at.
            originals: Whether to store what it takes to fit it again (:meth:`add_shots` and so on
                after loading): all images that it was fitted to, as PNG without loss. None: where
                it was loaded with them.

        Raises:
            OptionError: The folder exists and is not a saved detector, or cannot be written; or
                there are no originals to store.
            CorruptDetectorError: A saved original is missing or was changed.
        """
        target = Path(folder)
        record = replace(self._record, shot_keys=tuple(self._shot_keys()))
        kept = self._kept_files(self._keeps if originals is None else originals)
        storage.save(
            target, self._fitted, record, self._backbones.backbones, thumbnails=thumbnails,
            originals=kept, power=self._power, journal=self._changes,
        )  # fmt: skip
        if kept is None and self._kept is not None and self._kept.folder == target.absolute():
            self._kept = None  # they are no longer there
        return target

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], device: str = "auto", profile: str | None = None
    ) -> Detector:
        """Reads a saved detector.

        Args:
            folder: As given to :meth:`save`.
            device: As in :meth:`from_shots`.
            profile: Take the backbones of this profile instead of the recorded ones; they must be
                the very weights it was fitted with.

        Raises:
            CorruptDetectorError: A file is missing, truncated, changed or of an unknown format.
            BackboneMismatchError: The backbones are not the ones it was fitted with.
            WeightsUnavailableError: Their weights are not on this machine.
        """
        saved = storage.read(Path(folder))
        chosen: Mapping[str, str | Backbone] = saved.record.backbones
        if profile is not None:
            profile = profiles.profile_name(profile)
            chosen = profiles.resolve(chosen, profile, saved.method.declared.get(profile))
        device = profiles.pick_device(device)
        backbone_set = load_backbones(chosen, device)
        storage.check_backbones(saved, backbone_set.backbones)
        fitted = storage.restore(saved, device, backbone_set.backbones)
        checked = storage.restore_power(saved)
        return cls(
            fitted, backbone_set, saved.record, [], power=checked, changes=saved.journal,
            kept=saved.originals,
        )  # fmt: skip

    def _judge_in_batches(
        self, sources: Iterator[ImageSource], batch_size: int
    ) -> Iterator[Prediction | Failure]:
        while batch := list(islice(sources, batch_size)):
            opened = [self._open(source) for source in batch]
            views = [view for view in opened if isinstance(view, ImageView)]
            regions = self._fitted.regions
            seen = [pipeline.limited(view, regions) for view in views]
            method = self._fitted.method
            prepare(seen, getattr(method, "prepares", method.needs))
            for item in opened:
                if isinstance(item, Failure):
                    yield item
                    continue
                try:
                    yield pipeline.judge(item, self._fitted)
                except FmladError as error:
                    yield Failure(item.name, error)

    def _open(self, source: ImageSource) -> ImageView | Failure:
        try:
            return pipeline.open_view(source, self._backbones)
        except FmladError as error:
            return Failure(source_name(source), error)

    def _shot_keys(self) -> list[str]:
        """Pixel hashes of the shots: from the originals, or as they were saved."""
        return [view.key for view in self._shots] or list(self._record.shot_keys)

    def _originals(self) -> list[ImageView]:
        """The shots, read from disk where they are not in memory; and the context with them."""
        if not self._fitted.shots:
            raise OptionError(
                "This detector was made from prompts alone; build one with Detector.from_shots "
                "and the same prompts."
            )
        if not self._shots:
            if self._kept is None:
                raise OptionError(
                    "This detector was loaded from disk and keeps no original shots. Build it "
                    "again with all images, by `fmlad fit`, or by Detector.from_shots and "
                    "save(folder, originals=True)."
                )
            prompts = self._fitted.state.meta().get("prompts")
            self._shots, self._context = self._kept.restore(
                self._backbones, prompts, self._record.seed
            )
        return self._shots

    def _kept_files(self, wanted: bool) -> tuple[originals.Kept, Mapping[str, bytes]] | None:
        """Originals to save: as they lie on disk, or of the images in memory."""
        if not wanted:
            return None
        if self._kept is not None:
            return self._kept.kept, self._kept.contents()
        prompts = getattr(self._fitted.state, "prompts", None)
        return originals.encode(self._originals(), self._context, prompts)

    def _without(self, indices: set[int], what: What, progress: Progress | None) -> Change:
        """Fits again without some shots."""
        views, labels = self._originals(), self._context.labels
        if len(indices) == len(views):
            raise ShotsError("The last shot cannot be removed; a detector needs at least one.")
        if labels is not None:
            labels = [label for i, label in enumerate(labels) if i not in indices]
        left = [view for i, view in enumerate(views) if i not in indices]
        return self._refit(left, labels, what, [views[i] for i in sorted(indices)], progress)

    def _refit(
        self,
        views: list[ImageView],
        labels: Sequence[npt.NDArray[np.integer]] | None,
        what: What,
        changed: Sequence[ImageView],
        progress: Progress | None,
        label_names: tuple[str, ...] | None = None,
    ) -> Change:
        """Fits to other shots, from the same seed, and notes that in the journal."""
        method, before = self._fitted.method, self.calibration
        if method.calibrates_by != "leave-one-out" or "checkpoint" in method.takes:
            _log.warning("the method %r is trained again, on %d shots", method.name, len(views))
        # The checkpoint is of the shots that were given first, and stays that.
        context = replace(self._context, labels=labels, checkpoint=None, resume=False)
        context = replace(context, progress=progress or context.progress)
        if label_names is not None:
            context = replace(context, label_names=label_names)
        known_names = dict(self._fitted.names)
        fitted = pipeline.fit(method, views, context, self._fitted.regions)
        self._fitted = inventory.grounded(inventory.carried_over(self._fitted, fitted), views)
        self._shots, self._context, self._power, self._kept = views, context, None, None
        if before.source == "user":
            self.threshold = before.threshold
        names, keys = tuple(view.name for view in changed), tuple(view.key for view in changed)
        after = self.calibration.threshold
        change = Change(now(), what, names, keys, before.threshold, after, known_names)
        self._changes = (*self._changes, change)
        return change
