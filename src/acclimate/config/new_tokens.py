"""Tokens that a configuration adds to a model's own."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field


def _each_once(tokens: list[str]) -> list[str]:
    if twice := next((token for place, token in enumerate(tokens) if token in tokens[:place]), None):
        raise ValueError(f"{twice!r} stands there twice; keep one")
    return tokens


NewTokens = Annotated[list[Annotated[str, Field(min_length=1)]], AfterValidator(_each_once)]
"""None is empty, and each is there once; what a model has to do with them is known where its tokenizer is."""
