"""The report of a results folder: figures as summarised, names as text, nothing from outside."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.suite_runs import condensed
from fmlad.bench import examples as examples_module
from fmlad.bench import tables
from fmlad.bench.examples import examples_of, pick, typical
from fmlad.bench.groups import groups
from fmlad.bench.model import ALL, Cell, Entry, ImageRecord, Task
from fmlad.bench.report import write_report
from fmlad.bench.results import load, run
from fmlad.bench.summary import Figure, Line, aufc, overall, summarise
from fmlad.bench.worker import LocalEngine
from fmlad.commands.main import cli
from fmlad.errors import CorruptResultsError, OptionError
from tests.bench.report_support import BAD_NAME, LOCO, entry, result, write_results
from tests.bench.support import fake, plan_of

VOID = {"meta", "img", "br", "line", "rect"}
OPEN_ENDED = {"li", "dt", "dd", "td", "th", "tr", "thead", "tbody", "p"}  # HTML closes them itself


class PageParser(HTMLParser):
    """Follows the tags and collects tables as text."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.faults: list[str] = []
        self.addresses: list[str] = []
        self.scripts = 0
        self.ids: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.scripts += tag == "script"
        self.faults += [f"{tag} {name}" for name in given if name.startswith("on")]
        self.addresses += [given[name] or "" for name in ("src", "href", "xlink:href", "srcset")
                           if name in given]  # fmt: skip
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag == "small":
            self.handle_data(" ")
        if tag not in VOID and tag not in OPEN_ENDED:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.faults += [tag] * (tag not in VOID)

    def handle_endtag(self, tag: str) -> None:
        if tag in OPEN_ENDED:
            return
        if not self.stack or self.stack.pop() != tag:
            self.faults.append(f"</{tag}> does not close what is open")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if "table" in self.stack and self.tables[-1] and self.tables[-1][-1]:
            cells = self.tables[-1][-1]
            cells[-1] = " ".join(f"{cells[-1]}{data}".split()) + " " * data.endswith(" ")


def read(page: Path) -> PageParser:
    reader = PageParser()
    reader.feed(page.read_text(encoding="utf-8"))
    reader.close()
    assert reader.stack == []
    return reader


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("results")
    write_results(home)
    return home


@pytest.fixture(scope="module")
def page(folder: Path) -> PageParser:
    return read(write_report(folder, command=f"fmlad bench run {BAD_NAME}")[0])


def test_the_page_is_well_formed_and_needs_nothing_from_outside(
    folder: Path, page: PageParser
) -> None:
    assert page.faults == []
    assert page.scripts == 0
    for address in page.addresses:
        assert address.startswith(("#", "data:image/jpeg;base64,")), address
    assert {a.removeprefix("#") for a in page.addresses if a.startswith("#")} <= set(page.ids)
    source = (folder / "report.html").read_text()
    assert not re.search(r"https?://|url\(|@import", source)


def test_every_name_is_text(folder: Path, page: PageParser) -> None:
    source = (folder / "report.html").read_text()
    assert "<script" not in source
    assert "<b><script" not in source
    text = "".join(page.text)
    for part in (f"fmlad bench run {BAD_NAME}", f"No weights <b>{BAD_NAME}</b>.", BAD_NAME):
        assert part in text
    table = (folder / "report.md").read_text()
    assert "<script" not in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    bars = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert len(bars) == 1, "a name with a bar breaks no row"


def shown(line: Line, name: str) -> str:
    figure = line.figures[name]
    text = f"{100 * figure.mean:.1f}"
    if name in tables.UNJUDGED:
        return text
    text += f" ± {100 * figure.std:.1f}" if figure.std is not None else ""
    if figure.low is None or figure.high is None:
        return text
    return f"{text} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def test_the_figures_are_those_of_the_summary(folder: Path, page: PageParser) -> None:
    results = load(folder)
    lines = sorted(overall(summarise(results), "mvtec_loco"), key=lambda line: line.shots)
    assert [(line.entry.label, line.shots, line.tasks) for line in lines] == [
        (label, k, 5) for k in (1, 4) for label in ("banks", BAD_NAME)
    ]
    heading, *rows = page.tables[0]
    names = [name for name in tables.FIGURES if name != "spro@0.05"]  # the mean of kinds is there
    assert heading == ["entry", "k", "seeds", *(tables.FIGURES[name] for name in names)]
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        assert row[0] == f"{line.entry.label} no category prompts 0 normals beyond k"
        assert row[1:3] == [str(line.shots), str(len(line.seeds))]
        assert row[3:] == [shown(line, name) for name in names]


def test_the_floor_stands_beside_f1(page: PageParser) -> None:
    heading, *rows = page.tables[0]
    assert heading.index("F1 floor") == heading.index("F1-max") + 1
    # Twelve good, twelve logical, twelve structural images: p = 2/3, 2p / (1 + p) = 0.8.
    assert {row[heading.index("F1 floor")] for row in rows} == {"80.0"}


def test_whoever_is_short_of_tasks_is_compared_on_its_own_tasks(
    folder: Path, page: PageParser
) -> None:
    _, mine = groups(load(folder))
    assert not mine.whole
    assert mine.short == ("juice_bottle", "pushpins", "screw_bag")
    rows = page.tables[1][1:]
    assert len(rows) == len(mine.lines) == 6
    assert rows[2][0] == "clip-lad, category prompts category prompts 7 normals beyond k"
    text = "".join(page.text)
    assert "Over juice_bottle, pushpins and screw_bag alone" in text
    assert "No mean for clip-lad, category prompts (k = 1, 4): it has finished 3 of the 5" in text


@pytest.mark.usefixtures("page")
def test_aufc_is_given_where_its_four_numbers_of_shots_are(folder: Path, tmp_path: Path) -> None:
    assert "AUFC" not in (folder / "report.html").read_text()
    write_results(tmp_path, shots=(1, 2, 4, 8), categories=LOCO[:2], failing=False)
    area = aufc(summarise(load(tmp_path), draws=0), "banks", "mvtec_loco")
    assert area is not None
    page = write_report(tmp_path, examples=0)[0].read_text()
    assert f"VAND 2025 challenge: banks {100 * area:.1f}; " in page


def test_the_names_of_figures_are_those_of_the_metrics() -> None:
    from fmlad.metrics.summary import image_metrics, pixel_metrics

    heat = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    good, bad = np.zeros((0, 8, 8), bool), heat[None] > 0.8
    names = {
        *image_metrics(["good", "logical", "structural"], [0.1, 0.5, 0.9]),
        *pixel_metrics(
            [heat, heat, heat],
            [good, bad, bad],
            [(), *((float(bad.sum()),),) * 2],
            ["good", "logical", "structural"],
        ),
    }
    assert set(tables.FIGURES) <= names


def test_the_command_line_writes_it(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "r", ignore=shutil.ignore_patterns("report.*"))
    done = CliRunner().invoke(
        cli, ["bench", "report", str(tmp_path / "r"), "--examples", "0", "--json"]
    )
    assert done.exit_code == 0, done.output
    for path in json.loads(done.stdout).values():
        assert Path(path).is_file()
    assert "Best and worst images" not in (tmp_path / "r" / "report.html").read_text()


def test_the_best_of_each_number_of_shots_is_bold() -> None:
    def line(label: str, shots: int, **figures: float) -> Line:
        given = {name: Figure(value) for name, value in figures.items()}
        return Line(entry(label), "d", "", 2, shots, (0,), 9, given)

    table = tables.results_table(
        [
            line("a", 4, auroc_micro=0.9, fpr95=0.30, f1_floor=0.8),
            line("b", 4, auroc_micro=0.90001, fpr95=0.20, f1_floor=0.8),
            line("c", 4, auroc_micro=0.8, f1_floor=0.8),
            line("a", 1, auroc_micro=0.7, fpr95=0.40, f1_floor=0.8),
            line("a", ALL, auroc_micro=0.99, fpr95=0.10, f1_floor=0.8),
        ]
    )
    # By number of shots, all images last; columns: AUROC, floor, FPR.
    marks = [[[item.best for item in row[3:]] for row in group] for group in table.groups]
    assert [group[0][1].text for group in table.groups] == ["1", "4", "all"]
    assert marks[0] == marks[2] == [[False] * 3]  # nobody to be better than
    # What reads the same is marked alike, lower is better for false alarms, the floor is nobody's.
    assert marks[1] == [[True, False, False], [True, False, True], [False] * 3]


def test_published_figures_stand_apart(page: PageParser) -> None:
    source = "".join(page.text)
    assert "Published, not run here" in source
    assert "sPRO@0.05 with 1, 4 shots: nobody is known to have published any." in source
    published = page.tables[2]
    assert published[0][:4] == ["method", "told of the category", "source", "k"]
    core = next(row for row in published if row[0] == "ObjectCore")
    assert core[1:4] == ["none", "[P] ObjectCore, WACV 2026, abstract", "4"]
    assert "80.8" in core


def test_markdown_has_results_and_published_figures_in_one_table(
    folder: Path, page: PageParser
) -> None:
    text = (folder / "report.md").read_text()
    lines = [line for group in groups(load(folder)) for line in group.lines]
    rows = [line for line in text.splitlines() if line.startswith("| mvtec")]
    assert len([row for row in rows if "published" not in row]) == len(lines) == 10
    first = next(row for row in rows if "| banks |" in row)
    for name in tables.FIGURES:
        expected = shown(lines[0], name).replace("[", "\\[").replace("]", "\\]")
        assert f"| {expected} |" in first
    assert any("ObjectCore, published \\[P\\]" in row and "| 80.8 |" in row for row in rows)


def test_failures_are_told_once_with_their_reason(folder: Path, page: PageParser) -> None:
    table = page.tables[-1]
    assert table[0] == ["entry", "cells", "why"]
    cells = "2 cells of mvtec_loco/screw_bag; k 1, 4; seeds 2"
    assert table[1:] == [[BAD_NAME, cells, f"No weights <b>{BAD_NAME}</b>."]]
    assert "failed: " in (folder / "report.md").read_text()


def test_a_dataset_made_here_has_no_published_figures(tmp_path: Path) -> None:
    write_results(tmp_path, dataset="scenes", categories=("pushpins",), failing=False)
    page, table = write_report(tmp_path, examples=0)
    assert "No published figures: nobody has published on this dataset" in page.read_text()
    assert "- no published figures for scenes" in table.read_text()


def test_a_run_that_has_only_failed_has_a_report(pictures: Path, tmp_path: Path) -> None:
    (pictures / "flag").touch()
    plan = plan_of(pictures, fake("f", refuses_while=str(pictures / "flag")))
    run(plan, tmp_path / "r")
    reader = read(write_report(tmp_path / "r")[0])
    assert "4 cells of board; k 1, 3; seeds 0, 1" in "".join(reader.text)


def test_wrong_folders_and_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="holds no results"):
        write_report(tmp_path)
    with pytest.raises(OptionError, match="0 or more"):
        write_report(folder, examples=-1)
    write_results(tmp_path / "r", failing=False)
    next((tmp_path / "r" / "cells").glob("*.csv")).write_text("spoilt")
    with pytest.raises(CorruptResultsError):
        write_report(tmp_path / "r")


def row(name: str, kind: str, score: float, threshold: float | None = None) -> ImageRecord:
    return ImageRecord(name, kind, None, score, threshold, 0.1, True)  # type: ignore[arg-type]


def test_worst_come_before_best_and_no_image_twice() -> None:
    rows = [row("g1", "good", 1), row("g2", "good", 5), row("a1", "logical", 2),
            row("a2", "structural", 9), row("a3", "anomalous", 4)]  # fmt: skip
    assert [(role.split(", no")[0], r.name) for role, r in pick(rows, 9)] == [
        ("the least suspected anomaly", "a1"),
        ("the most suspected normal image", "g2"),
        ("the most suspected anomaly", "a2"),
        ("the least suspected normal image", "g1"),
        ("the least suspected anomaly", "a3"),
    ]
    # Where each image is judged by a threshold of its own, scores alone do not tell.
    pairs = [row("p", "anomalous", 3, 3.0), row("q", "anomalous", 2, 1.0)]
    assert [r.name for _, r in pick(pairs, 1)] == ["p"]


def test_examples_are_of_the_task_in_the_middle() -> None:
    cells = [
        result(Cell(entry(label), Task("scenes", "/nowhere", task), k, seed), skill)
        for task, skill in (("easy", 9.0), ("middling", 1.0), ("hard", 0.0))
        for label in ("a", "b")
        for k in (1, 4, ALL)
        for seed in (3, 5)
    ]
    chosen = [one.cell for one in typical(cells)]
    assert {(c.task.category, c.shots, c.seed) for c in chosen} == {("middling", 4, 3)}
    assert [c.entry.label for c in chosen] == ["a", "b"]
    assert typical([]) == []


def test_images_are_judged_again_and_shown(pictures: Path, tmp_path: Path) -> None:
    method = Entry("patch", "banks", "builtin", {"banks": ["patch"], "registration": False})
    plan = plan_of(pictures, method, fake("peer"), shots=(3,), seeds=(1,))
    run(plan, tmp_path / "r")
    shown = {cell.cell.entry.label: examples_of(cell, 4) for cell in load(tmp_path / "r")}
    for one in shown.values():
        assert one.missing == ""
        assert len(one.examples) == 4
        assert all(example.same for example in one.examples)
    worst = next(e for e in shown["patch"].examples if e.role == "the most suspected anomaly")
    assert worst.row.kind == "structural"
    assert worst.sentences
    assert worst.picture.size == worst.overlay.size
    assert worst.picture.tobytes() != worst.overlay.tobytes()
    reader = read(write_report(tmp_path / "r")[0])
    assert sum(a.startswith("data:image/jpeg") for a in reader.addresses) == 16
    assert reader.faults == []


def test_images_that_are_gone_or_dear_are_said_to_be(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = run(plan_of(pictures, shots=(1,), seeds=(0,)), tmp_path / "r", engine=LocalEngine())
    with monkeypatch.context() as patched:
        patched.setattr(examples_module, "PATIENCE", -1.0)
        assert "a fit took" in examples_of(cell, 4).missing
    shutil.rmtree(pictures)
    assert examples_of(cell, 4).missing.startswith("No pictures")
    assert "No pictures" in write_report(tmp_path / "r")[0].read_text()


def test_no_path_of_this_machine_is_kept(folder: Path) -> None:
    (group, *_) = groups(load(folder), draws=0)
    line = group.lines[0]
    options = {"weights": str(folder.resolve() / "w.pth"), "k": 4, "word": "die"}
    changed = replace(line, entry=replace(line.entry, options=options))
    (kept,) = condensed([replace(group, lines=(changed,))])
    assert kept["lines"][0]["options"] == {"weights": "w.pth", "k": 4, "word": "die"}


def test_what_is_kept_of_a_run_is_small_and_whole(folder: Path) -> None:
    kept = condensed(groups(load(folder)))
    assert [(group["title"], len(group["lines"])) for group in kept] == [
        ("mvtec_loco", 4),
        ("mvtec_loco: juice_bottle, pushpins, screw_bag", 6),
    ]
    line = summarise(load(folder))[-1]
    assert len(LOCO) == line.tasks
    figures = kept[0]["lines"][-1]["figures"]
    assert figures["auroc_mean"]["mean"] == pytest.approx(line.figures["auroc_mean"].mean, abs=1e-4)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = os.environ.get("FMLAD_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None or importlib.util.find_spec("playwright") is None:
        if os.environ.get("CI"):
            pytest.fail("needs chromium and playwright")
        pytest.skip("needs chromium and playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        opened = driver.chromium.launch(executable_path=found, headless=True, args=flags)
        yield opened
        opened.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it(
    browser: Any, folder: Path, page: PageParser, tmp_path: Path, width: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    view = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("request", lambda request: asked.append(request.url))
    view.goto((folder / "report.html").as_uri())
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [
        (folder / "report.html").as_uri()
    ]
    wide = view.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, "tables scroll by themselves, the page does not"
    first = view.locator("table").first
    assert first.is_visible()
    assert first.locator("tbody tr").count() == 4
    assert view.locator("svg.plot").first.is_visible()
    ink, paper = view.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert (light[0] < 300 < 600 < light[1]) == (scheme == "light")
    view.screenshot(path=str(tmp_path / "page.png"), full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 20_000
    context.close()
