"""One command reproduces every number: the list of benchmarks, and what results files record."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as listing
from benchmarks import common

ROOT = Path(__file__).parents[2]


def results() -> set[str]:
    return {path.stem for path in (ROOT / "benchmarks" / "results").glob("*.json")}


def listed() -> list[str]:
    return [name for one in listing.BENCHMARKS for name in one.results]


def test_every_results_file_is_written_by_a_listed_command_and_by_one_only() -> None:
    assert results() == set(listed())
    assert len(set(listed())) == len(listed())


def test_every_command_of_the_documents_is_listed() -> None:
    commands = {tuple(shlex.split(one.command)) for one in listing.BENCHMARKS}
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = 0
    for page in pages:
        for text in re.findall(r"`python -m (benchmarks\.[^`]+)`", page.read_text()):
            assert tuple(shlex.split(text)) in commands, f"{page.name}: {text}"
            found += 1
    assert found > 10


@pytest.mark.slow
def test_modules_can_be_imported() -> None:
    modules = sorted({shlex.split(one.command)[0] for one in listing.BENCHMARKS})
    done = subprocess.run(
        [sys.executable, "-c", f"import {', '.join(modules)}"],  # some set variables: not in here
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("one", listing.BENCHMARKS, ids=lambda one: one.command)
def test_modules_exist_and_take_the_arguments(one: listing.Benchmark) -> None:
    module, *arguments = shlex.split(one.command)
    if module == "pytest":
        assert (ROOT / arguments[-1]).is_file()
        return
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    for word in arguments:
        if word.startswith("--"):
            assert f'"{word}"' in source, word
    for need in one.needs:
        assert need in (listing.PHOTOGRAPHS, listing.FEATUP)


@pytest.mark.slow
def test_the_list_says_command_file_need_and_state() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--list"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for one in listing.BENCHMARKS:
        assert f"python -m {one.command}\n" in done.stdout
        for name in one.results:
            assert f"benchmarks/results/{name}.json" in done.stdout
    assert "needs photographs" in done.stdout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own with a benchmark that writes its results."""
    home = tmp_path / "checkout"
    (home / "benchmarks" / "results").mkdir(parents=True)
    (home / "fmlad").mkdir()
    (home / "prompts").mkdir()
    (home / "fmlad" / "code.py").write_text("x = 1\n")
    monkeypatch.setattr(common, "ROOT", home)
    monkeypatch.setattr(common, "RESULTS", home / "benchmarks" / "results")
    git(home, "init", "-q")
    commit(home)
    return home


def git(home: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(
        ["git", "-C", str(home), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(home: Path) -> str:
    git(home, "add", "-A")
    git(home, "commit", "-qm", "x", "--allow-empty")
    return git(home, "rev-parse", "HEAD")


def kept(home: Path, monkeypatch: pytest.MonkeyPatch, **more: object) -> dict[str, object]:
    monkeypatch.setattr(common, "command_line", lambda: "python -m benchmarks.thing --seeds 2")
    common.keep("thing", "a protocol", {"a": 1}, **more)  # type: ignore[arg-type]
    return dict(json.loads((home / "benchmarks/results/thing.json").read_text()))


def test_results_record_protocol_command_commit_and_seeds(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    found = kept(checkout, monkeypatch, seeds=range(2))
    assert found["protocol"] == "a protocol"
    assert found["command"] == "python -m benchmarks.thing --seeds 2"
    assert (found["commit"], found["dirty"], found["seeds"]) == (head, False, [0, 1])
    assert found["figures"] == {"a": 1}
    # A results file is no change of the code, a new module is one.
    assert kept(checkout, monkeypatch)["dirty"] is False
    assert "seeds" not in kept(checkout, monkeypatch)
    (checkout / "fmlad" / "new.py").touch()
    assert kept(checkout, monkeypatch)["dirty"] is True


def test_what_the_same_code_has_written_is_up_to_date(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = listing.Benchmark("benchmarks.thing --seeds 2", ("thing",))
    assert not thing.done()
    kept(checkout, monkeypatch)
    assert thing.done()
    commit(checkout)  # results and documents make a new commit of the same code
    (checkout / "README.md").write_text("new numbers")
    commit(checkout)
    assert thing.done()
    assert not listing.Benchmark("benchmarks.thing --seeds 3", ("thing",)).done()
    (checkout / "fmlad" / "code.py").write_text("x = 2\n")
    assert not thing.done()
    kept(checkout, monkeypatch)  # by code that nobody can name
    assert not thing.done()
    commit(checkout)
    assert not thing.done()
    kept(checkout, monkeypatch, finished=False)
    assert not thing.done()
    kept(checkout, monkeypatch)
    assert thing.done()
    assert not listing.Benchmark("benchmarks.thing --list", ()).done()


def test_a_stopped_run_goes_on_with_the_same_code_alone(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert common.unfinished("thing", "a protocol") == {}
    kept(checkout, monkeypatch, finished=False)
    assert common.unfinished("thing", "a protocol") == {"a": 1}
    assert common.unfinished("thing", "another") == {}
    (checkout / "fmlad" / "code.py").write_text("x = 2\n")
    commit(checkout)
    assert common.unfinished("thing", "a protocol") == {}
    kept(checkout, monkeypatch)
    assert common.unfinished("thing", "a protocol") == {}


def test_the_command_is_as_typed_without_paths_of_this_machine() -> None:
    code = "from benchmarks import common; common.RESULTS = None; print(common.command_line())"
    done = subprocess.run(
        [sys.executable, "-c", code, "--root", "/a/b/c.ckpt", "two words"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip().endswith("--root c.ckpt 'two words'")


def test_all_are_run_but_those_up_to_date_and_those_that_lack_something(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ran: list[list[str]] = []

    class Done:
        returncode = 0

    def fake_run(argv: list[str], **_: object) -> Done:
        ran.append(argv)
        return Done()

    three = (
        listing.Benchmark("benchmarks.one", ("one",)),
        listing.Benchmark("benchmarks.two --x 1", ("two",)),
        listing.Benchmark("benchmarks.three", ("three",), (listing.PHOTOGRAPHS,)),
    )
    monkeypatch.setenv("FMLAD_SHARED", str(tmp_path / "nowhere"))
    monkeypatch.setattr(listing, "BENCHMARKS", three)
    monkeypatch.setattr(listing.Benchmark, "done", lambda one: one.name == "one")
    monkeypatch.setattr(listing.subprocess, "run", fake_run)
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    assert listing.main() == 1  # not every number was reproduced
    assert [argv[1:] for argv in ran] == [["-m", "benchmarks.two", "--x", "1"]]
    assert "benchmarks.three: needs photographs" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--again", "--only", "one"])
    assert listing.main() == 0
    assert ran[1:] == [[sys.executable, "-m", "benchmarks.one"]]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "on"])
    with pytest.raises(SystemExit):
        listing.main()
