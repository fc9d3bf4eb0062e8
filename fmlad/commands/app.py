"""``fmlad app``: the page."""

from __future__ import annotations

from typing import Annotated

import typer

from fmlad.commands.output import Profile


def app(
    profile: Profile = None,
    port: Annotated[int | None, typer.Option(help="Port; a free one from 7860 if absent.")] = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open it in a browser.")] = False,
) -> None:
    """Open the page: upload normal images and queries, see verdicts. On this machine only."""
    from fmlad.app import launch

    launch(profile=profile, port=port, open_browser=browser)
