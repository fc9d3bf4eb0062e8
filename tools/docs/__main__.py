"""What README and docs show: ``python -m tools.docs tables`` or ``python -m tools.docs sheets``.

Tables come from the files of ``benchmarks/results``. Sheets are pictures; name some of them to make
those alone (dice need the photographs of ``$FMLAD_SHARED``, which themselves are not shown).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tools.docs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("tables", help="write the numbers of README and docs")
    commands.add_parser("schema", help="write docs/verdict.schema.json")
    pictures = commands.add_parser("sheets", help="make the pictures of README and docs")
    pictures.add_argument("names", nargs="*", metavar="NAME", help="[default: all]")
    arguments = parser.parse_args()
    if arguments.command == "tables":
        from tools.docs.tables import write

        write()
        return
    if arguments.command == "schema":
        from fmlad.schema import json_schema

        target = Path(__file__).parents[2] / "docs" / "verdict.schema.json"
        target.write_text(json.dumps(json_schema(), indent=1) + "\n", encoding="utf-8")
        return
    from tools.docs import proposals, sheets

    makers = sheets.SHEETS | proposals.SHEETS
    if unknown := set(arguments.names) - set(makers):
        parser.error(f"no sheet {', '.join(sorted(unknown))}; known: {', '.join(makers)}")
    for name in arguments.names or makers:
        makers[name]()


if __name__ == "__main__":
    main()
