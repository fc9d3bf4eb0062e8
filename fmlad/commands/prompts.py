"""``fmlad prompts``: look at prompt sets, and check one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fmlad.commands import output
from fmlad.commands.output import FAILED, Backbones, Device, Json, Profile
from fmlad.errors import OptionError, PromptError

if TYPE_CHECKING:
    from fmlad.prompts import PromptSet
    from fmlad.views import ImageView

prompts_cli = output.group("Prompt sets: list, show, check and compare them.")


@prompts_cli.command("list")
def list_sets(as_json: Json = False) -> None:
    """List the bundled prompt sets."""
    from fmlad.prompts import PromptSet, list_prompt_sets

    names = list_prompt_sets()
    if as_json:
        output.print_json(names)
        return
    for name in names:
        typer.echo(f"{name}: {PromptSet.load(name).description}")


@prompts_cli.command()
def show(
    name: Annotated[str, typer.Argument(help="A bundled set, or a YAML file.")],
    as_json: Json = False,
) -> None:
    """Print a prompt set as it is understood, as a YAML file with everything spelt out."""
    import yaml

    from fmlad.prompts import PromptSet

    content = PromptSet.load(name).to_dict()
    if as_json:
        output.print_json(content)
    else:
        typer.echo(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100).rstrip())


@prompts_cli.command()
def lint(
    files: Annotated[list[str], typer.Argument(help="YAML files, or bundled sets by name.")],
    profile: Annotated[
        str | None, typer.Option(help="Check as well that this profile can ground every phrase.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check prompt sets; exit with 1 if any is not valid."""
    from fmlad.prompts import PromptSet

    attributes_only = _takes_attributes_only(profile)
    outcomes: list[dict[str, str | None]] = []
    for file in files:
        error = None
        try:
            prompts = PromptSet.load(file)
            if attributes_only:
                _check_phrases(file, prompts)
        except PromptError as found:
            error = str(found)
        outcomes.append({"file": file, "error": error})
        if error and not as_json:
            typer.echo(f"error: {error}", err=True)
        elif not as_json:
            count = len(prompts.parts)
            typer.echo(f"{file}: ok ({count} part{'' if count == 1 else 's'})")
    if as_json:
        output.print_json(outcomes)
    if any(outcome["error"] for outcome in outcomes):
        raise typer.Exit(FAILED)


@prompts_cli.command()
def compare(
    sets: Annotated[list[str], typer.Argument(help="Bundled sets, or YAML files.")],
    shots: Annotated[Path, typer.Option(help="Folder of normal images.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="HTML report to write.")],
    test: Annotated[
        Path | None, typer.Option(help="Folder with good/ and further folders of anomalous images.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Draws of shots, at least 4.")] = 4,
    count: Annotated[int, typer.Option(min=1, help="Shots a draw.")] = 4,
    profile: Profile = None,
    backbone: Backbones = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compare prompt sets with each other and with controls; write a report."""
    from fmlad.commands.prompt_comparison import compare as run
    from fmlad.commands.prompt_comparison import write_comparison
    from fmlad.io.images import load_image
    from fmlad.io.inputs import expand_sources
    from fmlad.loading import method_backbones
    from fmlad.prompts import PromptSet

    chosen = [PromptSet.load(name) for name in sets]
    override = output.pairs(backbone, "--backbone ROLE=NAME")
    backbone_set = method_backbones("clip-lad", profile, override, device)

    def opened(folder: Path) -> list[ImageView]:
        paths = expand_sources(str(folder))
        return [backbone_set.view(load_image(path), str(path)) for path in paths]

    good: list[ImageView] = []
    bad: list[ImageView] = []
    if test is not None:
        if not (test / "good").is_dir():
            raise OptionError(f"{test} has no folder good/ with normal images.")
        good = opened(test / "good")
        folders = sorted(p for p in test.iterdir() if p.is_dir() and p.name != "good")
        bad = [view for folder in folders for view in opened(folder)]
    views = opened(shots)
    with output.progress(as_json) as progress:
        rows = run(chosen, views, good, bad, seeds=seeds, draw_of=count, progress=progress)
    write_comparison(out, rows, views[0].reads)
    if as_json:
        output.print_json({"report": str(out), "rows": [row.to_dict() for row in rows]})
        return
    for row in rows:
        figures = ", ".join(f"{key} {value:.3f}" for key, value in row.figures.items())
        typer.echo(f"{row.title}: {figures}")
    typer.echo(f"Report with pictures: {out}")


def _takes_attributes_only(profile: str | None) -> bool:
    """Whether the profile's text aligner takes phrases with attributes only; others take any."""
    if profile is None:
        return False
    from fmlad.profiles import PROFILES, profile_name

    aligner = PROFILES[profile_name(profile)].get("text_aligner", "")
    return aligner.startswith("builtin:lexicon")


def _check_phrases(file: str, prompts: PromptSet) -> None:
    from fmlad.backbones.embedded.lexicon import attributes

    for word in (*prompts.background, *prompts.foreground, *prompts.phrases()[0]):
        try:
            attributes(word)
        except PromptError as error:
            raise PromptError(f"{file}: {error}") from error
