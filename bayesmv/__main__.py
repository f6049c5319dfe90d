"""``python -m bayesmv``: the command line."""

from bayesmv.cli import main

main()
