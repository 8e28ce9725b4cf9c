"""The verb of `method: auto`: probes, rung by rung, and the plain configuration of the final run."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from acclimate.build import resolve
from acclimate.config.load import RunConfig, save_config
from acclimate.model.load import resolve_device
from acclimate.parallel.world import World
from acclimate.runs.beginning import with_saved_choices
from acclimate.runs.layout import Layout, read_json, write_json
from acclimate.verbs.replay import with_rows
from acclimate.verbs.search.candidate import Candidate, plain
from acclimate.verbs.search.foresight import Foresight, foresee
from acclimate.verbs.search.probe import Train, probe_config, probed
from acclimate.verbs.search.rule import Found, check_some_finished, choose, go_on
from acclimate.verbs.search.rungs import going_on


def search(config: RunConfig, train: Train, console: Console, world: World) -> RunConfig:
    """Chooses, and writes RUN/search.json and the chosen RUN/config.yaml; every rank calls it.

    Probes that are finished are not trained again, one that was stopped goes on, and a search that is finished gives
    what it chose.

    Args:
        config: with `method: auto`, of a run folder that nobody else writes.
        train: trains a plain configuration.

    Raises:
        ConfigError: nothing can be chosen, or not for that cost.
        RunError: all probes of a rung diverged.
    """
    run = Layout(config.run_dir)
    config = _as_begun(config, world)
    if run.searched.is_file() and (chosen := read_json(run.searched).get("chosen")) is not None:
        return plain(config, Candidate.of(chosen))
    foreseen = None
    with world.all_or_none():
        device = resolve_device(config.model, world.local_rank)
        if world.is_main:
            foreseen = foresee(config, world.size, lambda one: with_rows(one, device, console))
            save_config(config, Layout(run.search).config)  # from here on the search has begun
    foreseen = world.agree(foreseen)
    assert foreseen is not None
    for line in foreseen.says:
        console.print(line, highlight=False, markup=False)
    power = 0.5 if config.retain is not None and config.retain.kl is not None else 1.0
    rungs, tried = foreseen.ladder.rungs, list(foreseen.ladder.tried)
    every: list[list[Found]] = []
    going, count = tried, len(tried)
    for number, rung in enumerate(rungs, 1):
        found: list[Found] = []
        for candidate in going:
            console.rule(f"probe {len(found) + 1} of {len(going)}, {rung.steps} steps: {candidate.says}")
            name = f"{number}-{tried.index(candidate) + 1:02d}-{candidate.label}"
            own = probe_config(config, candidate, name, rung.steps, foreseen.steps)
            found.append(probed(train, own, candidate, rung.steps, world, console if world.is_main else None))
        check_some_finished(found)
        every.append(found)
        if number < len(rungs):
            count = going_on(count)
            going = go_on(found, count, power)
    with world.all_or_none():
        chosen, why = choose(every[-1], power)
        final = plain(config, chosen.candidate)
        if world.is_main:
            write_json(run.searched, _record(foreseen, every, chosen, why, power))
            save_config(final, run.config)
    console.rule()
    console.print(why, highlight=False, markup=False)
    return final


def _as_begun(config: RunConfig, world: World) -> RunConfig:
    """What `auto` means for all of its runs is settled once, when the search begins."""
    began = Layout(Layout(config.run_dir).search).config
    with world.all_or_none():
        known = with_saved_choices(config) if began.is_file() else None
    return resolve(config, world).config if known is None else known


def _record(foreseen: Foresight, every: list[list[Found]], chosen: Found, why: str, power: float) -> dict[str, Any]:
    """``search.json``: what was tried, with its cost, gain and part of the budget; what was chosen, and what was not
    tried."""
    return {
        "steps": foreseen.steps,
        "forwards": {
            "run": round(foreseen.run_cost),
            "limit": round(foreseen.limit),
            "promised": round(foreseen.ladder.cost),
            "spent": round(sum(one.forwards for found in every for one in found)),
        },
        "rungs": [
            {"steps": found[0].steps, "probes": [_probe(one, power) for one in found]} for found in every if found
        ],
        "chosen": chosen.candidate.record,
        "name": chosen.name,
        "says": why,
        "untried": [one.record | {"says": one.says, "why": "cost"} for one in foreseen.ladder.untried],
    }


def _probe(one: Found, power: float) -> dict[str, Any]:
    return one.candidate.record | {
        "name": one.name,
        "says": one.candidate.says,
        "outcome": one.outcome,
        "gain_percent": one.gain,
        "spent": one.spent,
        "held_gain_percent": one.held(power) if one.outcome == "finished" else None,
        "forward_tokens": round(one.forwards) if one.outcome == "finished" else None,
        "train_seconds": one.seconds,
    }
