"""A run folder and a policy -> pass, fail or inconclusive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from acclimate.gates.check import Check, Outcome
from acclimate.gates.policy import Policy, Rule, load_policy, parse_policy
from acclimate.paired.estimate import Estimate
from acclimate.paired.metrics import METRICS, gated
from acclimate.paired.ratio import MINIMUM_DOCUMENTS
from acclimate.runs.folder import RunFolder, TextSet, read_folder
from acclimate.runs.layout import Layout
from acclimate.runs.measured import Origin, base_notes, check_measured, check_panel
from acclimate.runs.panel import AGAIN, PanelFolder, read_panel
from acclimate.runs.scores import read_scores
from acclimate.types.errors import ConfigError, RunError, listed, nearest
from acclimate.types.notebook import html_table


@dataclass(frozen=True)
class Verdict:
    """All checks of a run; it passes when each of them does."""

    run: str
    checks: tuple[Check, ...]
    ungated: tuple[str, ...]  # sets that no rule is about
    confidence: float
    allow_inconclusive: bool
    weights: str = ""  # digest of what was measured
    panels: Mapping[str, str] = field(default_factory=dict)  # digest of what each was made of
    notes: tuple[str, ...] = ()  # what could not be checked

    @property
    def outcome(self) -> Outcome:
        outcomes = {check.outcome for check in self.checks}
        return "fail" if "fail" in outcomes else "inconclusive" if "inconclusive" in outcomes else "pass"

    @property
    def passed(self) -> bool:
        """Whether the run may go on, ``allow_inconclusive`` heeded."""
        return self.outcome == "pass" or (self.outcome == "inconclusive" and self.allow_inconclusive)

    @property
    def sentence(self) -> str:
        counts = {
            kind: sum(check.outcome == kind for check in self.checks) for kind in ("pass", "fail", "inconclusive")
        }
        said = [f"{counts['pass']} of {len(self.checks)} checks passed"]
        said += [f"{counts['fail']} failed"] if counts["fail"] else []
        said += [f"{counts['inconclusive']} inconclusive"] if counts["inconclusive"] else []
        allowed = ", which the policy allows" if self.passed and counts["inconclusive"] else ""
        return f"{self.outcome.upper()}: {', '.join(said)}{allowed}."

    def _repr_html_(self) -> str:
        rows = [
            (
                check.outcome, check.set_name, METRICS[check.metric].verdict(check.kind), _interval(check.found),
                f"{'at most' if check.kind == 'max_drop' else 'at least'} {check.limit.value:g} {check.limit.unit}",
                f"{check.found.n:,} {check.items}", check.remedy if check.outcome == "inconclusive" else "",
            )
            for check in self.checks
        ]  # fmt: skip
        return html_table(COLUMNS, rows, (f"{self.run}: {self.sentence}", *self.notes))

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.run, "outcome": self.outcome, "passed": self.passed, "confidence": self.confidence,
            "allow_inconclusive": self.allow_inconclusive, "checks": [check.as_json() for check in self.checks],
            "ungated": list(self.ungated), "weights": self.weights, "panels": dict(self.panels),
            "notes": list(self.notes),
        }  # fmt: skip


def gate(run: str | Path | Judgeable, policy: str | Path | Policy | Mapping[str, Any]) -> Verdict:
    """Holds every rule of the policy against the scores by document, and those of panels by item.

    A check passes when the interval of the drop lies below its limit, fails when it lies above, and is inconclusive
    otherwise. All checks must pass, so none is corrected for the others: a run that drops too much somewhere passes
    only if that very check does (Berger, *Multiparameter hypothesis testing*, 1982).

    Args:
        run: a finished run folder, or what :func:`acclimate.measure` found of any two models.
        policy: its file, the same as plain data, or what ``parse_policy`` makes of that.

    Raises:
        ConfigError: the policy is wrong, or says something of a set or role that the run has not.
        RunError: the run or a panel is not measured, scores are damaged, edited, or not of the run's own weights, base
            and documents.
    """
    if isinstance(policy, str | Path):
        policy = load_policy(policy)
    elif isinstance(policy, Mapping):
        policy = parse_policy(policy)
    if not isinstance(run, str | Path):
        return _of_measured(run, policy)
    folder = read_folder(Path(run))
    origin = check_measured(folder.path, folder.provenance)
    notes = _promised(folder, origin)
    sets = [(item.name, item.role) for item in folder.sets]
    _check_everything_applies(f"the run '{folder.path}'", sets, policy)
    checks: list[Check] = []
    ungated: list[str] = []
    panels: dict[str, str] = {}
    for item in folder.sets:
        found = policy.rule(item.name, item.role)
        if found is None:
            ungated.append(item.name)
            continue
        place, rule = found
        scores = _scores(folder, item, policy.places.at(place))
        checks += _checks(Judged(item.name, item.role, "documents", scores), rule, policy, place)
    for name, rules in policy.panels.items():
        panel = _panel(folder, name, policy)
        panels[name] = panel.digest
        for set_name, rule in rules.items():
            place, role = f"panels.{name}.{set_name}", str(panel.sets[set_name]["role"])
            scores = panel.scores(set_name)
            if (n := int(panel.sets[set_name]["items"])) < MINIMUM_DOCUMENTS:
                raise ConfigError(
                    f"{policy.places.at(place)}: '{set_name}' has {n} items, and an interval over fewer than "
                    f"{MINIMUM_DOCUMENTS} does not keep what it says; give the panel more, or leave the set out."
                )
            checks += _checks(Judged(f"{name}/{set_name}", role, "items", scores), rule, policy, place)
        ungated += [f"{name}/{set_name}" for set_name in panel.sets if set_name not in rules]
    return Verdict(
        folder.name, tuple(checks), tuple(ungated), policy.confidence, policy.allow_inconclusive,
        str(origin.weights), panels, (*notes, *([origin.note] if origin.note else [])),
    )  # fmt: skip


def _promised(folder: RunFolder, origin: Origin) -> list[str]:
    """That every set which the run holds out was measured, whole; a note for one with documents that have no score.

    Raises:
        RunError: a set is missing, has another role, or more documents than are held out.
    """
    if origin.weights is None:
        raise RunError(
            f"The run '{folder.path}' was measured before acclimate kept digests, so nothing shows which weights its "
            f"numbers are of, and it cannot be gated. `acclimate eval {folder.path}` measures it again."
        )
    again = f"Run `acclimate eval {folder.path}` again."
    measured, notes = {item.name: item.role for item in folder.sets}, base_notes(folder.provenance)
    for name, source in (folder.data.get("sources") or {}).items():
        held = int(source.get("heldout_documents") or 0)
        if not held:
            continue
        if name not in measured or not origin.documents.get(name):
            raise RunError(f"The run '{folder.path}' holds documents of '{name}' out, but has no scores of it. {again}")
        if measured[name] != source.get("role", measured[name]):
            raise RunError(
                f"'{folder.path}': '{name}' is {measured[name]} in summary.json and {source['role']} in data.json. "
                f"{again}"
            )
        section = folder.config.get("evaluation") or {}
        held -= int(section.get("validation_documents") or 0)
        most = min(held, int(section.get("documents") or held))
        if (n := origin.documents[name]) > most:
            raise RunError(f"'{folder.path}' has scores of {n} documents of '{name}', but {most} to report. {again}")
        if n < most:
            notes.append(f"{name}: {n} of {most} documents have a token to be scored by.")
    if extra := sorted(measured.keys() - origin.documents.keys()):
        raise RunError(f"'{folder.path}': summary.json has {listed(extra)}, which eval/ has no scores of. {again}")
    return notes


@dataclass(frozen=True)
class Judged:
    """A set of the run or of a panel, and what was measured of each of its documents or items."""

    name: str
    role: str
    counted: str
    scores: Mapping[str, np.ndarray]

    @property
    def items(self) -> int:
        """Those that have something to be measured by."""
        if "bytes" in self.scores:
            return int(np.sum(self.scores["bytes"] > 0))
        return max((len(column) for column in self.scores.values()), default=0)


COLUMNS = ("outcome", "set", "check", "found", "limit", "measured on", "what would decide")


def _interval(found: Estimate) -> str:
    bounds = f" ({found.low:.4g} to {found.high:.4g})" if found.bounded else ""
    return f"{found.value:.4g}{bounds} {found.unit}"


class Judgeable(Protocol):
    """What was measured of a model and its base, in memory."""

    @property
    def name(self) -> str: ...

    @property
    def judged(self) -> Sequence[Judged]: ...

    @property
    def notes(self) -> Sequence[str]: ...


def _of_measured(found: Judgeable, policy: Policy) -> Verdict:
    """The rules about sets and roles; those of a panel are about sets of a measurement that bears its name."""
    sets = [(one.name, one.role) for one in found.judged]
    own = policy.panels.get(found.name, {})
    if other := [name for name in policy.panels if name != found.name]:
        raise ConfigError(
            f"{policy.places.at(f'panels.{other[0]}')}: what was measured is called '{found.name}'; write rules about "
            "its sets under sets or roles, or under the panel of that name."
        )
    if absent := [name for name in own if name not in dict(sets)]:
        raise ConfigError(
            f"{policy.places.at(f'panels.{found.name}.{absent[0]}')}: no such set was measured; there are "
            f"{listed(name for name, _ in sets)}.{nearest(absent[0], dict(sets))}"
        )
    _check_everything_applies(f"'{found.name}'", sets, policy)
    checks: list[Check] = []
    ungated: list[str] = []
    for judged in found.judged:
        rule = policy.rule(judged.name, judged.role)
        if judged.name in own:
            rule = f"panels.{found.name}.{judged.name}", own[judged.name]
        if rule is None:
            ungated.append(judged.name)
            continue
        if (n := judged.items) < MINIMUM_DOCUMENTS:
            raise ConfigError(
                f"{policy.places.at(rule[0])}: '{judged.name}' was measured on {n} {judged.counted}, and an interval "
                f"over fewer than {MINIMUM_DOCUMENTS} does not keep what it says; measure more, or leave the set out."
            )
        checks += _checks(judged, rule[1], policy, rule[0])
    return Verdict(
        found.name, tuple(checks), tuple(ungated), policy.confidence, policy.allow_inconclusive,
        notes=tuple(found.notes),
    )  # fmt: skip


def _checks(judged: Judged, rule: Rule, policy: Policy, place: str) -> list[Check]:
    has, checks = gated(judged.scores), []
    for kind, metric, margin in rule.margins:
        if metric not in has:
            raise ConfigError(
                f"{policy.places.at(f'{place}.{kind}.{metric}')}: '{judged.name}' is not measured by {metric}; it has "
                f"{listed(has)}."
            )
        value = METRICS[metric].drop(kind, margin.unit, judged.scores, policy.confidence)
        checks.append(Check(judged.name, judged.role, kind, metric, value, margin, judged.counted))
    return checks


def _panel(folder: RunFolder, name: str, policy: Policy) -> PanelFolder:
    """A panel that the run's own model and base were measured on, with every set that the policy names."""
    place, run = policy.places.at(f"panels.{name}"), Layout(folder.path)
    path = run.panel(name).path
    if run.panel(name) not in run.panels:
        names = [panel.path.name for panel in run.panels]
        has = f"; it was measured on {listed(names)}.{nearest(name, names)}" if names else "."
        raise ConfigError(
            f"{place}: the run '{folder.path}' was not measured on a panel '{name}'{has} "
            f"`acclimate eval {folder.path} --panel FILE` measures one."
        )
    panel = read_panel(path)
    if not check_panel(folder.path, folder.provenance, path):
        raise RunError(f"The panel '{path}' was measured before acclimate kept digests of its files. {AGAIN}")
    if policy.panel_digests.get(name, panel.digest) != panel.digest:
        raise ConfigError(
            f"{policy.places.at(f'panel_digests.{name}')}: the run '{folder.path}' was measured on another panel "
            f"'{name}' ({panel.digest}): other items, template or length. Measure it on the one that is meant."
        )
    for set_name in policy.panels[name]:
        if set_name not in panel.sets:
            raise ConfigError(
                f"{policy.places.at(f'panels.{name}.{set_name}')}: the panel has no set '{set_name}'; it has "
                f"{listed(panel.sets)}.{nearest(set_name, panel.sets)}"
            )
    return panel


def _check_everything_applies(measured: str, sets: Sequence[tuple[str, str]], policy: Policy) -> None:
    """A rule about nothing would let pass what it was written to stop.

    Args:
        measured: what it is, in words.
        sets: name and role of each that was measured.
    """
    names, roles = [name for name, _ in sets], {role for _, role in sets}
    for name in policy.sets:
        if name not in names:
            raise ConfigError(
                f"{policy.places.at(f'sets.{name}')}: {measured} measured no set '{name}'; it measured "
                f"{listed(names)}.{nearest(name, names)}"
            )
    for role, rule in policy.roles:
        if rule is not None and role not in roles:
            raise ConfigError(
                f"{policy.places.at(f'roles.{role}')}: no set of {measured} has the role '{role}'; it "
                f"measured {listed(f'{name} ({role})' for name, role in sets)}."
            )
    if not policy.panels and not any(policy.rule(name, role) for name, role in sets):
        raise ConfigError(f"{policy.places.origin}: no rule is about a set of {measured}.")


def _scores(folder: RunFolder, item: TextSet, place: str) -> Mapping[str, np.ndarray]:
    path = Layout(folder.path).scores(item.name)
    if not path.is_file():
        raise RunError(
            f"The run '{folder.path}' has no scores by document of '{item.name}' (eval/{item.name}.jsonl). "
            f"Run `acclimate eval {folder.path}`."
        )
    scores = read_scores(path)
    if (n := int(np.sum(scores["bytes"] > 0))) < MINIMUM_DOCUMENTS:
        raise ConfigError(
            f"{place}: '{item.name}' was measured on {n} documents, and an interval over fewer than "
            f"{MINIMUM_DOCUMENTS} does not keep what it says; hold out more (sources.{item.name}.heldout, "
            "evaluation.documents), or leave the set out of the policy."
        )
    return scores
