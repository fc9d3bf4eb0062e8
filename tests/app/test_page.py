"""The page as its users meet it: a browser, and programs through gradio_client."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import fmlad
from fmlad.errors import OptionError, UnknownNameError
from tests.app.pictures import write_plates

pytest.importorskip("gradio")
pytestmark = pytest.mark.browser  # a server each; the service's tests are the quick ones

SHOTS = ("good-1", "good-2", "good-3")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_plates(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def expected(files: dict[str, Path]) -> float:
    detector = fmlad.Detector.from_shots([files[name] for name in SHOTS], profile="builtin")
    return detector.predict(files["scratched"]).score


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    from fmlad.app.page import HOST, build_page, launch_options

    page = build_page("builtin")
    _, url, _ = page.launch(
        server_name=HOST,
        server_port=_free_port(),
        prevent_thread_lock=True,
        quiet=True,
        **launch_options(),
    )
    yield url
    page.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    named = os.environ.get("FMLAD_CHROMIUM")
    found = named or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    playwright = importlib.util.find_spec("playwright")
    if found is None or playwright is None:
        missing = "the package playwright" if playwright is None else "chromium"
        reason = f"needs {missing}; another chromium can be named by $FMLAD_CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # No sandbox: containers that run tests seldom allow chromium its own.
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        opened = driver.chromium.launch(executable_path=found, headless=True, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: Any, address: str) -> Iterator[Any]:
    """The page in a browser; at the end, no request may have gone elsewhere."""
    opened = browser.new_page(viewport={"width": 1360, "height": 900})
    opened.set_default_timeout(120_000)
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("websocket", lambda connection: asked.append(connection.url))
    opened.goto(address, wait_until="domcontentloaded")
    opened.wait_for_selector("#judge")
    yield opened
    opened.close()
    assert asked
    abroad = [url for url in asked if urlsplit(url).hostname not in (None, "127.0.0.1")]
    assert abroad == []


def _upload(tab: Any, where: str, paths: list[Path]) -> None:
    tab.locator(f"#{where} input[type=file]").first.set_input_files([str(p) for p in paths])
    tab.wait_for_selector(f"#{where}-seen figure")


def test_from_uploads_to_verdict(
    tab: Any, address: str, files: dict[str, Path], expected: float
) -> None:
    assert "Nothing judged yet" in tab.inner_text("#verdict")
    _upload(tab, "shots", [*(files[name] for name in SHOTS), files["letter"]])
    assert tab.locator("#shots-seen img").count() == 3
    assert "letter.jpg is text" in tab.inner_text("#shots-seen")
    _upload(tab, "queries", [files["scratched"], files["torn"], files["fine"]])
    tab.click("#judge")
    tab.wait_for_selector("#overlays img")

    verdict = tab.inner_text("#verdict")
    assert "scratched.png" in verdict
    assert "anomalous" in verdict
    assert f"{expected:.3f}" in verdict
    problems = tab.inner_text("#problems")
    assert "letter.jpg (normal image) is text" in problems
    assert "torn.png (image to judge) is a damaged or incomplete PNG" in problems
    details = tab.inner_text("#details")
    assert f"score {expected:.3f} is above the threshold" in details
    assert "defect" in details
    tab.get_by_text("Normal images, each judged by the others").click()
    tab.wait_for_selector("#shots-table table")
    for name in SHOTS:
        assert f"{name}.png" in tab.inner_text("#shots-table")

    exact = json.loads(_download(tab, "verdicts.json"))
    assert exact["verdicts"][0]["score"] == pytest.approx(expected, abs=1e-6)
    assert _download(tab, "map-1-scratched.npy").startswith(b"\x93NUMPY")

    # Another picture, its own details.
    tab.locator("#overlays .thumbnail-item").nth(1).click()
    tab.wait_for_function("document.querySelector('#details').innerText.includes('fine.png')")

    shown = tab.content()
    assert str(files["torn"].parent) not in shown
    assert "Traceback" not in shown


def _download(tab: Any, name: str) -> bytes:
    link = tab.locator(f"#files a[download='{name}']").first.get_attribute("href")
    body: bytes = tab.request.get(link).body()
    return body


def test_what_is_missing_is_said_in_place(tab: Any, files: dict[str, Path]) -> None:
    tab.click("#judge")
    tab.wait_for_selector("#verdict [role=alert]")
    assert "no normal images" in tab.inner_text("#verdict")
    tab.wait_for_selector("#judge:not([disabled])")
    _upload(tab, "shots", [files["letter"]])
    _upload(tab, "queries", [files["fine"]])
    tab.click("#judge")
    tab.wait_for_selector("#problems")
    assert "None of the normal images could be read" in tab.inner_text("#verdict")
    assert "letter.jpg" in tab.inner_text("#problems")
    tab.wait_for_selector("#judge:not([disabled])")


def test_the_page_says_what_it_will_see(tab: Any, files: dict[str, Path]) -> None:
    tab.click("#check")
    tab.wait_for_selector("#power [role=alert]")
    assert "no normal images" in tab.inner_text("#power")
    _upload(tab, "shots", [files[name] for name in SHOTS])
    tab.click("#check")
    tab.wait_for_selector("#power li", timeout=120_000)
    assert "scratches" in tab.inner_text("#power").lower()


def test_client_gets_the_exact_score(address: str, files: dict[str, Path], expected: float) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(address, verbose=False, analytics_enabled=False)
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/judge"]
    result = client.predict(
        [gradio_client.handle_file(files[name]) for name in (*SHOTS, "torn")],
        [gradio_client.handle_file(files["scratched"])],
        "banks",
        "builtin",
        api_name="/judge",
    )
    assert result["error"] is None
    (verdict,) = result["verdicts"]
    assert verdict["score"] == pytest.approx(expected, abs=1e-6)
    assert verdict["name"] == "scratched.png"
    assert verdict["findings"][0]["kind"] == "defect"
    assert [problem["name"] for problem in result["problems"]] == ["torn.png"]
    assert "/" not in json.dumps(result["problems"])


def test_files_of_the_server_stay_there(address: str, files: dict[str, Path]) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(address, verbose=False, analytics_enabled=False)
    # A path that was never uploaded, said to have been.
    theirs = {"path": str(files["good-1"]), "meta": {"_type": "gradio.FileData"}}
    bare = {"path": str(files["good-1"])}
    for smuggled in (theirs, bare):
        answer = _call(address, smuggled)
        assert "good-1" not in answer
    assert client.predict([], [], "banks", "builtin", api_name="/judge")["error"]


def _call(address: str, file: dict[str, Any]) -> str:
    import httpx

    body = {"data": [[file], [file], "banks", "builtin"]}
    started = httpx.post(f"{address}gradio_api/call/judge", json=body)
    if started.status_code != 200:
        return started.text
    event = started.json()["event_id"]
    return httpx.get(f"{address}gradio_api/call/judge/{event}", timeout=60).text


def test_taken_port_and_unknown_profile_are_plain_errors(address: str) -> None:
    from fmlad.app import build_page, launch

    with pytest.raises(UnknownNameError, match="profile"):
        build_page("bultin")
    with pytest.raises(OptionError, match="Choose another port"):
        launch("builtin", port=urlsplit(address).port)


def test_demo_of_a_hosted_space_builds() -> None:
    import runpy

    demo = Path(__file__).parents[2] / "demos" / "app.py"
    built = runpy.run_path(str(demo), run_name="space")
    assert type(built["demo"]).__name__ == "Blocks"
