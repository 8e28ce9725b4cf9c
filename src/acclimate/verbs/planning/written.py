"""Advice as an ordinary configuration, with the reason behind every setting that it chose."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from acclimate.config.load import RunConfig, parse_config
from acclimate.config.schemas import write_with_schema
from acclimate.data.deal.mix import resolve_shares
from acclimate.disk.commented import written
from acclimate.types.errors import UsageError, listed
from acclimate.verbs.planning.advice import PLAN, Advice
from acclimate.verbs.planning.answers import Answer, drift, gain, percent
from acclimate.verbs.planning.reading.readings import ANCHORED, CONTROL
from acclimate.verbs.planning.reading.settings import role_of
from acclimate.verbs.search.candidate import with_share

ALL = "all"
RUNS = "runs"
ENDINGS = (".yaml", ".yml")


def check_free(path: Path) -> None:
    """
    Raises:
        UsageError: its ending is another one, something stands there, or its folder does not.
    """
    if path.suffix not in ENDINGS:
        raise UsageError(f"--write: '{path}' is no name of a configuration; accepted endings: {listed(ENDINGS)}.")
    if path.exists():
        raise UsageError(f"--write: '{path}' exists and is left alone; name a new file.")
    if not path.parent.is_dir():
        raise UsageError(f"--write: the folder '{path.parent}' does not exist; make it, or name another file.")


def write_config(advice: Advice, answers: dict[str, Answer], base: RunConfig | None, path: Path) -> Path:
    """Writes the configuration that trains what is advised.

    Args:
        answers: by key.
        base: what the advice changes; None: the configuration of the nearest measured run.

    Raises:
        UsageError: a file is there, or no configuration is known.
    """
    check_free(path)
    one = advice.beside[PLAN]
    config = base or advice.laws.table.configs.get(one.nearest.run)
    if config is None:
        raise UsageError(
            "--write: the table does not hold the configuration of its runs; name the one that the advice changes with "
            "--config FILE."
        )
    data, reasons = _settings(advice, answers, config)
    parsed = parse_config(data)
    settings = parsed.model_dump(mode="json", exclude_defaults=True)
    settings = {"name": parsed.name, "method": data["method"]} | settings
    text = written(settings, reasons, "\n".join(_head(advice, answers, path)))
    write_with_schema(path, text)
    return path


def _settings(advice: Advice, answers: dict[str, Answer], config: RunConfig) -> tuple[dict[str, Any], dict[str, str]]:
    one = advice.beside[PLAN]
    data, reasons = config.model_dump(mode="json"), {}
    data |= {"name": f"{config.name[:90]}-plan", "output_dir": RUNS, "search": None}
    data["data"]["split"] = "test"
    # 1. the mixture
    used = {name: source for name, source in config.sources.items() if source.share != 0}
    shares = resolve_shares(used)
    if answers["share"].told:
        shares = with_share(config.sources, one.setting.share)
        if one.setting.share == 1 and data["method"] in ANCHORED:
            data["method"] = CONTROL
            reasons["method"] = "plan: plain tuning keeps the limit, so nothing has to hold the model"
        for name, value in shares.items():
            data["sources"][name]["share"] = value
            why = f"plan: {percent(one.setting.share)} domain; drift {drift(one)}, {advice.keep:g} allowed"
            reasons[f"sources.{name}.share"] = why if role_of(config, name) == "domain" else "plan: the rest"
    # 2. the learning rate
    if answers["learning_rate"].told:
        data["optimizer"]["learning_rate"] = one.setting.learning_rate
        reasons["optimizer.learning_rate"] = f"plan: gain {gain(advice, one)}"
    # 3. the length
    counted = config.budget.count
    domain = sum(value for name, value in shares.items() if role_of(config, name) == "domain")
    total = one.setting.tokens / domain
    data["budget"] |= {
        "steps": None,
        "epochs": None,
        "tokens": round(total * (1 if counted == ALL else shares[counted])),
    }
    reasons["budget.tokens"] = f"plan: {one.setting.tokens:,.0f} tokens of the domain"
    return data, reasons


def _head(advice: Advice, answers: dict[str, Answer], path: Path) -> list[str]:
    one, near = advice.beside[PLAN], advice.beside[PLAN].nearest
    table = advice.laws.table
    said = [
        f"acclimate plan wrote this from {len(table.ends)} runs, for a limit of {advice.keep:g} nats a token.",
        f"Predicted at {one.setting}: gain {gain(advice, one)}; drift "
        f"{drift(one) if one.drift.bounded else 'not told'}.",
        *([] if answers["share"].told else ["The share is not told, so it stays as it was."]),
        f"Nearest run: {near.run}, {near.setting}: gain {near.gain:.3f}, drift {near.drift:.3f}.",
        *(f"{answer.question} {answer.says}" for answer in answers.values() if not answer.told),
        f"Train it: acclimate train {path}",
    ]
    return [line for sentence in said for line in textwrap.wrap(sentence, 108)]
