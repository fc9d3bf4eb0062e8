"""Saved detectors: a folder of JSON, safetensors and small pictures, every file with its hash.

``detector.json``     what the detector is, with a hash of every other file and of itself
``state.safetensors`` what its method remembers
``shots/000.jpg``     thumbnails for people; optional
``originals/...``     what it takes to fit it again; optional, read when needed (``originals.py``)
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fmlad import originals as originals_files
from fmlad._version import __version__
from fmlad.errors import BackboneMismatchError, CorruptDetectorError, OptionError, UnknownNameError
from fmlad.io.folders import damaged, digest_of, mend, read_file, read_files, replace_folder
from fmlad.journal import Change, What
from fmlad.methods.registry import create_method
from fmlad.objects.rule_checks import restore_rule_checks
from fmlad.originals import Kept, Originals
from fmlad.pipeline import Fitted
from fmlad.power import PowerCheck
from fmlad.profiles import PROFILES
from fmlad.regions import Regions
from fmlad.scoring.calibration import Calibration
from fmlad.scoring.fusion import fusion_from_dict
from fmlad.shots import Gallery

if TYPE_CHECKING:
    from fmlad.backbones.roles import Backbone
    from fmlad.methods.protocol import Method

FORMAT = 6  # 1 to 5 were never released: other tensors, no originals, no journal
MANIFEST, STATE = "detector.json", "state.safetensors"
THUMBNAIL = r"shots/\d{3,}\.jpg"  # as _thumbnail_names writes them


@dataclass(frozen=True)
class Record:
    """Arguments of a fit.

    Attributes:
        method: Name of the method.
        profile: Name of the profile.
        backbones: Role -> backbone, by name or as an object.
        seed: For refitting.
        validation: Number of validation images that set the threshold.
        shot_keys: Pixel hash of each shot; empty while the originals are in memory.
    """

    method: str
    profile: str
    backbones: Mapping[str, str | Backbone]
    seed: int
    validation: int
    shot_keys: tuple[str, ...] = ()


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Backbone(_Strict):
    name: str
    fingerprint: str


class _Shot(_Strict):
    name: str
    key: str
    size: Annotated[list[int], Field(min_length=2, max_length=2)]  # height, width
    score: float | None


class _Change(_Strict):
    time: str
    what: What
    names: list[str]
    keys: list[str]
    threshold_before: float | None
    threshold_after: float | None
    part_names: dict[str, str]


class _Manifest(_Strict):
    format: int
    fmlad: str
    method: str
    config: dict[str, Any]
    profile: str
    seed: int
    validation: int
    set_aside: int
    backbones: dict[str, _Backbone]
    fusion: dict[str, Any]
    calibration: dict[str, Any]
    shots: list[_Shot]
    names: dict[str, str]
    prompts: dict[str, Any] | None
    power: dict[str, Any] | None
    regions: dict[str, Any] | None
    rule_checks: list[dict[str, Any]]
    state: dict[str, Any]
    originals: Kept | None
    journal: list[_Change]
    files: dict[str, str]
    sha256: str


@dataclass(frozen=True)
class Saved:
    """A saved detector, read and verified, its backbones not yet loaded.

    Attributes:
        folder: Its folder.
        record: Arguments of its fit.
        method: Built from its recorded options.
        manifest: The whole of ``detector.json``.
        state: The bytes of ``state.safetensors``.
        thumbnails: JPEG of each shot, or none.
    """

    folder: Path
    record: Record
    method: Method
    manifest: _Manifest
    state: bytes
    thumbnails: tuple[bytes, ...]

    @property
    def originals(self) -> Originals | None:
        """What it takes to fit it again, not yet read; None where that was not kept."""
        if self.manifest.originals is None:
            return None
        shots = tuple((shot.name, shot.key) for shot in self.manifest.shots)
        return Originals(self.folder.absolute(), self.manifest.originals, shots)

    @property
    def journal(self) -> tuple[Change, ...]:
        """Its changes since it was fitted, oldest first."""
        return tuple(
            Change(**{**one.model_dump(), "names": tuple(one.names), "keys": tuple(one.keys)})
            for one in self.manifest.journal
        )


def save(
    folder: Path,
    fitted: Fitted,
    record: Record,
    backbones: Mapping[str, Backbone],
    *,
    thumbnails: bool = True,
    originals: tuple[Kept, Mapping[str, bytes]] | None = None,
    power: PowerCheck | None = None,
    journal: Sequence[Change] = (),
) -> Path:
    """Writes a detector beside ``folder`` and renames it into place.

    Args:
        folder: Target.
        fitted: The fitted method.
        record: Arguments of the fit.
        backbones: By role; their fingerprints are saved.
        thumbnails: Whether to save the small pictures of the shots.
        originals: What it takes to fit it again, from ``originals.encode``, or None.
        power: What it catches, if that was tried.
        journal: Its changes since it was fitted, oldest first.

    Raises:
        OptionError: ``folder`` holds something else, or cannot be written.
    """
    from safetensors.torch import save as to_bytes

    check_target(folder)
    contents = {STATE: to_bytes(fitted.state.tensors())}
    pictures = fitted.gallery.thumbnails if thumbnails else ()
    contents |= zip(_thumbnail_names(len(pictures)), pictures, strict=True)
    described = fitted.state.meta()
    shots = zip(fitted.shots, record.shot_keys, fitted.sizes, fitted.shot_scores, strict=True)
    manifest = _Manifest(
        format=FORMAT,
        fmlad=__version__,
        method=record.method,
        config=dataclasses.asdict(fitted.method.config),
        profile=record.profile,
        seed=record.seed,
        validation=record.validation,
        set_aside=len(fitted.shots) - fitted.state.shots,
        backbones={
            role: _Backbone(name=backbone.name, fingerprint=backbone.fingerprint)
            for role, backbone in backbones.items()
        },
        fusion=fitted.fusion.to_dict(),
        calibration=fitted.calibration.to_dict(),
        shots=[
            _Shot(name=name, key=key, size=list(size), score=score)
            for name, key, size, score in shots
        ],
        names=dict(fitted.names),
        prompts=described.pop("prompts", None),
        power=None if power is None else power.to_dict(),
        regions=None if fitted.regions is None else fitted.regions.to_dict(),
        rule_checks=[check.to_dict() for check in fitted.rule_checks],
        state=described,
        originals=None if originals is None else originals[0],
        journal=[_Change(**change.to_dict()) for change in journal],
        files={name: digest_of(data) for name, data in contents.items()},
        sha256="",
    )
    # Through JSON first, so that what is hashed is what will be read (tuples become lists).
    written = json.loads(json.dumps(manifest.model_dump()))
    written["sha256"] = _own_hash(written)
    # Keys as they come: the order of a prompt set's parts is the number of their classes.
    contents[MANIFEST] = json.dumps(written, indent=1).encode()
    contents |= {} if originals is None else originals[1]
    try:
        replace_folder(folder, contents)
    except (OSError, ValueError) as error:
        raise OptionError(f"The detector could not be written to {folder}: {error}.") from error
    return folder


def read(folder: Path) -> Saved:
    """Reads and verifies a saved detector, but for its originals.

    Raises:
        CorruptDetectorError: Something is missing, changed or unknown; the message names it.
    """
    mend(folder)
    if not (folder / MANIFEST).exists() and not (folder / STATE).exists():
        raise CorruptDetectorError(
            f"There is no saved detector at {folder}; expected a folder with {MANIFEST}, as "
            f"`fmlad fit` and Detector.save write it."
        )
    manifest = _read_manifest(folder)
    names = _thumbnail_names(len(manifest.shots))
    if beyond := manifest.files.keys() - {STATE, *names}:
        raise damaged(folder, f"{MANIFEST} lists files {sorted(beyond)}, which no detector has")
    if manifest.files.keys() not in ({STATE}, {STATE, *names}):
        raise damaged(folder, f"{MANIFEST} does not list its own files")
    if kept := manifest.originals:
        listed = kept.files.keys() - {originals_files.LABELS}
        if not manifest.shots or listed != set(kept.pictures(len(manifest.shots))):
            raise damaged(folder, f"{MANIFEST} does not list its own originals")
    contents = read_files(folder, manifest.files)
    named = {role: backbone.name for role, backbone in manifest.backbones.items()}
    keys = tuple(shot.key for shot in manifest.shots)
    record = Record(
        manifest.method, manifest.profile, named, manifest.seed, manifest.validation, keys
    )
    state = contents.pop(STATE)
    thumbnails = tuple(contents[name] for name in names if name in contents)
    return Saved(folder, record, _method(folder, manifest), manifest, state, thumbnails)


def check_backbones(saved: Saved, backbones: Mapping[str, Backbone]) -> None:
    """Refuses to score with other weights than the detector was fitted with.

    Raises:
        BackboneMismatchError: A fingerprint differs.
    """
    for role, recorded in saved.manifest.backbones.items():
        present = backbones[role].fingerprint if role in backbones else "nothing"
        if present != recorded.fingerprint:
            raise BackboneMismatchError(
                f"The detector in {saved.folder} was fitted with {recorded.name!r} as {role} "
                f"(fingerprint {recorded.fingerprint}), but {present} is here. Bring the same "
                f"weights, or fit the detector again."
            )


def restore(saved: Saved, device: str, backbones: Mapping[str, Backbone] | None = None) -> Fitted:
    """Builds the fitted method of a verified folder.

    A method that needs an encoder finds it as ``"encoder"`` in the description of its state.

    Raises:
        CorruptDetectorError: The state does not fit the method.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    manifest = saved.manifest
    try:
        described = dict(manifest.state)
        if manifest.prompts is not None:
            described["prompts"] = manifest.prompts
        if "encoder" in saved.method.needs:
            described["encoder"] = (backbones or {}).get("encoder")
        state = saved.method.restore(load(saved.state), described, device)
        fitted_on = len(manifest.shots) - manifest.set_aside
        if state.shots != fitted_on:
            raise CorruptDetectorError(f"{STATE} remembers {state.shots} shots")
        fusion = fusion_from_dict(manifest.fusion)
        if set(fusion.scales) != set(saved.method.branches):
            raise CorruptDetectorError(
                f"scales are for {list(fusion.scales)}; expected {list(saved.method.branches)}"
            )
        names = tuple(shot.name for shot in manifest.shots)
        scores = tuple(shot.score for shot in manifest.shots)
        calibration = Calibration.from_dict(manifest.calibration)
        sizes = tuple((shot.size[0], shot.size[1]) for shot in manifest.shots)
        return Fitted(
            saved.method,
            state,
            fusion,
            calibration,
            shots=names,
            shot_scores=scores,
            sizes=sizes,
            gallery=Gallery(names if saved.thumbnails else (), saved.thumbnails),
            names=manifest.names,
            regions=None if manifest.regions is None else Regions.from_dict(manifest.regions),
            rule_checks=restore_rule_checks(manifest.rule_checks),
        )
    except SafetensorError as error:
        raise damaged(saved.folder, f"{STATE} is unreadable ({error})") from error
    except CorruptDetectorError as error:
        raise damaged(saved.folder, str(error).rstrip(".")) from error


def restore_power(saved: Saved) -> PowerCheck | None:
    """The power check of a verified folder; None if there is none.

    Raises:
        CorruptDetectorError: It is unreadable.
    """
    power = saved.manifest.power
    return None if power is None else PowerCheck.from_dict(power)


def _thumbnail_names(count: int) -> list[str]:
    return [f"shots/{index:03d}.jpg" for index in range(count)]


def _read_manifest(folder: Path) -> _Manifest:
    try:
        data = json.loads(read_file(folder, MANIFEST))
    except (ValueError, RecursionError) as error:
        raise damaged(folder, f"{MANIFEST} is not JSON ({error})") from error
    if not isinstance(data, dict) or "format" not in data:
        raise damaged(folder, f"{MANIFEST} has no format version")
    if data["format"] != FORMAT:
        raise damaged(
            folder,
            f"its format is {data['format']!r}, and this is fmlad {__version__}, which reads "
            f"format {FORMAT}; load it with the version that saved it ({data.get('fmlad')!r})",
        )
    try:
        manifest = _Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise damaged(folder, f"{MANIFEST}: {place}: {first['msg']}") from error
    if _own_hash(data) != manifest.sha256:
        raise damaged(folder, f"{MANIFEST} was changed after saving (wrong hash)")
    return manifest


def _method(folder: Path, manifest: _Manifest) -> Method:
    """The recorded method with every option as it was recorded, none as today's default."""
    try:
        method = create_method(manifest.method, manifest.config)
    except (UnknownNameError, OptionError, TypeError) as error:
        # The plug-in of an unknown method may not be installed here.
        raise damaged(folder, f"{MANIFEST}: {error}") from error
    present, needed = manifest.backbones.keys(), set(method.needs)
    wrong = None
    if lacking := {f.name for f in dataclasses.fields(method.config)} - manifest.config.keys():
        wrong = f"config lacks {sorted(lacking)}"
    elif not needed <= present <= needed | getattr(method, "optional", {}).keys():
        wrong = f"backbones are {sorted(present)}; expected {sorted(needed)}"
    elif manifest.prompts is not None and "prompts" not in method.takes:
        wrong = f"prompts are not what {manifest.method!r} takes"
    elif manifest.profile not in PROFILES:
        wrong = f"profile {manifest.profile!r} is unknown"
    if wrong:
        raise damaged(folder, f"{MANIFEST}: {wrong}")
    return method


def _own_hash(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return digest_of(json.dumps(rest, sort_keys=True).encode())


def check_target(folder: Path) -> None:
    """Makes sure that nothing but a saved detector would be replaced.

    Raises:
        OptionError: ``folder`` is a file or a link, or holds something that is not ours.
    """
    if folder.is_file() or folder.is_symlink():
        raise OptionError(f"{folder} is a file or a link; give a folder to save the detector to.")
    # Saving replaces the whole folder.
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        ours = name in (MANIFEST, STATE, "shots", originals_files.FOLDER)
        ours = ours or bool(re.fullmatch(THUMBNAIL, name)) or originals_files.is_file_name(name)
        if not ours or (name == MANIFEST and _of_another_program(path)):
            raise OptionError(
                f"{folder} holds {name}, which no saved detector has; give a new or empty folder."
            )


def _of_another_program(manifest: Path) -> bool:
    """Whether a ``detector.json`` is readable and not ours; a damaged one of ours may be mended."""
    try:
        data = json.loads(manifest.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return not (isinstance(data, dict) and {"format", "fmlad"} <= data.keys())
