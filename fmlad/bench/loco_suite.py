"""The suite ``loco``: the tables of CLIP-LAD and SAM-LAD on MVTec LOCO AD, on a profile named.

- CLIP-LAD, tables 1 and 2: nine categories (juice bottles and splicing connectors by sub-type), 1,
  2 and 4 shots, five draws. The paper scales its scores by the validation images; it is entered
  with them, as there, and with the shots alone.
- CLIP-LAD, table 3: the two categories whole, three shots, one of each sub-type.
- SAM-LAD, table 2: five categories, all training images; once, since nothing is drawn.

What takes part beside them, on the same images, is our reference: ``banks``, and ``sam-lad`` as it
is by default.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fmlad.bench.model import ALL, Entry, Task
from fmlad.bench.plan import CATEGORY, Plan, is_peer
from fmlad.errors import DatasetError, OptionError, WeightsUnavailableError

DATASET = "mvtec_loco"
SHOTS, SEEDS = (1, 2, 4), (0, 1, 2, 3, 4)  # CLIP-LAD, section 4
TOGETHER, WHOLE = ", kinds together", ", all images"
LAYOUT = (
    "train/good, validation/good, test/good, test/logical_anomalies, test/structural_anomalies, "
    "ground_truth and defects_config.json"
)


def loco_plan(root: str | os.PathLike[str] | None, profile: str | None) -> Plan:
    """The plan, once its images and weights are known to be here.

    Args:
        root: Folder that holds the five categories, as MVTec's archive does.
        profile: Of all entries; None means ``$FMLAD_PROFILE``, else ``"builtin"``.

    Raises:
        OptionError: There is no ``root``.
        DatasetError: It does not hold all five categories; the message names those it lacks.
        WeightsUnavailableError: Weights are not on this machine; the message names all of them.
        UnknownNameError: There is no such profile.
    """
    from fmlad.datasets import subtypes
    from fmlad.datasets.counts import official_names
    from fmlad.profiles import profile_name

    home, profile = _checked_root(root), profile_name(profile)
    tasks: list[Task] = []
    split: list[str] = []  # titles of the nine
    whole: list[str] = []  # and of the five
    most = 0  # sub-types of a category: so many shots hold one of each
    for category in official_names(DATASET):
        kinds = subtypes(DATASET, home, category)
        most = max(most, len(kinds))
        one = Task(DATASET, str(home), category, each_subtype=bool(kinds))
        own = [Task(DATASET, str(home), category, kind) for kind in kinds]
        tasks += [one, *own]
        whole.append(one.title)
        split += [task.title for task in own or [one]]
    several = tuple(title for title in whole if title not in split)

    few = _few_shot(profile)
    together = _together(profile)
    full = _full_data(profile)
    entries = (*few, *together, *full)
    check_weights(entries)
    places = ((few, split), (together, several), (full, whole))
    return Plan(
        entries,
        tuple(tasks),
        SHOTS,
        SEEDS,
        name="loco",
        only={entry.label: tuple(titles) for some, titles in places for entry in some},
        shots_of={
            **{entry.label: (most,) for entry in together},
            **{entry.label: (ALL,) for entry in full},
        },
        seeds_of={entry.label: SEEDS[:1] for entry in full},
    )


def _few_shot(profile: str) -> tuple[Entry, ...]:
    """CLIP-LAD, tables 1 and 2."""
    return (
        Entry("clip-lad", "clip-lad", profile, prompts=CATEGORY),
        Entry(
            "clip-lad, validation images", "clip-lad", profile, prompts=CATEGORY, validation=True
        ),
        Entry("sam-lad", "sam-lad", profile),
        Entry("banks", "banks", profile),
    )


def _together(profile: str) -> tuple[Entry, ...]:
    """CLIP-LAD, table 3."""
    clip = ("clip-lad", profile)
    return (
        Entry(f"clip-lad{TOGETHER}", *clip, prompts=CATEGORY),
        Entry(f"clip-lad, validation images{TOGETHER}", *clip, prompts=CATEGORY, validation=True),
        Entry(f"banks{TOGETHER}", "banks", profile),
    )


def _full_data(profile: str) -> tuple[Entry, ...]:
    """SAM-LAD, table 2."""
    return (
        Entry(f"sam-lad as published{WHOLE}", "sam-lad", profile, {"preset": "paper"}),
        Entry(f"sam-lad{WHOLE}", "sam-lad", profile),
        Entry(f"banks{WHOLE}", "banks", profile),
    )


def _checked_root(root: str | os.PathLike[str] | None) -> Path:
    from fmlad.datasets import categories
    from fmlad.datasets.counts import official_names

    if root is None:
        raise OptionError("The suite 'loco' needs --root: the folder that MVTec LOCO AD lies in.")
    home, wanted = Path(root).expanduser().resolve(), official_names(DATASET)
    found = categories(DATASET, home)
    if lacking := [category for category in wanted if category not in found]:
        raise DatasetError(
            f"{home} lacks {', '.join(lacking)} of MVTec LOCO AD; expected all of "
            f"{', '.join(wanted)} there, each with {LAYOUT}. Unpack the whole archive, or run "
            f"what is there with --dataset {DATASET} --category NAME."
        )
    return home


def check_weights(entries: Iterable[Entry]) -> None:
    """Makes sure, without a network, that the weights of all backbones of entries are here.

    A run of hours is not to find that out in its middle, nor to begin with a download.

    Raises:
        WeightsUnavailableError: Some are not; the message names each and says how to get them.
    """
    from fmlad.backbones.catalogue import describe
    from fmlad.backbones.hub import find

    names = (name for entry in entries for name in backbones_of(entry))
    # Embedded ones come with the package and what it requires.
    weights = {one.name: one for one in map(describe, names) if one.family != "builtin"}
    if absent := [name for name, one in weights.items() if find(one) is None]:
        lines = " and ".join(f"`fmlad weights pull {name}`" for name in absent)
        raise WeightsUnavailableError(
            f"No cell was run: weights are not on this machine: {', '.join(absent)}. Fetch them "
            f"first: {lines}; without a network see `fmlad weights bundle`."
        )


def backbones_of(entry: Entry) -> list[str]:
    """Names of the backbones that a method's entry sees through; none of a peer."""
    from fmlad import profiles
    from fmlad.loading import method_roles
    from fmlad.methods.registry import create_method

    if is_peer(entry.method):
        return []
    method = create_method(entry.method, entry.options)
    roles = method_roles(method, entry.profile)
    chosen = profiles.resolve(roles, entry.profile, method.declared.get(entry.profile))
    return [name for name in chosen.values() if isinstance(name, str)]
