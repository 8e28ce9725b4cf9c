"""The cells of a comparison: one method, its settings, one seed. A cell's key says what is trained, not where."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import yaml

from acclimate.config.load import RunConfig, load_config
from acclimate.data.prepare.routes import all_domain
from acclimate.methods.registry import METHODS
from acclimate.types.errors import ConfigError
from acclimate.verbs.compare.identity import identity
from acclimate.verbs.compare.preparation import Preparation, prepared
from acclimate.verbs.compare.schema import Comparison, Settings
from acclimate.verbs.compare.tuning import check_rule

Kind = Literal["trial", "run"]


@dataclass(frozen=True)
class Cell:
    """One run of the comparison."""

    method: str  # its name in the comparison
    kind: Kind
    settings: Settings
    seed: int
    config: RunConfig
    preparations: tuple[Preparation, ...] = ()

    @property
    def key(self) -> str:
        """Equal for equal work: a digest of kind, method, seed and configuration, without paths."""
        plain = identity(self.config)
        plain.pop("seed", None)
        text = json.dumps([self.kind, self.method, self.seed, plain], sort_keys=True)
        for made in self.preparations:
            place = json.dumps(str(made.folder.resolve()))[1:-1]  # as it stands in the text
            text = text.replace(place, json.dumps([made.kind, made.options], sort_keys=True))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def prepared(self) -> dict[str, str]:
        """What its preparations are made of, as a row's digests have it."""
        return {f"prepared.{made.kind}": made.digest for made in self.preparations}

    @property
    def name(self) -> str:
        return f"{self.method} {spelled(self.settings)}".strip() + f", seed {self.seed}"


def trial_cells(comparison: Comparison, method: str) -> list[Cell]:
    """Every combination of the method's tuned values, measured on validation documents."""
    tune = comparison.methods[method].tune or {}
    combinations = [dict(zip(tune, values, strict=True)) for values in itertools.product(*tune.values())]
    return [_cell(comparison, method, "trial", chosen, comparison.tuning.seed) for chosen in combinations if tune]


def run_cell(comparison: Comparison, method: str, chosen: Settings, seed: int) -> Cell:
    """A run with the chosen settings, measured on test documents."""
    return _cell(comparison, method, "run", chosen, seed)


def _cell(comparison: Comparison, method: str, kind: Kind, chosen: Settings, seed: int) -> Cell:
    settings = comparison.methods[method].set | chosen
    split = "validation" if kind == "trial" else "test"
    settings |= {"seed": seed, "data.split": split, "output_dir": str(comparison.folder / f"{kind}s")}
    if kind == "trial":  # of which nothing but scores is looked at
        settings |= {"evaluation.generations": 0, "evaluation.memorisation_documents": 0}

    def load(settings: Settings) -> RunConfig:
        # What is whole comes first: `method: mol` before `method.kl_weight: 2`.
        ordered = sorted(settings.items(), key=lambda item: item[0].count("."))
        return load_config(comparison.run_path, [f"{path}={_written(value)}" for path, value in ordered])

    try:
        folder, section = comparison.folder / "stores", comparison.methods[method].prepare
        _check_roles(load({}), load(settings))
        config, made = prepared(load(settings), section, comparison.tuning.seed, folder, load)
    except ConfigError as error:
        raise _of_method(comparison, method, error) from None
    cell = Cell(method, kind, chosen, seed, config, tuple(made))
    return replace(cell, config=config.model_copy(update={"name": f"{method}-{seed}-{cell.key[:8]}"}))


def _check_roles(shared: RunConfig, own: RunConfig) -> None:
    """Refuses a method whose routes would make a source count as domain, or no longer: means are over equal sets."""
    for name, section in shared.sources.items():
        domain = [all_domain(name, one) for one in (section, own.sources[name])]
        if section.role is None and domain[0] != domain[1]:
            raise ConfigError(
                f"sources.{name}.route: '{own.sources[name].route}' would change whether '{name}' counts as domain; "
                f"say sources.{name}.role in the run that all share."
            )


def check(comparison: Comparison) -> None:
    """Every cell's configuration and method, before any is trained.

    Raises:
        ConfigError: which method, and what is wrong with it.
    """
    from acclimate.build.plan import build_methods

    for method, section in comparison.methods.items():
        trials = trial_cells(comparison, method)
        if trials:
            _check_rule(comparison, trials[0].config)
        cells = trials or [run_cell(comparison, method, {}, comparison.seeds[0])]
        for cell in cells:
            try:
                for config in (*(made.config for made in cell.preparations), cell.config):
                    build_methods(config)
            except ConfigError as error:
                raise _of_method(comparison, method, error) from None
        if "method" not in section.set and method in METHODS:
            raise ConfigError(
                f"{comparison.places.at(f'methods.{method}.set')}: does not set method, so this is the method of "
                f"'{comparison.run}'; write set: {{method: {method}}}, or call it by another name."
            )


def _check_rule(comparison: Comparison, config: RunConfig) -> None:
    measured = [
        section.role == "domain" or (section.role is None and all_domain(name, section))
        for name, section in config.sources.items()
        if section.heldout
    ]
    check_rule(comparison.tuning, any(measured), not all(measured))


def _of_method(comparison: Comparison, method: str, error: ConfigError) -> ConfigError:
    return ConfigError(f"{comparison.places.at(f'methods.{method}')}: {str(error).removeprefix('--set ')}")


def spelled(settings: Mapping[str, Any]) -> str:
    """
    >>> spelled({"optimizer.learning_rate": 1e-4, "method": {"name": "mol", "kl_weight": 2}})
    'optimizer.learning_rate=0.0001 method={name: mol, kl_weight: 2}'
    """
    return " ".join(f"{path}={_written(value)}" for path, value in settings.items())


def _written(value: Any) -> str:
    """As YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=100_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()
