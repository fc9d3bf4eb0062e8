"""``fmlad prompts``: look at prompt sets, and check one's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from fmlad.errors import PromptError

if TYPE_CHECKING:
    from fmlad.prompts import PromptPart, PromptSet

BAD = 1  # exit code: a set is not valid

prompts_cli = typer.Typer(help="Prompt sets: list, show and check them.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]


@prompts_cli.command("list")
def list_sets(as_json: Json = False) -> None:
    """List the bundled prompt sets."""
    from fmlad.prompts import PromptSet, list_prompt_sets

    names = list_prompt_sets()
    if as_json:
        typer.echo(json.dumps(names))
        return
    for name in names:
        typer.echo(f"{name}: {PromptSet.load(name).description}")


@prompts_cli.command()
def show(
    name: Annotated[str, typer.Argument(help="A bundled set, or a YAML file.")],
    as_json: Json = False,
) -> None:
    """Print a prompt set as it is understood."""
    from fmlad.prompts import PromptSet

    prompts = PromptSet.load(name)
    if as_json:
        typer.echo(json.dumps(prompts.to_dict(), indent=1))
        return
    typer.echo("\n".join(describe(prompts)))


@prompts_cli.command()
def lint(
    files: Annotated[list[str], typer.Argument(help="YAML files, or bundled sets by name.")],
    profile: Annotated[
        str | None,
        typer.Option(help="Check as well that this profile can ground every phrase."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check prompt sets; exit with 1 if any is not valid."""
    from fmlad.prompts import PromptSet

    looks_only = _looks_only(profile)
    outcomes: list[dict[str, str | None]] = []
    for file in files:
        try:
            prompts = PromptSet.load(file)
            if looks_only:
                _check_phrases(file, prompts)
        except PromptError as error:
            outcomes.append({"file": file, "error": str(error)})
            if not as_json:
                typer.echo(f"error: {error}", err=True)
        else:
            outcomes.append({"file": file, "error": None})
            if not as_json:
                count = len(prompts.parts)
                typer.echo(f"{file}: ok ({count} part{'' if count == 1 else 's'})")
    if as_json:
        typer.echo(json.dumps(outcomes, indent=1))
    if any(outcome["error"] for outcome in outcomes):
        raise typer.Exit(BAD)


def describe(prompts: PromptSet) -> list[str]:
    """A prompt set in lines that a person can read."""
    lines = [f"{prompts.name}: {prompts.description}".rstrip(": ")]
    lines.append(f"  background: {', '.join(prompts.background)}")
    lines.append(f"  foreground: {', '.join(prompts.foreground) or '(by exemplars)'}")
    for part in prompts.parts:
        lines.append(f"  part {part.name!r}, by {part.decide}: {_what(part)}")
        if part.expect is not None:
            lines.append(f"    expected: {', '.join(map(str, part.expect.rules()))}")
    for title, texts in (
        ("templates", prompts.templates),
        ("normal states", prompts.normal_states),
        ("abnormal states", prompts.abnormal_states),
    ):
        if texts:
            lines.append(f"  {title}: {', '.join(texts)}")
    return lines


def _what(part: PromptPart) -> str:
    if part.words:
        return ", ".join(part.words)
    shown = (
        one.image if one.box is None else f"{one.image} {[round(value) for value in one.box]}"
        for one in part.exemplars
    )
    return "exemplars " + ", ".join(shown)


def _looks_only(profile: str | None) -> bool:
    """Whether the profile's text aligner takes phrases with attributes only; others take any."""
    if profile is None:
        return False
    from fmlad.profiles import PROFILES, profile_name

    aligner = PROFILES[profile_name(profile)].get("text_aligner", "")
    return aligner.startswith("builtin:lexicon")


def _check_phrases(file: str, prompts: PromptSet) -> None:
    from fmlad.backbones.lexicon import attributes

    for word in (*prompts.background, *prompts.foreground, *prompts.phrases()[0]):
        try:
            attributes(word)
        except PromptError as error:
            raise PromptError(f"{file}: {error}") from error
