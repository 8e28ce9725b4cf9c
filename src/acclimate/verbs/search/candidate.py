"""What `method: auto` may choose: a method, its learning rate, the domain's share, an adapter or all weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from acclimate.build.plan import build_plan, compose
from acclimate.config.chosen.retain import RetainSection
from acclimate.config.chosen.search import CONTROL, SearchSection
from acclimate.config.load import RunConfig, Spec, parse_config
from acclimate.config.lora_schema import LoraSection
from acclimate.config.source_schema import SourceSection
from acclimate.data.deal.mix import resolve_shares
from acclimate.data.prepare.routes import all_domain
from acclimate.model.load import empty_network
from acclimate.types.errors import ConfigError, listed
from acclimate.types.plan import PlanContext
from acclimate.verbs.pace import usual_rate

FACTORS = (0.5, 1.0, 2.0)
"""Of the usual learning rate."""


def together(found: Iterable[Candidate]) -> str:
    """In words, those that differ in their learning rate alone as one.

    >>> together([Candidate("mol", 1e-4, 0.5, None), Candidate("mol", 2e-4, 0.5, None)])
    'mol, all weights, learning rate 0.0001 or 0.0002, 50% domain'
    """
    alike: dict[tuple[Any, ...], list[Candidate]] = {}
    for one in found:
        alike.setdefault(one.kind, []).append(one)
    return "; ".join(
        first.says.replace(f"{first.learning_rate:g}", listed(f"{one.learning_rate:g}" for one in (first, *others)), 1)
        for first, *others in alike.values()
    )


@dataclass(frozen=True)
class Candidate:
    """One setting of the final run."""

    method: Spec
    learning_rate: float
    share: float | None
    """Of the domain; None where the method learns from nothing else."""
    lora: LoraSection | None

    @property
    def label(self) -> str:
        """The method's name."""
        return self.method if isinstance(self.method, str) else str(self.method["name"])

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal where a step costs the same, whatever the learning rate."""
        return repr(self.method), self.share, self.lora is not None

    @property
    def says(self) -> str:
        """In words: ``mol, all weights, learning rate 0.0002, 50% domain``."""
        tuned = "all weights" if self.lora is None else f"LoRA rank {self.lora.rank}"
        shared = "" if self.share is None else f", {self.share:.0%} domain"
        return f"{self.label}, {tuned}, learning rate {self.learning_rate:g}{shared}"

    @property
    def record(self) -> dict[str, Any]:
        """As search.json has it."""
        return {
            "method": self.method,
            "learning_rate": self.learning_rate,
            "share": self.share,
            "lora": None if self.lora is None else self.lora.model_dump(mode="json"),
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Candidate:
        """What :attr:`record` was made of."""
        lora = None if record["lora"] is None else LoraSection.model_validate(record["lora"])
        return cls(record["method"], record["learning_rate"], record["share"], lora)


def candidates(config: RunConfig) -> list[Candidate]:
    """The whole search space, in the order in which it is tried as far as the cost allows.

    First sft and the others at every learning rate as the configuration is written; then with the other kind of
    weights; then at the other shares. Learning rates in the middle come first.

    Raises:
        ConfigError: a method is unknown or cannot learn from these sources; nothing is left to choose.
    """
    section = config.search or SearchSection()
    own = config.lora is not None
    kinds = section.lora or ([True] if config.model.quantization else [own, not own])
    shares = _shares(config, section)
    specs = [CONTROL, *(spec for spec in section.methods if spec != CONTROL)]
    rates = {lora: section.rates(lora) or _usual(config, lora) for lora in kinds}
    alone = {repr(spec): _learns_alone(config, spec) for spec in specs}
    found: list[Candidate] = []
    for share in shares:
        for lora in kinds:
            for spec in specs:
                if alone[repr(spec)] and share != shares[0]:
                    continue
                adapter = (config.lora or LoraSection()) if lora else None
                part = None if alone[repr(spec)] else share
                found += [Candidate(spec, rate, part, adapter) for rate in _from_the_middle(rates[lora])]
    if all(alone.values()) and section.shares is not None:
        raise ConfigError(
            "search.shares: has no effect, since none of search.methods learns from anything but the domain; leave it "
            "out, or name a method that does, as mol."
        )
    return found


def required(config: RunConfig, found: list[Candidate]) -> list[Candidate]:
    """Those without which there is no search: every method at every learning rate as the configuration is written."""
    first = found[0]
    return [one for one in found if (one.lora is None) == (first.lora is None) and one.share in (None, _first(found))]


def _first(found: list[Candidate]) -> float | None:
    return next((one.share for one in found if one.share is not None), None)


def plain(config: RunConfig, candidate: Candidate) -> RunConfig:
    """The configuration that trains the candidate: what `--freeze` writes.

    Raises:
        ConfigError: it cannot be trained so.
    """
    data = config.model_dump(mode="json")
    data |= {"method": candidate.method, "search": None}
    data["lora"] = candidate.record["lora"]
    data["optimizer"]["learning_rate"] = candidate.learning_rate
    if candidate.share is not None:
        for name, share in with_share(config.sources, candidate.share).items():
            data["sources"][name]["share"] = share
    if config.retain is not None and config.retain.steer and not _is_steered(config, candidate.method):
        fields = RetainSection.model_fields
        data["retain"] |= {"steer": False, "low": fields["low"].default, "high": fields["high"].default}
    return parse_config(data, config.places)


def _is_steered(config: RunConfig, spec: Spec) -> bool:
    """Whether the method has a strength that a budget moves."""
    composition = compose(_watching(config, spec))
    strengths = [method.facts.strength for method in composition.methods.values()]
    return any(strength is not None for strength in strengths) or any(r.anchors for r in composition.terms)


def _learns_alone(config: RunConfig, spec: Spec) -> bool:
    """Whether the method learns from the domain and nothing else, so that shares are nothing to it."""
    try:
        composition = compose(_watching(config, spec))
    except ConfigError as error:
        said = str(error).removeprefix(config.places.at("method").removesuffix("method")).removeprefix("method")
        raise ConfigError(f"search.methods{said}" if said[0] in ".:" else f"search.methods: {said}") from None
    if composition.selection is not None:
        raise ConfigError(
            f"search.methods: '{composition.name}' chooses its labels by a pass over all text, which no probe's cost "
            "holds; name it as the run's own method."
        )
    if build_plan(composition, PlanContext(total_steps=1)).after is not None:
        raise ConfigError(
            f"search.methods: '{composition.name}' chooses its weights after training, as the budget does for every "
            "method here (retain.rescale); leave it out."
        )
    return all(route == "domain" for routed in composition.terms for route in routed.routes)


def _watching(config: RunConfig, spec: Spec) -> RunConfig:
    """With this method, and a budget that moves nothing."""
    return config.model_copy(update={"method": spec, "search": None, "retain": None})


def _usual(config: RunConfig, lora: bool) -> list[float]:
    rate = usual_rate(empty_network(config.model).num_parameters(), lora)
    return [float(f"{factor * rate:.2g}") for factor in FACTORS]


def _from_the_middle(rates: list[float]) -> Iterator[float]:
    """
    >>> list(_from_the_middle([1, 2, 4, 8]))
    [4, 2, 8, 1]
    """
    middle = len(rates) // 2
    yield from sorted(rates, key=lambda rate: (abs(rates.index(rate) - middle), rate))


def _shares(config: RunConfig, section: SearchSection) -> list[float]:
    """Of the domain: as given, or as its sources say and with half as much other text beside each of its tokens."""
    if section.shares is not None:
        return section.shares
    used = {name: one for name, one in config.sources.items() if one.share != 0}
    shares = resolve_shares(used)
    own = math.fsum(share for name, share in shares.items() if all_domain(name, config.sources[name]))
    if not 0 < own < 1:
        return [own]
    return [round(own, 6), round(2 * own / (1 + own), 3)]


def with_share(sources: Mapping[str, SourceSection], share: float) -> dict[str, float]:
    """Shares by source with which the domain's sources have ``share`` together; 0 stays 0."""
    used = {name: one for name, one in sources.items() if one.share != 0}
    shares = resolve_shares(used)
    domain = {name: all_domain(name, sources[name]) for name in used}
    sums = {kind: math.fsum(s for name, s in shares.items() if domain[name] == kind) for kind in (True, False)}
    if not sums[False]:
        raise ConfigError("search.shares: has no effect, since no source but the domain's is trained on; leave it out.")
    parts = {True: share, False: 1 - share}
    return {name: round(parts[domain[name]] * own / sums[domain[name]], 9) for name, own in shares.items()}
