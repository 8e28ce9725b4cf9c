"""What a configuration says of a run that a law is over, and what must be the same in all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from acclimate.build.plan import build_methods, method_names
from acclimate.config.apart import SAME_WORK, without
from acclimate.config.load import RunConfig, specs
from acclimate.data.prepare.routes import all_domain
from acclimate.types.errors import UsageError

FREE = (
    "seed", "optimizer.learning_rate", "schedule.warmup_steps", "budget.tokens", "budget.steps", "budget.epochs",
    "training",
)  # fmt: skip
"""What the runs of one law may differ in, beside shares and the method's weight."""


def method_of(config: RunConfig) -> str:
    """``mol`` or ``mol+l2``."""
    return "+".join(method_names(config))


def weight_of(config: RunConfig) -> float:
    """Of what holds the model: the field that the first of its methods with one calls its strength; else 1."""
    for method in build_methods(config):
        value = getattr(method, method.facts.strength or "", None)
        if isinstance(value, int | float):
            return float(value)
    return 1.0


def role_of(config: RunConfig, name: str) -> str:
    """Whether a source counts as the domain's."""
    section = config.sources[name]
    return section.role or ("domain" if all_domain(name, section) else "general")


def check_alike(configs: Mapping[str, RunConfig], control: Collection[str] = ()) -> None:
    """Refuses runs that differ in something that no law here is over.

    Args:
        control: runs whose method may be another one.

    Raises:
        UsageError: names the setting, and what both have.
    """
    shared = {name: _shared(config) for name, config in configs.items()}
    first = next((name for name in shared if name not in control), "")
    for name, own in shared.items():
        expected = shared[first or name]
        method = {"method": expected["method"]} if name in control else {}
        for path, here, there in _differences(expected, own | method):
            raise UsageError(
                f"Runs '{first}' and '{name}' differ in {path} ({_short(here)}, {_short(there)}), and a law is over "
                "share, learning rate, tokens and weight alone. Name runs that are equal in all else."
            )


def like(config: RunConfig, others: Mapping[str, RunConfig]) -> set[str]:
    """Those of the others that differ from a configuration in their method at most, beside what a law is over."""
    expected = _shared(config)
    method = {"method": expected["method"]}
    return {name for name, other in others.items() if not any(_differences(expected, _shared(other) | method))}


def _shared(config: RunConfig) -> dict[str, Any]:
    plain = without(config.model_dump(mode="json"), RunConfig, SAME_WORK)
    for path in FREE:
        section, _, key = path.partition(".")
        (plain[section] if key else plain).pop(key or section)
    strengths = [method.facts.strength for method in build_methods(config)]
    plain["method"] = [
        {"name": spec} if isinstance(spec, str) else {key: value for key, value in spec.items() if key != strength}
        for spec, strength in zip(specs(config), strengths, strict=True)
    ]
    for section in plain["sources"].values():
        section.pop("share")
    return plain


def _differences(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}".lstrip("."))
    elif one != other:
        yield path, one, other


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
