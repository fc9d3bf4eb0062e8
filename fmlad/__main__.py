"""``python -m fmlad``: the command line."""

from fmlad.commands.main import main

main()
