"""``fmlad prompts``: look at prompt sets, and check one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmlad.commands import output
from fmlad.commands.output import FAILED, Backbones, Device, Json, Profile
from fmlad.errors import OptionError, PromptError

if TYPE_CHECKING:
    from fmlad.commands.prompt_shots import OnShots
    from fmlad.prompts import PromptSet
    from fmlad.views import BackboneSet, ImageView

prompts_cli = output.group("Prompt sets: list, show, check and compare them.")


@prompts_cli.command("list")
def list_sets(as_json: Json = False) -> None:
    """List the bundled prompt sets, and the groups of sets for products of several kinds."""
    from fmlad.prompts import PromptGroup, PromptSet, list_prompt_groups, list_prompt_sets

    names = list_prompt_sets()
    if as_json:
        output.print_json(names)
        return
    for name in names:
        typer.echo(f"{name}: {PromptSet.load(name).description}")
    for name in list_prompt_groups():
        typer.echo(f"{name}: the group of {', '.join(PromptGroup.load(name).sets)}")


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
        str | None,
        typer.Option(
            help="Check as well that this profile can ground every phrase; with --shots, the "
            "profile to look at them with. [default with --shots: $FMLAD_PROFILE, else builtin]"
        ),
    ] = None,
    shots: Annotated[
        Path | None,
        typer.Option(
            help="Folder of normal images: say what is counted in each, and which rules they break."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write pictures of what was counted here, with --shots."),
    ] = None,
    backbone: Backbones = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Check prompt sets; exit with 1 if one is not valid, or half of the shots break a rule."""
    from fmlad.prompts import PromptSet

    if shots is None and (out is not None or backbone):
        raise OptionError("--out and --backbone go with --shots FOLDER; add it, or leave them out.")
    override = output.pairs(backbone, "--backbone ROLE=NAME")
    views = [] if shots is None else _views(shots, profile, override, device)
    attributes_only = _takes_attributes_only(profile)
    suspect = False
    outcomes: list[dict[str, Any]] = []
    for number, file in enumerate(files, start=1):
        error, tried = None, None
        try:
            prompts = PromptSet.load(file)
            if attributes_only:
                _check_phrases(file, prompts)
            if views:
                tried = _on_shots(prompts, views, out, number if len(files) > 1 else None, as_json)
        except PromptError as found:
            error = str(found)
        outcomes.append({"file": file, "error": error})
        if tried is not None:
            outcomes[-1] |= tried.to_dict()
            suspect |= any(check.suspect for check in tried.checks)
        if error and not as_json:
            typer.echo(f"error: {error}", err=True)
        elif not as_json:
            count = len(prompts.parts)
            typer.echo(f"{file}: ok ({count} part{'' if count == 1 else 's'})")
        if tried is not None and not as_json:
            for line in tried.lines():
                typer.echo(line)
    if as_json:
        output.print_json(outcomes)
    if suspect or any(outcome["error"] for outcome in outcomes):
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
    from fmlad.loading import method_backbones
    from fmlad.prompts import PromptSet

    chosen = [PromptSet.load(name) for name in sets]
    override = output.pairs(backbone, "--backbone ROLE=NAME")
    backbone_set = method_backbones("clip-lad", profile, override, device)

    good: list[ImageView] = []
    bad: list[ImageView] = []
    if test is not None:
        if not (test / "good").is_dir():
            raise OptionError(f"{test} has no folder good/ with normal images.")
        good = _opened(test / "good", backbone_set)
        folders = sorted(p for p in test.iterdir() if p.is_dir() and p.name != "good")
        bad = [view for folder in folders for view in _opened(folder, backbone_set)]
    views = _opened(shots, backbone_set)
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


def _opened(folder: Path, backbone_set: BackboneSet) -> list[ImageView]:
    """Views of all images of a folder."""
    from fmlad.io.images import load_image
    from fmlad.io.inputs import expand_sources

    paths = expand_sources(str(folder))
    return [backbone_set.view(load_image(path), str(path)) for path in paths]


def _views(
    shots: Path, profile: str | None, override: dict[str, str], device: str
) -> list[ImageView]:
    from fmlad.loading import method_backbones

    return _opened(shots, method_backbones("clip-lad", profile, override, device))


def _on_shots(
    prompts: PromptSet, views: list[ImageView], out: Path | None, number: int | None, quiet: bool
) -> OnShots:
    """A set on normal images; the pictures of each of several sets have a folder of their own."""
    from fmlad.commands.prompt_shots import on_shots

    if out is not None and number is not None:
        out = out / f"{number:02d}-{Path(prompts.name).name}"
    with output.progress(quiet) as progress:
        return on_shots(prompts, views, out, progress)


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
