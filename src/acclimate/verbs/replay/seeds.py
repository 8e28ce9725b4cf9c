"""The built-in prompts: by task family and language, in an order that a seed decides."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import chain, zip_longest
from typing import Any

import yaml

PLACE = files("acclimate.verbs.replay") / "seeds.yaml"


@dataclass(frozen=True)
class Seed:
    """One prompt, with places to be filled."""

    family: str
    language: str
    prompt: str

    def filled(self, draw: random.Random) -> str:
        """With a word of its language in each of its places."""
        words: dict[str, list[str]] = _read()["fill"].get(self.language, {})
        text = self.prompt
        for place, choices in words.items():
            text = text.replace(f"{{{place}}}", draw.choice(choices)) if f"{{{place}}}" in text else text
        return text


@cache
def _read() -> Any:
    return yaml.safe_load(PLACE.read_text(encoding="utf-8"))


@cache
def seeds() -> tuple[Seed, ...]:
    """All of them, as the file has them."""
    return tuple(
        Seed(family, language, prompt)
        for family, languages in _read()["families"].items()
        for language, prompts in languages.items()
        for prompt in prompts
    )


def seeds_digest() -> str:
    """Of the file: other prompts make other rows."""
    return hashlib.sha256(PLACE.read_bytes()).hexdigest()


@cache
def in_turns(seed: int) -> tuple[Seed, ...]:
    """All seeds, shuffled inside of each family, families taking turns: a few rows already are of many kinds."""
    draw = random.Random(f"seeds:{seed}")
    families: dict[str, list[Seed]] = {}
    for found in seeds():
        families.setdefault(found.family, []).append(found)
    names = list(families)
    draw.shuffle(names)
    for name in names:
        draw.shuffle(families[name])
    turns = chain.from_iterable(zip_longest(*(families[name] for name in names)))
    return tuple(found for found in turns if found is not None)
