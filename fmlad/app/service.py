"""From uploaded files to everything the page shows; knows nothing of gradio.

Uploads are decoded here and handed on as arrays: each bad file is reported under the name that it
was uploaded by, the others go on, and no message tells where the server keeps them.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmlad.detector import Detector
from fmlad.errors import FmladError, InvalidImageError, ShotsError
from fmlad.explain import verdict_word
from fmlad.findings import Finding
from fmlad.io.images import load_image, source_name
from fmlad.progress import Progress
from fmlad.schema import VerdictJson
from fmlad.shots import ShotReport

Role = Literal["normal image", "image to judge"]
Key = tuple[str, ...]

MAX_SHOTS = 64
MAX_QUERIES = 32
MAX_FILE_BYTES = 50 * 2**20
PICTURE_SIDE = 1600  # longest side in pixels of pictures sent to a browser
THUMBNAIL_SIDE = 160

_log = logging.getLogger(__name__)
# Warning filters belong to the process: two threads must not exchange them at once.
_warnings_lock = threading.Lock()
# Folders in front of a file name. What follows a colon, a slash or a word is an address or a ratio.
_FOLDERS = re.compile(r"(?<![\w:/\\.~-])(?:~|[A-Za-z]:)?[\\/](?:[^\s\\/'\"]+[\\/])*(?=[^\s\\/'\"])")


@dataclass(frozen=True)
class Picture:
    """One uploaded file that could be read.

    ``pixels`` are uint8 ``(H, W, 3)`` RGB, ``key`` is the hash of the file's bytes, ``remark`` what
    the reader had to say about it (more than one frame), or None.
    """

    name: str
    pixels: npt.NDArray[np.uint8]
    key: str
    remark: str | None = None


@dataclass(frozen=True)
class Problem:
    """One uploaded file that could not be used, and why in a sentence or two."""

    role: Role
    name: str
    reason: str


@dataclass(frozen=True)
class Upload:
    """One uploaded file at a glance: a thumbnail, or why it is unreadable."""

    name: str
    picture: Image.Image | None
    reason: str | None


@dataclass(frozen=True)
class Verdict:
    """What is kept of one query; not its pixels and map, which are large.

    Attributes:
        findings: Their order is the numbering of the boxes.
        data: JSON-ready, as ``Prediction.to_dict``.
        picture: Heat layer and numbered boxes, longest side at most :data:`PICTURE_SIDE`.
        map_file: The anomaly map, float32 ``(H, W)`` at the query's size, as ``.npy``; None if no
            files were asked for.
    """

    name: str
    score: float
    threshold: float | None
    decision: str
    findings: list[Finding]
    notes: list[str]
    data: VerdictJson
    picture: Image.Image
    map_file: Path | None


@dataclass(frozen=True)
class Result:
    """All that comes of one press of the button.

    Attributes:
        error: Why nothing could be judged, or None.
        problems: Files that could not be used, whether or not the rest could.
        verdicts: One per readable query, in order.
        shots: One report per readable shot, in order.
        remarks: On shots that were read with a reservation.
        calibration: How the threshold came about, in one phrase.
        refitted: False where an earlier detector of the same shots was at hand.
    """

    method: str
    profile: str
    error: str | None = None
    problems: list[Problem] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    shots: list[ShotReport] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    calibration: str | None = None
    refitted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, numbers unrounded. ``duplicate_of`` counts readable shots from 0."""
        return {
            "error": self.error,
            "method": self.method,
            "profile": self.profile,
            "calibration": self.calibration,
            "verdicts": [verdict.data for verdict in self.verdicts],
            "shots": [shot.to_dict() for shot in self.shots],
            "remarks": list(self.remarks),
            "problems": [asdict(problem) for problem in self.problems],
        }


@dataclass(frozen=True)
class Check:
    """What a detector will see.

    Attributes:
        lines: A line each.
        error: Why that could not be tried, or None.
    """

    lines: list[str]
    error: str | None = None


class DetectorCache:
    """The last few detectors, by the contents of the shots' files: visitors may share it."""

    def __init__(self, limit: int = 4) -> None:
        self._limit = limit
        self._kept: OrderedDict[Key, Detector] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Detector | None:
        """The detector of this key, which becomes the last to go."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Key, detector: Detector) -> None:
        """Keeps a new detector; the one unused for longest goes where there are too many."""
        with self._lock:
            self._kept[key] = detector
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)


def judge(
    shots: Sequence[str | Path],
    queries: Sequence[str | Path],
    *,
    method: str,
    profile: str,
    detectors: DetectorCache,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Result:
    """Judges some files by others. Whatever is wrong with them is told in the result.

    Detectors are kept in ``detectors``; anomaly maps are written to ``folder``, if there is one.
    """
    problems: list[Problem] = []
    try:
        _check_shots(shots)
        _check_number(queries, MAX_QUERIES, "images to judge", "one or more")
        pictures = _read_shots(shots, problems)
        detector, refitted = _detector(pictures, method, profile, detectors, progress)
        verdicts = []
        for number, path in enumerate(queries, start=1):
            with _reported(path, "image to judge", problems):
                # One at a time: a photograph with its map takes a hundred megabytes.
                verdicts.append(_judge_one(detector, read_file(path), number, folder))
            if progress:
                progress(number, len(queries), "judging images")
        failure = None if verdicts else "None of the images to judge could be judged."
        pairs = zip(detector.shots, pictures, strict=False)  # copies of one picture are one shot
        reports = [replace(report, name=picture.name) for report, picture in pairs]
        remarks = [*(p.remark for p in pictures if p.remark), *detector.notes]
        if len(reports) < len(pictures):
            remarks.append("all normal images are the same picture: they count as one")
        how = detector.calibration.describe()
        return Result(method, profile, failure, problems, verdicts, reports, remarks, how, refitted)
    except Exception as error:
        return Result(method, profile, _message(error), problems)


def check(
    shots: Sequence[str | Path],
    *,
    method: str,
    profile: str,
    detectors: DetectorCache,
    progress: Progress | None = None,
) -> Check:
    """What a detector of these shots will see (``Detector.power_check``), a line each."""
    try:
        _check_shots(shots)
        pictures = _read_shots(shots, [])
        detector, _ = _detector(pictures, method, profile, detectors, progress)
        return Check((detector.power or detector.power_check(progress=progress)).describe())
    except Exception as error:
        return Check([], _message(error))


def _read_shots(shots: Sequence[str | Path], problems: list[Problem]) -> list[Picture]:
    """The normal images that can be read; ``problems`` gets the others."""
    pictures = []
    for path in shots:
        with _reported(path, "normal image", problems):
            pictures.append(read_file(path))
    if not pictures:
        raise ShotsError(
            "None of the normal images could be read. Upload at least one picture of a product "
            "that is as it should be."
        )
    return pictures


def _detector(
    pictures: Sequence[Picture],
    method: str,
    profile: str,
    detectors: DetectorCache,
    progress: Progress | None,
) -> tuple[Detector, bool]:
    """The detector of these shots, and whether it had to be fitted."""
    key = (method, profile, *(picture.key for picture in pictures))
    if (known := detectors.get(key)) is not None:
        return known, False
    pixels = [picture.pixels for picture in pictures]
    detector = Detector.from_shots(pixels, method=method, profile=profile, progress=progress)
    detectors.put(key, detector)
    return detector, True


def _message(error: Exception) -> str:
    """What the page says in place of a result; the cause of a fault of ours goes to the log."""
    if isinstance(error, FmladError):
        return without_folders(str(error))
    _log.error("judging failed", exc_info=error)
    return (
        f"Something went wrong inside fmlad ({type(error).__name__}), which is not your fault; "
        f"the log of the server says more. Another method or profile may work."
    )


def thumbnails(paths: Sequence[str | Path], role: Role) -> list[Upload]:
    """What was uploaded, in order: small pictures of what can be read, and why the rest cannot."""
    uploads = []
    for path in paths[: MAX_SHOTS if role == "normal image" else MAX_QUERIES]:
        try:
            small = shrunk(Image.fromarray(read_file(path).pixels), THUMBNAIL_SIDE)
            uploads.append(Upload(Path(path).name, small, None))
        except FmladError as error:
            uploads.append(Upload(Path(path).name, None, without_folders(str(error))))
    return uploads


def read_file(path: str | Path) -> Picture:
    """Decodes a file; FmladError names it without its folder where it is no picture."""
    name = Path(path).name
    try:
        size = Path(path).stat().st_size
        content = Path(path).read_bytes() if size <= MAX_FILE_BYTES else b""
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InvalidImageError(
            f"{name} could not be opened ({reason}); expected an uploaded file. Upload it again."
        ) from error
    if size > MAX_FILE_BYTES:
        raise InvalidImageError(
            f"{name} has {size / 2**20:.0f} MB; expected at most {MAX_FILE_BYTES // 2**20} MB. "
            f"Scale it down or save it as JPEG."
        )
    # Bytes have no path that a message could tell; it calls them by their length.
    nameless = source_name(content)
    try:
        with _warnings_lock, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            pixels = load_image(content)
    except FmladError as error:
        raise type(error)(str(error).replace(nameless, name)) from error
    remarks = [str(w.message) for w in caught if str(w.message).startswith(nameless)]
    remark = remarks[0].replace(nameless, name) if remarks else None
    return Picture(name, pixels, hashlib.sha256(content).hexdigest(), remark)


def shrunk(picture: Image.Image, side: int) -> Image.Image:
    """The picture itself, or a copy whose longest side is ``side`` pixels."""
    if max(picture.size) <= side:
        return picture
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def without_folders(message: str) -> str:
    """A message with only the last component of every absolute path in it."""
    return _FOLDERS.sub("", message)


@contextmanager
def _reported(path: str | Path, role: Role, problems: list[Problem]) -> Iterator[None]:
    """Adds what is wrong with a file to ``problems`` and goes on after the block."""
    try:
        yield
    except FmladError as error:
        problems.append(Problem(role, Path(path).name, without_folders(str(error))))


def _check_shots(shots: Sequence[object]) -> None:
    advice = "one or more pictures of good products first"
    _check_number(shots, MAX_SHOTS, "normal images", advice)


def _check_number(given: Sequence[object], limit: int, what: str, advice: str) -> None:
    if not given:
        raise ShotsError(f"There are no {what}. Upload {advice}.")
    if len(given) > limit:
        raise ShotsError(
            f"Got {len(given)} {what}; this page takes at most {limit} at a time. "
            f"Use fewer, or fmlad from Python or the command line."
        )


def _judge_one(detector: Detector, picture: Picture, number: int, folder: Path | None) -> Verdict:
    found = detector.predict(picture.pixels)
    notes = [*found.notes, *([picture.remark] if picture.remark else [])]
    found = replace(found, name=picture.name, notes=notes)
    map_file = None
    if folder is not None:
        # Numbered, since two files of one name may come from different folders.
        map_file = folder / f"map-{number}-{Path(picture.name).stem}.npy"
        np.save(map_file, found.anomaly_map)
    said = (found.name, found.score, found.threshold, verdict_word(found.decision))
    overlay = shrunk(found.overlay(), PICTURE_SIDE)
    return Verdict(*said, found.findings, notes, found.to_dict(), overlay, map_file)
