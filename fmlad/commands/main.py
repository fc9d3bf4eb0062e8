"""The command line. Each command imports what it needs when it runs: ``fmlad --help`` is quick.

Exit codes: 0 done; 1 the input or its surroundings were wrong (a name that does not exist is such
an input), or some images could not be read; 2 usage, as the parser sees it; 3 something is
anomalous and ``--fail-on-anomaly`` was given (it outranks 1).
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from fmlad._version import __version__
from fmlad.commands.accept import accept, undo
from fmlad.commands.app import app
from fmlad.commands.bench import bench_cli
from fmlad.commands.check import check
from fmlad.commands.datasets import datasets_cli, scenes
from fmlad.commands.demo import demo
from fmlad.commands.evaluate import evaluate
from fmlad.commands.fit import fit
from fmlad.commands.labels import labels_cli
from fmlad.commands.look import look
from fmlad.commands.methods import methods
from fmlad.commands.output import FAILED
from fmlad.commands.parts import parts
from fmlad.commands.predict import predict
from fmlad.commands.prompts import prompts_cli
from fmlad.commands.weights import weights_cli
from fmlad.errors import FmladError

cli = typer.Typer(
    name="fmlad",
    help="From a handful of normal images to a detector that says whether an image is wrong, "
    "where, and what.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (demo, fit, check, parts, predict, accept, undo, look, methods, scenes, app):
    cli.command()(command)
cli.command("eval")(evaluate)
cli.add_typer(weights_cli, name="weights")
cli.add_typer(prompts_cli, name="prompts")
cli.add_typer(bench_cli, name="bench")
cli.add_typer(datasets_cli, name="datasets")
cli.add_typer(labels_cli, name="labels")


@cli.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"fmlad {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: a user's error becomes one line; anything else is a bug and shows itself."""
    # Read when torch is first imported. Threads that spin while they wait, the default, slow each
    # other down badly as soon as another process wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        cli()
    except FmladError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(FAILED)
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(FAILED)
