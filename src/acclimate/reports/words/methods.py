"""What a method does, in words for a reader who has not heard its name."""

from __future__ import annotations

from acclimate.reports.collect import Run

WORDS = {
    "sft": "ordinary fine-tuning",
    "replay": "fine-tuning with general text mixed in",
    "mol": "fine-tuning held to the base on general text",
    "l2": "fine-tuning held to the base's weights",
    "dft": "fine-tuning that learns little from words it finds unlikely",
    "talr": "fine-tuning that learns less from words it finds unlikely",
    "stm": "fine-tuning that skips words the base finds unlikely",
    "asft": "fine-tuning held to the base on the domain text",
    "dae": "learning from a domain expert and from the base",
    "wise": "fine-tuning, then averaged with the base",
    "ewc": "fine-tuning that spares weights which matter elsewhere",
    "hlr": "fine-tuning held near weights that fit general text",
    "dba": "fine-tuning with a stored gradient of general text mixed in",
}
CONTROLS = ("sft", "replay")
"""Methods that a new one has to beat, the plainest first."""


def control_of(run: Run, runs: tuple[Run, ...]) -> Run | None:
    """The plainest other run that ``run`` is held against; None where there is no control."""
    others = [other for other in runs if other is not run and other.method in CONTROLS]
    return min(others, key=lambda other: CONTROLS.index(other.method), default=None)


def in_words(run: Run) -> str:
    """What the run's method does; of a method of one's own what it says of itself, or nothing."""
    said = (run.seeds[0].provenance.get("methods") or {}).get(run.method) or {}
    return WORDS.get(run.method) or str(said.get("summary", "")).rstrip(".")
