"""load -> view -> evidence -> fuse -> calibrate -> prediction: the one inference path.

Everything that scores an image goes through :func:`judge`, so that Python, the command line, the
page and the benchmarks cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import numpy.typing as npt

from fmlad.errors import OptionError
from fmlad.findings import KINDS, Finding, defects, finding, merged
from fmlad.io.images import ImageSource, load_image, source_name
from fmlad.methods.protocol import Evidence, FitContext, Method, State
from fmlad.objects.rule_checks import RuleCheck, rule_checks
from fmlad.prediction import NearestShot, Prediction, Segmentation
from fmlad.prompts import PromptSet
from fmlad.regions import Regions, share_inside
from fmlad.scoring.calibration import Calibration, Source
from fmlad.scoring.fusion import AdaptiveScaling, Fusion, by_the_others
from fmlad.sentences import with_names
from fmlad.shots import Gallery, thumbnail
from fmlad.views import BackboneSet, ImageView

# Shares of the threshold, and of the highest branch's score where that is lower, from which a
# difference of an anomalous image becomes a finding; and of the greatest finding, from which places
# that merely look odd are told beside it.
WORTH, STRONGEST, BESIDE = 0.8, 0.9, 0.5
MOSTLY = 0.5  # share of a finding's box inside the region, below which it does not count
RULE_BROKEN = 0.5  # threshold without shots: a broken rule scores 1 or more
LEFT_OUT = 32  # shots left out in turn at fit time, at most; a random choice beyond
# Of the shots of a method that trains, this share is set aside for calibration, where there are so
# many at least (ours: PSAD, CSAD and ULSAD are given a validation split).
ASIDE, LEAST_TO_SPLIT = 0.2, 5


@dataclass(frozen=True)
class Fitted:
    """A fitted method with its scales.

    Attributes:
        method: The method.
        state: Its fitted state.
        fusion: From branch scores to the score.
        calibration: From the score to a decision.
        shots: Name of each shot, in order.
        shot_scores: Leave-one-out score per shot; None where it was not left out.
        sizes: Height and width of each shot.
        gallery: Small pictures of the shots; empty without shots, or where none were saved.
        names: The user's names for unnamed parts, ``{"part A": "pin"}``.
        regions: Where differences count; None: everywhere.
        rule_checks: Each rule that the user declared, tried on the shots.
    """

    method: Method
    state: State
    fusion: Fusion
    calibration: Calibration
    shots: tuple[str, ...]
    shot_scores: tuple[float | None, ...]
    sizes: tuple[tuple[int, int], ...] = ()
    gallery: Gallery = field(default_factory=Gallery)
    names: Mapping[str, str] = field(default_factory=dict)
    regions: Regions | None = None
    rule_checks: tuple[RuleCheck, ...] = ()


def open_view(source: ImageSource, backbone_set: BackboneSet, name: str | None = None) -> ImageView:
    """Loads one image as a view.

    Raises:
        InvalidImageError: The source is not one readable picture.
    """
    return backbone_set.view(load_image(source), name or source_name(source))


def limited(view: ImageView, regions: Regions | None) -> ImageView:
    """The view that a method sees: of what lies inside the regions alone."""
    return view if regions is None else regions.limited(view)


def fit(
    method: Method,
    views: Sequence[ImageView],
    context: FitContext,
    regions: Regions | None = None,
) -> Fitted:
    """Fits a method to shots, scales its branches and sets the threshold.

    Branches are scaled by the normal images that the method calibrates by (``calibrates_by``;
    PSAD's adaptive scaling where shots are left out in turn), or by validation images where it
    wants that (``validation_scales``). The threshold comes from those scores, or from the
    validation images' where there are any; an image that has a say in the scales is then scored
    with those of the others, as a new one would be.

    With regions, all images are limited to them first.
    """
    from fmlad.training.loop import seeded

    if regions is not None:
        regions = regions.learned(views)
        views, context = _limited(views, context, regions)
    progress = context.progress
    aside = _set_aside(method, len(views), context)
    kept = [view for index, view in enumerate(views) if index not in aside]
    given = context.validation
    if aside:
        context = _without(context, aside, [views[index] for index in aside])
    settings = {
        "method": method.name,
        "options": asdict(method.config),
        "shots": [view.key for view in kept] if "checkpoint" in method.takes else [],
    }
    with seeded(context.seed, context.device):
        state = method.fit(kept, replace(context, settings=settings))

    trials: dict[int, Evidence] = {}
    source: Source
    more = context.unlabeled if getattr(method, "unlabeled_members", False) else ()
    members = [*views, *more]
    if method.calibrates_by == "leave-one-out" and len(members) > 1:
        chosen = list(range(len(members)))
        if not getattr(method, "every_member", False):
            chosen = sorted(context.rng.permutation(len(members))[:LEFT_OUT].tolist())
        alone = alone_shots(method, state)
        source = "training" if more else "leave-one-out"
        source = "augmentations" if alone.issuperset(chosen) else source
        for done, index in enumerate(chosen, start=1):
            if index in alone:
                for copy in members[index].gentle_copies:
                    trials[-len(trials) - 1] = _evidence(method, copy, state)
            else:
                exclude = left_out(method, index, members)
                trials[index] = _evidence(method, members[index], state, exclude)
            progress(done, len(chosen), "judging each shot by the others")
    elif aside:
        source = "held-out"
        trials = {index: _evidence(method, views[index], state) for index in aside}
    else:
        source = "augmentations"
        copies = [copy for view in kept for copy in view.gentle_copies]
        trials = {-i: _evidence(method, copy, state) for i, copy in enumerate(copies, start=1)}
    held_out: list[Mapping[str, float]] = []
    for done, view in enumerate(given, start=1):
        held_out.append(_evidence(method, view, state).scores)
        progress(done, len(given), "judging validation images")

    by_validation = bool(held_out) and (
        getattr(method, "validation_scales", False) or method.calibrates_by != "leave-one-out"
    )
    tried = [trial.scores for trial in trials.values()]

    def learn(images: Sequence[Mapping[str, float]]) -> Fusion:
        return method.fusion(images, state)

    fusion = learn(held_out if by_validation else tried)

    def scores_of(images: Sequence[Mapping[str, float]], scale: bool) -> list[float]:
        return by_the_others(learn, images) if scale else [fusion.fused(one) for one in images]

    fused = dict(zip(trials, scores_of(tried, not by_validation), strict=True))
    normal = list(fused.values())
    if held_out:
        normal, source = scores_of(held_out, by_validation), "validation"
    calibration = Calibration.fit(normal, source, context.rate, context.odd_shots, fusion.baseline)
    gallery = _gallery(views)
    scores = tuple(fused.get(index) for index in range(len(views)))
    return Fitted(
        method,
        state,
        fusion,
        calibration,
        shots=gallery.names,
        shot_scores=scores,
        sizes=tuple(view.size for view in views),
        gallery=gallery,
        regions=regions,
        rule_checks=check_rules(method, state, views),
    )


def _gallery(views: Sequence[ImageView]) -> Gallery:
    """Small pictures of shots; each is made once, however many fits its view is used for."""
    for view in views:
        if "thumbnail" not in view.of_pixels:
            view.of_pixels["thumbnail"] = thumbnail(view.pixels)
    thumbnails = tuple(view.of_pixels["thumbnail"] for view in views)
    return Gallery(tuple(view.name for view in views), thumbnails)


def check_rules(method: Method, state: State, views: Sequence[ImageView]) -> tuple[RuleCheck, ...]:
    """The rules that the user declared, tried on shots; none where the method knows no rules."""
    read = getattr(method, "rule_readings", None)
    if read is None:
        return ()
    return rule_checks([view.name for view in views], [read(view, state) for view in views])


def _limited(
    views: Sequence[ImageView], context: FitContext, regions: Regions
) -> tuple[list[ImageView], FitContext]:
    """Shots and context as they are inside the regions."""
    inside = [regions.limited(view) for view in views]
    labels = context.labels
    if labels is not None:
        pairs = zip(inside, labels, strict=True)
        labels = [np.where(view.inside, label, 0) for view, label in pairs]
    context = replace(
        context,
        labels=labels,
        unlabeled=[regions.limited(view) for view in context.unlabeled],
        validation=[regions.limited(view) for view in context.validation],
    )
    return list(inside), context


def _evidence(
    method: Method, view: ImageView, state: State, exclude: frozenset[int] = frozenset()
) -> Evidence:
    """What a method says of a view, if it keeps the protocol.

    Raises:
        OptionError: It does not; the message names the method and the rule.
    """
    evidence = method.evidence(view, state, exclude)
    found = evidence.differences
    used = {*evidence.scores, *evidence.maps, *(one.branch for one in found)}
    broken = None
    if not used <= set(method.branches):
        broken = f"{sorted(used - set(method.branches))} are none of its branches"
    elif any(score < 0 for score in evidence.scores.values()):
        broken = f"scores are 0 or more; these are {dict(evidence.scores)}"
    elif not evidence.maps or any(one.ndim != 2 for one in evidence.maps.values()):
        broken = "there is a map (h, w) for at least one branch"
    elif not {one.kind for one in found} <= set(KINDS):
        broken = f"kinds of differences are {', '.join(KINDS)}"
    if broken:
        raise OptionError(
            f"The method {method.name!r} breaks the protocol on {view.name}: {broken}."
        )
    return evidence


def _set_aside(method: Method, shots: int, context: FitContext) -> list[int]:
    """Indices of shots that a method that trains is calibrated by instead of trained on."""
    if method.calibrates_by != "held-out" or context.validation or shots < LEAST_TO_SPLIT:
        return []
    chosen = context.rng.permutation(shots)[: round(shots * ASIDE)]
    return sorted(int(index) for index in chosen)


def _without(context: FitContext, aside: Sequence[int], views: Sequence[ImageView]) -> FitContext:
    """The context of the shots that are left, the others being its validation images."""
    labels = context.labels
    if labels is not None:
        labels = [label for index, label in enumerate(labels) if index not in aside]
    return replace(context, labels=labels, validation=views)


def fit_prompts(method: Method, prompts: PromptSet, make_view: Callable[..., ImageView]) -> Fitted:
    """Fits a method to a prompt set alone: unscaled branches, a threshold for broken rules.

    Raises:
        OptionError: The method needs shots.
    """
    alone = getattr(method, "from_prompts", None)
    if alone is None:
        raise OptionError(f"The method {method.name!r} needs shots; 'clip-lad' can do without.")
    state = alone(prompts, make_view)
    calibration = Calibration(RULE_BROKEN, "rules", ())
    fusion = AdaptiveScaling(dict.fromkeys(method.branches, 1.0), "maximum")
    return Fitted(method, state, fusion, calibration, (), ())


def judge(view: ImageView, fitted: Fitted, exclude: frozenset[int] = frozenset()) -> Prediction:
    """The verdict for one view, by all shots but those of some indices."""
    regions = fitted.regions
    region = None if regions is None else regions.limited(view).inside
    evidence = _evidence(fitted.method, limited(view, regions), fitted.state, exclude)
    score = fitted.fusion.fused(evidence.scores)
    if not np.isfinite(score):
        raise OptionError(
            f"{view.name}: the method {fitted.method.name!r} gave no finite score ({score}); "
            f"check the weights of its backbones."
        )
    anomaly_map = _at_size(fitted.fusion.fused_map(evidence.maps), view.size)
    calibration, notes = fitted.calibration, list(evidence.notes)
    findings, parts = _findings(evidence, anomaly_map, fitted), evidence.segmentation
    if regions is not None and region is not None:
        anomaly_map = anomaly_map * region
        findings = [
            one for one in findings if one.box is None or share_inside(one.box, region) >= MOSTLY
        ]
        if parts is not None:
            parts = Segmentation(np.where(region, parts.labels, 0), parts.names, parts.objects)
        notes += filter(None, [regions.note(view)])
    return Prediction(
        name=view.name,
        score=score,
        threshold=calibration.threshold,
        is_anomalous=calibration.decide(score),
        decision=calibration.decision(score),
        p_value=calibration.p_value(score),
        anomaly_map=anomaly_map,
        branch_scores=fitted.fusion.scaled(evidence.scores),
        segmentation=_with_names(parts, fitted.names),
        findings=findings,
        notes=notes,
        pixels=view.pixels,
        region=region,
        nearest=_nearest(view, fitted.gallery, exclude),
    )


def _nearest(view: ImageView, gallery: Gallery, exclude: frozenset[int]) -> NearestShot | None:
    index = gallery.nearest(view.pixels, exclude)
    return None if index is None else NearestShot(gallery.names[index], gallery.picture(index))


def notes(fitted: Fitted) -> list[str]:
    """What holds for every image that is judged, in plain sentences."""
    told: list[str] = list(getattr(fitted.method, "notes", lambda state: [])(fitted.state))
    if len(fitted.shots) == 1:
        told.append("one normal image only: it cannot show how normal images differ")
    return told


def with_threshold(fitted: Fitted, threshold: float | None) -> Fitted:
    """A copy that decides at another threshold."""
    return replace(fitted, calibration=fitted.calibration.with_threshold(threshold))


def alone_shots(method: Method, state: State) -> frozenset[int]:
    """Shots that no other can judge; see :class:`fmlad.methods.protocol.Method`."""
    tell: Callable[[State], frozenset[int]] | None = getattr(method, "alone", None)
    return frozenset() if tell is None else tell(state)


def left_out(
    method: Method, index: int, views: Sequence[ImageView], alone: frozenset[int] = frozenset()
) -> frozenset[int]:
    """What a shot must not be judged by: itself, and those with the same pixels.

    Nothing where the method cannot leave shots out, or there is no other, or it is one of those
    that no other can judge (``alone``).
    """
    if method.calibrates_by != "leave-one-out" or len(views) == 1 or index in alone:
        return frozenset()
    twins = frozenset(i for i, view in enumerate(views) if view.key == views[index].key)
    return twins if len(twins) < len(views) else frozenset({index})


def _findings(
    evidence: Evidence, anomaly_map: npt.NDArray[np.float32], fitted: Fitted
) -> list[Finding]:
    """Typed differences on the common scale, then the defects on the map.

    Of a normal image, what lies above the threshold by itself; of an anomalous one also what comes
    near it, for several branches below the threshold may add up.
    """
    scaled = fitted.fusion.scaled
    size = anomaly_map.shape[0], anomaly_map.shape[1]
    typed = [
        finding(d, scaled({d.branch: d.score})[d.branch], size, fitted.names)
        for d in evidence.differences
    ]
    threshold = fitted.calibration.threshold
    if threshold is None:
        return merged(typed)
    score = fitted.fusion.fused(evidence.scores)
    limit = threshold
    if score > threshold:  # so that the highest branch has a finding, even below 1
        limit = min(WORTH * threshold, STRONGEST * max(scaled(evidence.scores).values()))
    found = [one for one in typed if one.score > limit]
    # Maps of branches with typed differences are not searched for defects.
    named = {d.branch for d in evidence.differences} | set(getattr(fitted.method, "typed", ()))
    maps = {branch: one for branch, one in evidence.maps.items() if branch not in named}
    if maps:
        places = defects(_at_size(fitted.fusion.fused_map(maps), size), limit)
        least = BESIDE * max((one.score for one in (*found, *places)), default=0.0)
        found += [place for place in places if place.score >= least]
    return merged(found)


def _with_names(found: Segmentation | None, names: Mapping[str, str]) -> Segmentation | None:
    if found is None or not names:
        return found
    objects = {with_names(name, names): count for name, count in found.objects.items()}
    return Segmentation(found.labels, [with_names(name, names) for name in found.names], objects)


def _at_size(small: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Bilinear resize of a map ``(h, w)`` to the input's size; values stay within its range."""
    import torch
    import torch.nn.functional as F

    resized = F.interpolate(torch.from_numpy(small)[None, None], size, mode="bilinear")[0, 0]
    return resized.numpy()
