from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fmlad
from fmlad.app import service, words
from fmlad.app.service import DetectorCache, Problem, Result, judge
from fmlad.detector import Detector
from fmlad.errors import InvalidImageError, WeightsUnavailableError
from fmlad.shots import ShotReport
from tests.app.pictures import write_plates

HOW = {"method": "banks", "profile": "builtin"}
SHOTS = ("good-1", "good-2", "good-3")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_plates(tmp_path_factory.mktemp("uploads"))


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("maps")


@pytest.fixture(scope="module")
def result(files: dict[str, Path], maps: Path) -> Result:
    return judge(
        [files["good-1"], files["torn"], files["good-2"], files["letter"], files["good-3"]],
        [files["scratched"], files["torn"], files["fine"]],
        detectors=DetectorCache(),
        folder=maps,
        **HOW,
    )


def _everything_said(result: Result) -> str:
    said = [
        json.dumps(result.to_dict()),
        words.say("problems", result.problems),
        words.say("shots", result),
    ]
    said += [words.say("headline", result)]
    said += [words.say("details", verdict, True) for verdict in result.verdicts]
    return "\n".join(said)


def test_scores_are_those_of_the_detector(
    files: dict[str, Path], result: Result, maps: Path
) -> None:
    detector = fmlad.Detector.from_shots([files[name] for name in SHOTS], profile="builtin")
    assert result.error is None
    for verdict, name in zip(result.verdicts, ("scratched", "fine"), strict=True):
        expected = detector.predict(files[name])
        assert verdict.name == f"{name}.png"
        assert verdict.score == pytest.approx(expected.score, abs=1e-6)
        assert verdict.threshold == pytest.approx(expected.threshold, abs=1e-6)
        assert verdict.data["score"] == verdict.score  # not rounded for the file either
        assert [f.box for f in verdict.findings] == [f.box for f in expected.findings]
        assert verdict.picture.size == (128, 96)
        assert verdict.map_file is not None
        saved = np.load(verdict.map_file, allow_pickle=False)
        assert saved.dtype == np.float32
        np.testing.assert_allclose(saved, expected.anomaly_map, atol=1e-6)
    for shot, expected_shot in zip(result.shots, detector.shots, strict=True):
        assert shot.score == pytest.approx(expected_shot.score, abs=1e-6)


def test_the_scratch_is_found_where_it_is(result: Result) -> None:
    scratched, fine = result.verdicts
    assert (scratched.decision, fine.score < scratched.score) == ("anomalous", True)
    box = scratched.findings[0].box
    assert box is not None
    assert box[0] < 66 < box[2]
    assert box[1] < 49 < box[3]


def test_bad_files_are_told_in_place_and_the_rest_goes_on(result: Result) -> None:
    assert [(p.role, p.name) for p in result.problems] == [
        ("normal image", "torn.png"),
        ("normal image", "letter.jpg"),
        ("image to judge", "torn.png"),
    ]
    assert "letter.jpg is text" in result.problems[1].reason
    assert [shot.name for shot in result.shots] == [f"{name}.png" for name in SHOTS]


def test_no_folder_of_the_server_is_told(result: Result, files: dict[str, Path]) -> None:
    said = _everything_said(result)
    for parent in files["torn"].parents:
        assert parent == Path(parent.anchor) or str(parent) not in said


def test_json_is_plain(result: Result) -> None:
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["verdicts"][0]["score"] == result.verdicts[0].score
    assert {"error", "method", "profile", "calibration", "shots", "problems"} <= data.keys()


def test_numbers_of_findings_are_those_of_the_boxes(result: Result) -> None:
    html = words.say("details", result.verdicts[0], False)
    for number, finding in enumerate(result.verdicts[0].findings, start=1):
        assert f"<td>{number}</td><td>{finding.kind}</td>" in html
        assert words.say("place", finding.box) in html


@pytest.mark.parametrize(
    ("shots", "queries", "expected"),
    [
        ((), ("fine",), "no normal images"),
        (("good-1",), (), "no images to judge"),
        (("torn", "letter"), ("fine",), "None of the normal images"),
        (("good-1",), ("torn",), "None of the images to judge"),
        (("good-1",) * 65, ("fine",), "at most 64"),
    ],
)
def test_nothing_to_do_is_one_clear_message(
    files: dict[str, Path], shots: tuple[str, ...], queries: tuple[str, ...], expected: str
) -> None:
    result = judge(
        [files[name] for name in shots],
        [files[name] for name in queries],
        detectors=DetectorCache(),
        **HOW,
    )
    assert result.error is not None
    assert expected in result.error
    assert result.verdicts == []
    assert expected in words.say("headline", result)


def test_unknown_method_and_missing_weights_are_told(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ([files["good-1"]], [files["fine"]])
    wrong = judge(*given, method="bonks", profile="builtin", detectors=DetectorCache())
    assert "Did you mean 'banks'?" in str(wrong.error)

    def no_weights(*_: object, **__: object) -> Detector:
        raise WeightsUnavailableError("No /home/someone/.cache/hub/model here; use 'builtin'.")

    monkeypatch.setattr(Detector, "from_shots", no_weights)
    told = judge(*given, detectors=DetectorCache(), **HOW)
    assert told.error == "No model here; use 'builtin'."

    def broken(*_: object, **__: object) -> Detector:
        raise RuntimeError("secret")

    monkeypatch.setattr(Detector, "from_shots", broken)
    told = judge(*given, detectors=DetectorCache(), **HOW)
    assert "RuntimeError" in str(told.error)
    assert "secret" not in str(told.error)


def test_one_bad_query_at_judging_time_does_not_stop_the_rest(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Detector.predict

    def picky(self: Detector, image: object) -> object:
        if isinstance(image, np.ndarray) and image[49, 66, 1] < 100:
            raise InvalidImageError("too red")
        return honest(self, image)  # type: ignore[arg-type]

    monkeypatch.setattr(Detector, "predict", picky)
    result = judge(
        [files["good-1"], files["good-2"]],
        [files["scratched"], files["fine"]],
        detectors=DetectorCache(),
        **HOW,
    )
    assert [verdict.name for verdict in result.verdicts] == ["fine.png"]
    assert result.problems == [Problem("image to judge", "scratched.png", "too red")]
    assert "<b>scratched.png</b> (image to judge) was left out: too red" in words.say(
        "problems", result.problems
    )


def test_same_shots_are_not_fitted_again(files: dict[str, Path]) -> None:
    detectors = DetectorCache()
    seen: list[str] = []

    def ask(*shots: str) -> bool:
        return judge(
            [files[name] for name in shots],
            [files["fine"]],
            detectors=detectors,
            progress=lambda done, total, what: seen.append(what),
            **HOW,
        ).refitted

    assert ask("good-1", "good-2")
    assert "judging images" in seen
    assert len(set(seen)) > 1  # fitting reports its steps, too
    assert not ask("good-1", "good-2")
    assert ask("good-2", "good-3")


def test_detector_cache_is_bounded_and_forgets_the_unused() -> None:
    cache = DetectorCache(limit=2)
    one, two, three = (object.__new__(Detector) for _ in range(3))
    cache.put(("1",), one)
    cache.put(("2",), two)
    assert cache.get(("1",)) is one
    cache.put(("3",), three)
    assert len(cache) == 2
    assert cache.get(("2",)) is None
    assert cache.get(("1",)) is one


def test_odd_shots_are_marked(files: dict[str, Path]) -> None:
    result = judge(
        [files["good-1"], files["good-2"], files["good-1"]],
        [files["fine"]],
        detectors=DetectorCache(),
        **HOW,
    )
    assert result.shots[2].duplicate_of == 0
    assert "Same picture as no. 1 (good-1.png)" in words.say("shots", result)
    odd = Result("banks", "builtin", shots=[ShotReport("a", 3.0, None, True)])
    assert 'class="odd"' in words.say("shots", odd)
    assert "is it really normal?" in words.say("shots", odd)


def test_names_cannot_bring_markup() -> None:
    name = '<img src="http://evil.example/x">.png'
    said = [
        words.say("problems", [Problem("normal image", name, f"{name} is text")]),
        words.say("shots", Result("banks", "builtin", shots=[ShotReport(name, None, None, False)])),
        words.say("strip", [service.Upload(name, None, f"{name} is text")]),
        words.say("headline", Result("banks", "builtin", error=name)),
    ]
    assert all("<img" not in html and "&lt;img" in html for html in said)


def test_frames_are_remarked_on(tmp_path: Path, files: dict[str, Path]) -> None:
    frames = [Image.open(files[name]) for name in ("good-1", "good-2")]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    picture = service.read_file(tmp_path / "two.tif")
    assert picture.remark == "two.tif holds 2 frames; only the first is used."


def test_a_large_file_is_told_like_any_other(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_FILE_BYTES", 2**20)
    (tmp_path / "large.png").write_bytes(bytes(3 * 2**20))
    seen = service.thumbnails([tmp_path / "large.png", files["fine"]], "image to judge")
    assert str(seen[0].reason).startswith("large.png has 3 MB; expected at most 1 MB.")
    assert seen[1].picture is not None


def test_thumbnails_keep_the_order_and_say_why(files: dict[str, Path], tmp_path: Path) -> None:
    seen = service.thumbnails(
        [files["good-1"], files["torn"], tmp_path / "gone.png"], "normal image"
    )
    assert [one.name for one in seen] == ["good-1.png", "torn.png", "gone.png"]
    assert [one.picture is None for one in seen] == [False, True, True]
    assert seen[2].reason is not None
    assert seen[2].reason.startswith("gone.png could not be opened (No such file or directory)")
    html = words.say("strip", seen)
    assert html.index("good-1.png") < html.index("unusable") < html.index("gone.png")
    assert words.say("strip", []) == ""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("/tmp/gradio/abc/x.png is text", "x.png is text"),
        ("'/home/u/.cache/hub/blob' is missing", "'blob' is missing"),
        ("~/.cache/hub/x is full", "x is full"),
        (r"C:\Users\me\x.png is text", "x.png is text"),
        ("see https://example.org/a/b for more", "see https://example.org/a/b for more"),
        ("facebook/dinov2-small, a ratio of 3/4", "facebook/dinov2-small, a ratio of 3/4"),
    ],
)
def test_without_folders(message: str, expected: str) -> None:
    assert service.without_folders(message) == expected


@pytest.mark.slow
def test_gradio_is_imported_only_for_the_page() -> None:
    code = "import sys, fmlad, fmlad.app, fmlad.app.service; sys.exit('gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_page_offers_no_method_that_it_has_no_prompts_for() -> None:
    pytest.importorskip("gradio")
    from fmlad.app.page import build_page

    config = build_page("builtin").get_config_file()
    (choices,) = (
        [value for _, value in part["props"]["choices"]]
        for part in config["components"]
        if part["props"].get("label") == "Method"
    )
    assert "banks" in choices
    assert "clip-lad" not in choices


def test_copies_of_one_picture_are_said_to_count_as_one(files: dict[str, Path]) -> None:
    shots = [files["good-1"], files["good-1"]]
    result = judge(shots, [files["fine"]], detectors=DetectorCache(), **HOW)
    assert result.error is None
    assert len(result.shots) == 1
    assert any("count as one" in remark for remark in result.remarks)
    assert any("one normal image only" in remark for remark in result.remarks)


def test_what_it_will_see_is_told_a_line_a_kind(files: dict[str, Path]) -> None:
    detectors = DetectorCache()
    shots = [files["good-1"], files["good-2"]]
    found = service.check(shots, detectors=detectors, **HOW)
    assert found.error is None
    assert any("scratches" in line for line in found.lines)
    assert "scratches" in words.say("power", found).lower()
    assert len(detectors) == 1  # the one that will judge
    again = service.check(shots, detectors=detectors, **HOW)
    assert again == found
    wrong = service.check([], detectors=detectors, **HOW)
    assert wrong.lines == []
    assert "no normal images" in str(wrong.error)
    assert "no normal images" in words.say("power", wrong)
