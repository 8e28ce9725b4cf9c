"""A gate's policy for the run of a configuration: written, and held against what the run will measure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from acclimate.config.load import RunConfig, load_config
from acclimate.config.source_schema import SourceSection
from acclimate.config.template import check_new
from acclimate.data.read.documents import Reader
from acclimate.disk.commented import written
from acclimate.disk.files import write_text
from acclimate.gates.policy import Policy, Rule, load_policy
from acclimate.paired.metrics import BITS, DRIFT, METRICS, of_texts
from acclimate.paired.ratio import MINIMUM_DIVERGENCES, MINIMUM_DOCUMENTS, MINIMUM_GROUPS
from acclimate.types.errors import AcclimateError, ConfigError, DataError, listed, nearest

KEPT = "0.2 nats/token"
"""Half of what ordinary tuning drifted, and twice what mol did [ours, benchmarks/2026-11-22-comparison.md]."""

RULES: dict[str, Any] = {"domain": {"min_gain": {BITS: "0 %"}}, "general": {"max_drop": {DRIFT: KEPT}}}
WHY = {
    "sets.domain.min_gain": "held-out text of the domain got easier to predict, beyond doubt",
    "sets.general.max_drop": "KL(base || tuned) on held-out general text; without an anchor about 0.4",
}


def policy_path(config: Path) -> Path:
    """
    >>> str(policy_path(Path("runs/ward.yaml")))
    'runs/ward.gate.yaml'
    """
    return config.with_name(f"{config.stem}.gate.yaml")


def write_policy(path: Path, config: Path) -> list[str]:
    """Writes a policy with a rule for each of the sources ``domain`` and ``general`` that can be judged, never over a
    file that exists; returns what it left out.

    Raises:
        DataError: no source has documents enough.
    """
    check_new(path)
    run = load_config(config)
    enough = {name: _enough(name, section) for name, section in run.sources.items()}
    rules: dict[str, Any] = {name: rule for name, rule in RULES.items() if enough[name]}
    left_out = [
        f"'{name}' has fewer than {2 * MINIMUM_DOCUMENTS} documents, too few to hold {MINIMUM_DOCUMENTS} of them out."
        for name, some in enough.items()
        if not some
    ]
    if not rules:
        raise DataError(f"--policy: there is nothing that a gate could judge: {' '.join(left_out)}")
    head = [
        f"What is demanded of a run: acclimate gate {run.run_dir} --policy {path}",
        f"Whether its rules are about what the run measures: acclimate validate {config} --policy {path}",
        *(f"No rule about {sentence}" for sentence in left_out),
    ]
    why = WHY | {"sets": "sources by name; every margin: docs/howto/gate.md"}
    write_text(path, written({"version": 1, "sets": rules}, why, "\n".join(head)))
    return [f"The policy has no rule about {sentence}" for sentence in left_out]


def _enough(name: str, section: SourceSection) -> bool:
    """Whether a set of it can be judged; of what cannot be read here, `validate` says so."""
    if section.is_self:
        return True
    wanted = 2 * MINIMUM_DOCUMENTS
    try:
        return sum(1 for _ in islice(Reader(name, section).read(), wanted)) == wanted
    except AcclimateError:
        return True


def check_policy(path: Path, config: RunConfig, data: dict[str, Any]) -> list[str]:
    """Holds a policy against what the run will measure; returns notes on rules that cannot pass.

    Args:
        data: :func:`~acclimate.verbs.validate.data_record` of the run.

    Raises:
        ConfigError: a rule is about a set, role or metric that the run will not measure, or about too few documents.
    """
    policy = load_policy(path)
    held = {name: _reported(config, source) for name, source in data["sources"].items()}
    roles = {name: source["role"] for name, source in data["sources"].items() if held[name]}
    for name in policy.sets:
        if name not in roles:
            raise ConfigError(
                f"{policy.places.at(f'sets.{name}')}: the run holds no documents of a source '{name}' out; it measures "
                f"{_shown(roles)}.{nearest(name, roles)}"
            )
    for role, rule in policy.roles:
        if rule is not None and role not in roles.values():
            raise ConfigError(
                f"{policy.places.at(f'roles.{role}')}: no set of the run will have the role '{role}'; it measures "
                f"{_shown(roles)}."
            )
    notes = []
    for name, role in roles.items():
        if (found := policy.rule(name, role)) is not None:
            notes += [*_notes(policy, *found, name, held[name])]
            if (groups := data["sources"][name]["heldout_groups"]) < MINIMUM_GROUPS:
                notes.append(
                    f"the held-out documents of '{name}' belong to {groups} groups; a pass needs {MINIMUM_GROUPS}."
                )
    if not policy.panels and not any(policy.rule(name, role) for name, role in roles.items()):
        raise ConfigError(f"{policy.places.origin}: no rule is about a set of the run; it measures {_shown(roles)}.")
    return notes


def _reported(config: RunConfig, source: dict[str, Any]) -> int:
    """Held-out documents of a source that scores are of."""
    held = max(0, int(source["heldout_documents"]) - config.evaluation.validation_documents)
    return min(held, config.evaluation.documents or held)


def _notes(policy: Policy, place: str, rule: Rule, name: str, count: int) -> Iterator[str]:
    """Of one set."""
    if count < MINIMUM_DOCUMENTS:
        raise ConfigError(
            f"{policy.places.at(place)}: '{name}' will be measured on {count} documents, and an interval over fewer "
            f"than {MINIMUM_DOCUMENTS} does not keep what it says; hold out more (sources.{name}.heldout), or leave "
            "the set out of the policy."
        )
    measured = [metric.name for metric in of_texts()]
    for kind, metric, _ in rule.margins:
        if metric not in measured:
            raise ConfigError(
                f"{policy.places.at(f'{place}.{kind}.{metric}')}: a run's own text is not measured by {metric}; "
                f"accepted: {listed(measured)}."
            )
        if not METRICS[metric].paired and count < MINIMUM_DIVERGENCES:
            yield (
                f"{policy.places.at(f'{place}.{kind}.{metric}')}: '{name}' will be measured on {count} documents, and "
                f"a divergence passes on {MINIMUM_DIVERGENCES} or more; raise sources.{name}.heldout."
            )


def _shown(roles: dict[str, str]) -> str:
    return listed(f"{name} ({role})" for name, role in roles.items()) if roles else "nothing"
