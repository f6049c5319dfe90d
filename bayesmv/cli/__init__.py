"""Command line, on model files."""

from bayesmv.cli.commands import main

__all__ = ["main"]
