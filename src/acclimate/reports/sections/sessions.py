"""A run that was resumed on other versions or another machine says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from acclimate.reports.collect import ReportData


def sessions(data: ReportData) -> list[str]:
    """A sentence for every run whose weights were not trained by the same versions on the same devices throughout."""
    notes = []
    for folder in data.folders:
        found = [_facts(session) for session in _list(folder.provenance)]
        differing = [key for key in dict.fromkeys(key for facts in found for key in facts) if _differs(key, found)]
        if differing:
            parts = "; ".join(
                f"after step {session.get('step', 0)} {', '.join(f'{key} {facts.get(key)}' for key in differing)}"
                for session, facts in zip(_list(folder.provenance), found, strict=True)
            )
            notes.append(f"{folder.name} ran in {len(found)} sessions that differ: {parts}.")
    return notes


def with_short_sessions(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance for a table: a session is one line, and a run of a single session has none."""
    lines = [
        ", ".join(f"{key} {value}" for key, value in ({"after step": session.get("step", 0)} | _facts(session)).items())
        for session in _list(provenance)
    ]
    rest = {key: value for key, value in provenance.items() if key != "sessions"}
    return rest | ({"sessions": {str(i): line for i, line in enumerate(lines, 1)}} if len(lines) > 1 else {})


def _list(provenance: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = provenance.get("sessions")
    return [session for session in found if isinstance(session, Mapping)] if isinstance(found, list) else []


def _facts(session: Mapping[str, Any]) -> dict[str, str]:
    versions = session.get("versions")
    named = {"acclimate": session.get("acclimate"), **(versions if isinstance(versions, Mapping) else {})}
    named |= {"device": session.get("device"), "processes": session.get("processes")}
    return {key: "unknown" if value is None else str(value) for key, value in named.items()}


def _differs(key: str, found: Sequence[Mapping[str, str]]) -> bool:
    return len({facts.get(key, "unknown") for facts in found}) > 1
