"""Adapt a language model to a domain without losing what it already knew, and prove it."""

__version__ = "0.1.0"
