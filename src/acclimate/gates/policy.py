"""The policy file: how much each held-out set may lose, and how much the domain must gain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, PrivateAttr, ValidationInfo, create_model, field_validator, model_validator

from acclimate.config.explain import Places, shown
from acclimate.config.settings_file import SettingsFile
from acclimate.config.source_schema import Section
from acclimate.config.yamlfile import read_mapping
from acclimate.paired.metrics import METRICS
from acclimate.types.errors import ConfigError, listed, nearest

EXAMPLES = {"%": "2", "points": "2"}


@dataclass(frozen=True)
class Margin:
    """A number of a unit, 0 or more."""

    value: float
    unit: str


def parse_margin(metric: str, text: Any) -> Margin:
    """
    >>> parse_margin("bits_per_byte", "2 %")
    Margin(value=2.0, unit='%')
    """
    examples = listed(f"'{EXAMPLES.get(unit, '0.02')} {unit}'" for unit in METRICS[metric].margins)
    found = re.fullmatch(r"\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*(\D*?)\s*", str(text))
    if found is None or isinstance(text, bool):
        raise ValueError(f"{shown(text)} is no margin; a margin is a number and its unit, like {examples}")
    if found[2] not in METRICS[metric].margins:
        wrong = f"{shown(found[2])} is no unit of {metric}" if found[2] else f"{shown(text)} has no unit"
        raise ValueError(f"{wrong}; write it as {examples}")
    if float(found[1]) < 0:
        raise ValueError(f"{shown(text)} is negative; a margin is 0 or more (min_gain asks for an improvement)")
    return Margin(float(found[1]), found[2])


class Margins(Section):
    @field_validator("*", mode="before")
    @classmethod
    def _parsed(cls, value: Any, info: ValidationInfo) -> Any:
        return value if value is None or isinstance(value, Margin) else parse_margin(info.field_name or "", value)


def _margins(name: str, doc: str, said: Mapping[str, str]) -> type[Margins]:
    """A section with a margin for each metric of which something is said."""
    fields: dict[str, Any] = {
        metric: (Margin | None, Field(None, description=description))
        for metric, description in said.items()
        if description
    }
    return create_model(name, __base__=Margins, __module__=__name__, __doc__=doc, **fields)


MaxDrop = _margins("MaxDrop", "The largest loss allowed.", {name: own.max_drop for name, own in METRICS.items()})
MinGain = _margins("MinGain", "The smallest gain demanded.", {name: own.min_gain for name, own in METRICS.items()})


class Rule(Section):
    """What is held against one set."""

    max_drop: MaxDrop = MaxDrop()  # type: ignore[valid-type]
    min_gain: MinGain = MinGain()  # type: ignore[valid-type]

    @property
    def margins(self) -> list[tuple[str, str, Margin]]:
        """(kind, metric, margin), as written."""
        kinds: list[tuple[str, Margins]] = [("min_gain", self.min_gain), ("max_drop", self.max_drop)]
        return [(kind, metric, margin) for kind, own in kinds for metric, margin in own if margin is not None]

    @model_validator(mode="after")
    def _says_something(self) -> Rule:
        if not self.margins:
            raise ValueError("holds no margin; give it max_drop or min_gain")
        return self


class Roles(Section):
    """Rules by role."""

    domain: Rule | None = None
    general: Rule | None = None
    chat: Rule | None = None


class Policy(SettingsFile):
    """A set's own rule wins as a whole over its role's, and that over the default."""

    called: ClassVar[str] = "policy"

    confidence: float = Field(
        0.95,
        ge=0.5,
        le=0.995,
        description="of each check's interval, two-sided; beyond, 2,000 resamples tell too little",
    )
    allow_inconclusive: bool = Field(False, description="whether a gate that cannot decide lets the run through")
    default: Rule | None = None
    roles: Roles = Roles()
    sets: dict[str, Rule] = Field(default_factory=dict)
    panels: dict[str, Annotated[dict[str, Rule], Field(min_length=1)]] = Field(
        default_factory=dict, description="rules by set of each panel, which is in RUN/panels/NAME"
    )

    panel_digests: dict[str, str] = Field(
        default_factory=dict, description="digest of a panel, as the gate prints it: refuses another panel of that name"
    )

    _places: Places = PrivateAttr(default_factory=lambda: Places("policy"))

    def rule(self, name: str, role: str) -> tuple[str, Rule] | None:
        """The dotted path of the rule for a set, and the rule."""
        if name in self.sets:
            return f"sets.{name}", self.sets[name]
        own = getattr(self.roles, role, None)
        if own is not None:
            return f"roles.{role}", own
        return ("default", self.default) if self.default is not None else None


def load_policy(path: str | Path) -> Policy:
    """Reads a policy file.

    Raises:
        ConfigError: file missing, not YAML, unknown key, wrong margin; the message says where and what is accepted.
    """
    data, places = read_mapping(Path(path), "policy", " docs/howto/gate.md has one to start from.")
    return parse_policy(data, Places(str(path), places))


def parse_policy(data: Mapping[str, Any], places: Places | None = None) -> Policy:
    """Builds a :class:`Policy` from plain data, with errors as sentences."""
    places = places or Places("policy")
    policy = Policy.parsed(data, places)
    if not (policy.default or policy.sets or policy.panels or any(rule for _, rule in policy.roles)):
        raise ConfigError(
            f"{places.origin}: holds no rule; write one at default, roles.ROLE, sets.NAME or panels.NAME.SET."
        )
    for name in policy.panel_digests:
        if name not in policy.panels:
            raise ConfigError(
                f"{places.at(f'panel_digests.{name}')}: no rule is about a panel '{name}'; write one at panels.{name}, "
                f"or leave the digest out.{nearest(name, policy.panels)}"
            )
    return policy
