"""Which of a method's trials is used: by validation documents alone, and by one rule for every method."""

from __future__ import annotations

from collections.abc import Sequence

from acclimate.runs.cells import Row
from acclimate.types.errors import ConfigError
from acclimate.verbs.compare.schema import TuningSection
from acclimate.verbs.compare.standing import mean_drift, mean_gain


def choose(trials: Sequence[Row], section: TuningSection) -> Row | None:
    """The chosen trial, or None if all diverged.

    ``retain``: of the trials that have at least ``domain_gain`` of the largest gain on the domain, the one with the
    least drift elsewhere [ours]. A method that gains nothing has its largest gain chosen, as under ``domain``.

    Raises:
        ConfigError: nothing is held out that the rule could look at.
    """
    found = [row for row in trials if row.outcome == "finished"]
    gains = {row.key: gain for row in found if (gain := mean_gain(row.texts)) is not None}
    drifts = {row.key: drift for row in found if (drift := mean_drift(row.texts)) is not None}
    check_rule(section, len(gains) == len(found), len(drifts) == len(found))
    if not found:
        return None
    largest = max(gains.values())
    if section.rule == "domain" or largest <= 0:
        return max(found, key=lambda row: gains[row.key])
    enough = [row for row in found if gains[row.key] >= section.domain_gain * largest]
    return min(enough, key=lambda row: drifts[row.key])


def check_rule(section: TuningSection, domain: bool, others: bool) -> None:
    """Refuses a rule that has nothing to look at.

    Args:
        domain, others: whether documents of domain sources, and of others, are held out.
    """
    if not domain:
        raise ConfigError("tuning: no domain source holds documents out, so nothing tells which trial is better.")
    if section.rule == "retain" and not others:
        raise ConfigError(
            "tuning.rule: retain looks at drift on general or chat text, but no such source holds documents out; set "
            "rule: domain."
        )
