"""``fmlad methods``: what there is to choose from."""

from __future__ import annotations

import textwrap

import typer

from fmlad.commands.output import Json, print_json


def methods(as_json: Json = False) -> None:
    """List methods with their options, profiles and backbones."""
    from fmlad.methods.registry import describe_options, loadable_methods, method_class
    from fmlad.profiles import PROFILES, list_backbones

    found = {
        name: (method_class(name).summary, describe_options(name)) for name in loadable_methods()
    }
    if as_json:
        listed = {
            name: {
                "summary": summary,
                "options": {one.name: one.default for one in options},
                "descriptions": {one.name: one.text for one in options},
            }
            for name, (summary, options) in found.items()
        }
        profiles = {name: dict(roles) for name, roles in PROFILES.items()}
        print_json({"methods": listed, "profiles": profiles, "backbones": list_backbones()})
        return
    for name, (summary, options) in found.items():
        typer.echo(f"{name}: {summary}")
        for one in options:
            typer.echo(f"    {one.name} = {one.default!r}")
            typer.echo(textwrap.indent(textwrap.fill(one.text, 92), " " * 8))
    for name, roles in PROFILES.items():
        typer.echo(f"profile {name}")
        for role, chosen in roles.items():
            typer.echo(f"    {role}: {chosen}")
    typer.echo("backbones: " + ", ".join(list_backbones()))
