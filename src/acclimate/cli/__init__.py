"""The command line: thin verbs over the Python API."""

from acclimate.cli.main import app, main

__all__ = ["app", "main"]
