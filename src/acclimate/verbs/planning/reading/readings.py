"""The one table that laws are fitted to: what each model was trained on, what it gained, how far it drifted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from acclimate.config.load import RunConfig
from acclimate.types.errors import UsageError, listed, nearest

Array = NDArray[np.float64]

CONTROL = "sft"
"""The method that holds nothing."""
ANCHORED = ("mol", "replay")
"""Methods that are sft where the domain has the whole share: runs of sft are theirs at share 1."""
INPUTS = ("share", "weight", "learning_rate", "tokens")
"""What a law is over."""
ALIKE = 1.05
"""Times which two numbers differ at most that count as one: runs end with the row that fills their budget [ours]."""
FEWEST = 3
"""Settings from which on anything is fitted [ours]."""
OUTCOMES = ("gain", "drift")


@dataclass(frozen=True)
class Reading:
    """One measured model: a run at its end, or at a step of a log.

    Args:
        tokens: trained tokens of the domain.
        share: part of all trained tokens that is the domain's, in (0, 1].
        learning_rate: the peak.
        weight: of what holds the model; 1 where a method has none.
        gain: fall of the domain's bits per byte from the base, mean over its sets; nan where it was not measured.
        drift: KL(base || tuned) on other text in nats a token, mean over sets; nan where it was not measured.
        column: what a comparison calls the method.
    """

    run: str
    method: str
    tokens: float
    share: float
    learning_rate: float
    weight: float = 1.0
    gain: float = math.nan
    drift: float = math.nan
    seed: int | None = None
    step: int | None = None
    column: str = ""

    @property
    def setting(self) -> str:
        """In words.

        >>> Reading("a", "mol", 20_000, 0.5, 2e-4).setting
        '50 % domain, learning rate 0.0002, 20,000 domain tokens'
        """
        return worded(self.share, self.learning_rate, self.tokens, self.weight)


@dataclass(frozen=True)
class Readings:
    """Readings of one method, and what is known of where they come from.

    Args:
        control: runs of sft beside them; of an anchored method they are readings too, at share 1.
        gain_unit: ``bits/byte``, or ``nats/token`` where a log has only those.
        drift_of: what drift is: a KL, or the rise of the loss where no KL was logged.
        corpus: trained tokens that one pass over the domain has; None where nobody said.
        configs: run -> configuration, where one is known; advice is written on top of the nearest one's.
        notes: what was left out, and why.
    """

    readings: tuple[Reading, ...]
    control: tuple[Reading, ...] = ()
    gain_unit: str = "bits/byte"
    drift_of: str = "KL(base‖tuned)"
    corpus: float | None = None
    configs: Mapping[str, RunConfig] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def column(self, name: str) -> Array:
        """[n] of an attribute of the readings."""
        return np.array([getattr(one, name) for one in self.readings], dtype=np.float64)

    def measured(self, outcome: str) -> Readings:
        """Those that measured it."""
        return replace(self, readings=tuple(one for one in self.readings if math.isfinite(getattr(one, outcome))))

    def varied(self, name: str) -> bool:
        """Whether it differs between readings by more than a budget's last row."""
        values = self.column(name)
        values = values[np.isfinite(values)]
        return bool(len(values) and values.max() > ALIKE * values.min())

    @property
    def groups(self) -> list[str]:
        """Of each reading, the setting that its run was trained with: seeds and steps of one are no second evidence."""
        found: list[Reading] = []
        names = {}
        for run, end in self.ends.items():
            near = next((one for one in found if alike(one, end)), None)
            if near is None:
                found.append(end)
            names[run] = (near or end).run
        return [names[one.run] for one in self.readings]

    @property
    def ends(self) -> dict[str, Reading]:
        """Run -> its reading of most tokens."""
        return {one.run: one for one in sorted(self.readings, key=lambda one: one.tokens)}

    @property
    def settings(self) -> int:
        """Different ones."""
        return len(set(self.groups))

    def by_setting(self, outcome: str) -> list[Array]:
        """An outcome at the ends of the runs of each setting, which differ in their seed."""
        of: dict[str, list[float]] = {}
        ends = self.ends
        for group, one in zip(self.groups, self.readings, strict=True):
            if ends[one.run] is one and math.isfinite(value := getattr(one, outcome)):
                of.setdefault(group, []).append(value)
        return [np.array(values) for values in of.values()]


def worded(share: float, rate: float, tokens: float, weight: float = 1.0) -> str:
    """A setting in words; a rate that nobody said is left out."""
    rated = "" if math.isnan(rate) else f", learning rate {rate:.3g}"
    weighted = "" if weight == 1 else f", weight {weight:g}"
    return f"{100 * share:.3g} % domain{rated}{weighted}, {tokens:,.0f} domain tokens"


def alike(one: Reading, other: Reading) -> bool:
    """Whether two readings are of one setting."""
    pairs = ((getattr(one, name), getattr(other, name)) for name in INPUTS)
    return all(max(a, b) <= ALIKE * min(a, b) or (math.isnan(a) and math.isnan(b)) for a, b in pairs)


def chosen(found: Readings, only: Sequence[str] = ()) -> Readings:
    """The readings that one law is of; those of sft beside them are its control.

    Args:
        only: methods, or their names in a comparison, that count as one; empty: the one that is there beside sft.

    Raises:
        UsageError: several methods and none is named, or an unknown one is.
    """
    names = list(dict.fromkeys(name for one in found.readings for name in (one.method, one.column) if name))
    for name in only:
        if name not in names:
            raise UsageError(f"--only: no run is of '{name}'; accepted: {listed(names)}.{nearest(name, names)}")
    methods = list(dict.fromkeys(one.method for one in found.readings))
    wanted = list(only) or [name for name in methods if name != CONTROL] or methods
    if not only and len(wanted) > 1:
        raise UsageError(
            f"A law is of one method, and these runs are of {len(wanted)}: {', '.join(wanted)}. Name one with --only; "
            "several that are one method at several settings, with --only for each."
        )
    kept = tuple(one for one in found.readings if one.method in wanted or one.column in wanted)
    control = tuple(one for one in found.readings if one.method == CONTROL and one not in kept)
    if {one.method for one in kept} <= set(ANCHORED):
        weight = kept[0].weight
        kept += tuple(replace(one, share=1.0, weight=weight) for one in control)
    return replace(found, readings=kept, control=control)


def check(found: Readings) -> None:
    """Refuses what no law can be fitted to.

    Raises:
        UsageError: too few settings, or nothing that a plan asks for was measured.
    """
    if found.settings < FEWEST:
        many = "one setting" if found.settings == 1 else f"{found.settings} settings"
        told = found.readings[0].setting if found.settings == 1 else "; ".join(settings_of(found))
        raise UsageError(
            f"Nothing can be planned from {many} ({told}): it takes at least {FEWEST} runs that differ in share, "
            "learning rate or tokens, and a run with another seed is no other setting. acclimate plan --probe CONFIG "
            "trains up to 6 short ones."
        )
    if not any(found.measured(outcome).readings for outcome in OUTCOMES):
        raise UsageError(
            "No run measured held-out text of the domain or of anything else, so there is nothing to plan."
        )


def settings_of(found: Readings) -> list[str]:
    """Each once, in words."""
    last = dict(zip(found.groups, found.readings, strict=True))
    return [one.setting for one in last.values()]


def check_one(values: Mapping[str, str], what: str, remedy: str) -> None:
    """Refuses runs of which something that must be equal differs.

    Args:
        values: run -> what it has.

    Raises:
        UsageError: two differ.
    """
    names: dict[str, str] = {}
    for run, value in values.items():
        names.setdefault(value, run)
    if len(names) > 1:
        (first, one), (second, other) = list(names.items())[:2]
        raise UsageError(
            f"Runs '{one}' and '{other}' have another {what} ({_short(first)}, {_short(second)}), so their numbers are "
            f"not on one scale; {remedy}"
        )


def _short(digest: str) -> str:
    """
    >>> _short("sha256:a672150fb4f99d7c8f4168"), _short("llama")
    ('a672150f', 'llama')
    """
    return digest.removeprefix("sha256:")[:8] if digest.startswith("sha256:") or len(digest) > 40 else digest


def mean(values: Sequence[float]) -> float:
    """nan of none."""
    return float(np.mean(values)) if len(values) else math.nan
