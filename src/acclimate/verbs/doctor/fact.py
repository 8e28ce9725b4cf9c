"""What was found: facts in sections, some with advice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from acclimate.types.notebook import printed


@dataclass(frozen=True)
class Fact:
    """One line of the page.

    Args:
        value: plain data, as ``--json`` gives it; bytes for memory and disk.
        shown: as a person reads it.
        advice: one sentence with what to do, where something is to be done.
        stops: whether a run would stop over it.
    """

    value: Any
    shown: str
    advice: str | None = None
    stops: bool = False


Section = dict[str, Fact]


@dataclass(frozen=True)
class Diagnosis:
    """Sections of facts."""

    sections: dict[str, Section]

    def _repr_html_(self) -> str:
        from acclimate.verbs.doctor.page import print_diagnosis

        return printed(lambda console: print_diagnosis(self, console))

    @property
    def problems(self) -> list[str]:
        """What would stop a run, with its remedy."""
        return [fact.advice for fact in self._facts() if fact.stops and fact.advice]

    @property
    def notes(self) -> list[str]:
        return [fact.advice for fact in self._facts() if not fact.stops and fact.advice]

    def as_json(self) -> dict[str, Any]:
        values = {title: {name: f.value for name, f in section.items()} for title, section in self.sections.items()}
        return values | {"problems": self.problems, "notes": self.notes}

    def _facts(self) -> list[Fact]:
        return [fact for section in self.sections.values() for fact in section.values()]


def gib(size: float) -> str:
    """
    >>> gib(3 * 2**29)
    '1.5 GiB'
    """
    return f"{size / 2**30:.1f} GiB"
