"""Saved detectors: a folder of JSON, safetensors and small pictures, every file with its hash.

``detector.json``     what the detector is, with a hash of every other file and of itself
``state.safetensors`` what its method remembers
``shots/000.jpg``     thumbnails for people; optional
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from fmlad._version import __version__
from fmlad.errors import BackboneMismatchError, CorruptDetectorError, OptionError, UnknownNameError
from fmlad.methods.registry import create_method
from fmlad.objects.rule_checks import restore_rule_checks
from fmlad.pipeline import Fitted
from fmlad.power import PowerCheck
from fmlad.profiles import PROFILES
from fmlad.regions import Regions
from fmlad.scoring.calibration import Calibration
from fmlad.scoring.fusion import fusion_from_dict

if TYPE_CHECKING:
    from fmlad.backbones.roles import Backbone
    from fmlad.methods.protocol import Method

FORMAT = 5  # 1 to 4 were never released: other tensors
MANIFEST, STATE = "detector.json", "state.safetensors"
THUMBNAIL = r"shots/\d{3,}\.jpg"  # as _thumbnail_names writes them
THUMBNAIL_SIDE = 160  # px of the longer side


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
    score: float | None


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
    prompts: dict[str, Any] | None
    power: dict[str, Any] | None
    regions: dict[str, Any] | None
    rule_checks: list[dict[str, Any]]
    state: dict[str, Any]
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


def save(
    folder: Path,
    fitted: Fitted,
    record: Record,
    backbones: Mapping[str, Backbone],
    thumbnails: Sequence[bytes],
    power: PowerCheck | None = None,
) -> Path:
    """Writes a detector beside ``folder`` and renames it into place.

    Args:
        folder: Target.
        fitted: The fitted method.
        record: Arguments of the fit.
        backbones: By role; their fingerprints are saved.
        thumbnails: JPEG of each shot, from :func:`thumbnail`, or none.
        power: What it catches, if that was tried.

    Raises:
        OptionError: ``folder`` holds something else, or cannot be written.
    """
    from safetensors.torch import save as to_bytes

    check_target(folder)
    contents = {STATE: to_bytes(fitted.state.tensors())}
    contents |= zip(_thumbnail_names(len(thumbnails)), thumbnails, strict=True)
    described = fitted.state.meta()
    shots = zip(fitted.shots, record.shot_keys, fitted.shot_scores, strict=True)
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
        shots=[_Shot(name=name, key=key, score=score) for name, key, score in shots],
        prompts=described.pop("prompts", None),
        power=None if power is None else power.to_dict(),
        regions=None if fitted.regions is None else fitted.regions.to_dict(),
        rule_checks=[check.to_dict() for check in fitted.rule_checks],
        state=described,
        files={name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
        sha256="",
    )
    # Through JSON first, so that what is hashed is what will be read (tuples become lists).
    written = json.loads(json.dumps(manifest.model_dump()))
    written["sha256"] = _own_hash(written)
    # Keys as they come: the order of a prompt set's parts is the number of their classes.
    contents[MANIFEST] = json.dumps(written, indent=1).encode()
    try:
        _replace(folder, contents)
    except (OSError, ValueError) as error:
        raise OptionError(f"The detector could not be written to {folder}: {error}.") from error
    return folder


def read(folder: Path) -> Saved:
    """Reads and verifies a saved detector.

    Raises:
        CorruptDetectorError: Something is missing, changed or unknown; the message names it.
    """
    if not folder.exists() and _previous(folder).exists():
        _previous(folder).rename(folder)  # a save was killed between its two renames
    if not (folder / MANIFEST).exists() and not (folder / STATE).exists():
        raise CorruptDetectorError(
            f"There is no saved detector at {folder}; expected a folder with {MANIFEST}, as "
            f"`fmlad fit` and Detector.save write it."
        )
    manifest = _read_manifest(folder)
    names = _thumbnail_names(len(manifest.shots))
    if beyond := manifest.files.keys() - {STATE, *names}:
        raise _corrupt(folder, f"{MANIFEST} lists files {sorted(beyond)}, which no detector has")
    if manifest.files.keys() not in ({STATE}, {STATE, *names}):
        raise _corrupt(folder, f"{MANIFEST} does not list its own files")
    contents = {name: _bytes(folder, name) for name in manifest.files}
    for name, digest in manifest.files.items():
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise _corrupt(folder, f"{name} is not what was saved (wrong hash)")
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


def restore(saved: Saved, device: str) -> Fitted:
    """Builds the fitted method of a verified folder.

    Raises:
        CorruptDetectorError: The state does not fit the method.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    manifest = saved.manifest
    try:
        prompts = {} if manifest.prompts is None else {"prompts": manifest.prompts}
        state = saved.method.restore(load(saved.state), {**manifest.state, **prompts}, device)
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
        regions = None if manifest.regions is None else Regions.from_dict(manifest.regions)
        rules = restore_rule_checks(manifest.rule_checks)
        return Fitted(saved.method, state, fusion, calibration, names, scores, regions, rules)
    except SafetensorError as error:
        raise _corrupt(saved.folder, f"{STATE} is unreadable ({error})") from error
    except CorruptDetectorError as error:
        raise _corrupt(saved.folder, str(error).rstrip(".")) from error


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
        data = json.loads(_bytes(folder, MANIFEST))
    except (ValueError, RecursionError) as error:
        raise _corrupt(folder, f"{MANIFEST} is not JSON ({error})") from error
    if not isinstance(data, dict) or "format" not in data:
        raise _corrupt(folder, f"{MANIFEST} has no format version")
    if data["format"] != FORMAT:
        raise _corrupt(
            folder,
            f"its format is {data['format']!r}, and this is fmlad {__version__}, which reads "
            f"format {FORMAT}; load it with the version that saved it ({data.get('fmlad')!r})",
        )
    try:
        manifest = _Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _corrupt(folder, f"{MANIFEST}: {place}: {first['msg']}") from error
    if _own_hash(data) != manifest.sha256:
        raise _corrupt(folder, f"{MANIFEST} was changed after saving (wrong hash)")
    return manifest


def _method(folder: Path, manifest: _Manifest) -> Method:
    """The recorded method with every option as it was recorded, none as today's default."""
    try:
        method = create_method(manifest.method, manifest.config)
    except (UnknownNameError, OptionError, TypeError) as error:
        # The plug-in of an unknown method may not be installed here.
        raise _corrupt(folder, f"{MANIFEST}: {error}") from error
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
        raise _corrupt(folder, f"{MANIFEST}: {wrong}")
    return method


def _own_hash(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _bytes(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise _corrupt(folder, f"{name} cannot be read ({error.strerror})") from error


def _corrupt(folder: Path, what: str) -> CorruptDetectorError:
    return CorruptDetectorError(
        f"The saved detector in {folder} is damaged: {what}. Restore the folder from a copy, or "
        f"fit the detector again."
    )


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
        ours = name in (MANIFEST, STATE, "shots") or re.fullmatch(THUMBNAIL, name)
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


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _replace(folder: Path, contents: Mapping[str, bytes]) -> None:
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
    try:
        for name, data in contents.items():
            path = fresh / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        fresh.chmod(0o755)  # mkdtemp makes it private; a saved detector is an ordinary folder
        previous = _previous(folder)
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            folder.rename(previous)
        fresh.rename(folder)
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def thumbnail(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A small JPEG of a shot, ``uint8 (H, W, 3)``, for people to look at."""
    import io

    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
