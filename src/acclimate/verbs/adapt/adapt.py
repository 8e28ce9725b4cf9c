"""The verb behind `acclimate adapt`: what a user would do by hand, in one command."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from acclimate.config.load import apply_override, load_config, parse_config
from acclimate.config.schemas import write_with_schema
from acclimate.disk.commented import written
from acclimate.gates import gate
from acclimate.gates.verdict import Verdict
from acclimate.paired.metrics import BITS, DRIFT
from acclimate.runs.layout import Layout
from acclimate.types.errors import UsageError
from acclimate.types.notebook import html_table
from acclimate.verbs.adapt.asked import SELF, Asked, asked_of, check_began, check_new, command_of

if TYPE_CHECKING:
    from acclimate.verbs.adapt.rules import Chosen


@dataclass(frozen=True)
class Adapted:
    """What `adapt` leaves."""

    config: Path
    """The configuration that it wrote, which `acclimate train` runs again."""
    policy: Path
    """The gate's policy."""
    run_dir: Path
    report: Path
    verdict: Verdict
    learned: str
    """A sentence."""
    kept: str
    """A sentence."""

    @property
    def passed(self) -> bool:
        """Whether the gate lets it through."""
        return self.verdict.passed

    def _repr_html_(self) -> str:
        return html_table((), (), (self.learned, self.kept)) + self.verdict._repr_html_()


def adapt(
    model: str,
    domain: str | Sequence[str],
    keep: float,
    general: str | Sequence[str] = SELF,
    output_dir: str = "runs",
    name: str | None = None,
    search: bool = False,
    tokens: int | None = None,
    epochs: float | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    console: Console | None = None,
) -> Adapted:
    """Adapts a model to a domain so that it drifts at most ``keep`` nats a token from its base, and proves it.

    It writes OUTPUT_DIR/NAME.yaml, an ordinary configuration whose comments say why each setting is so, and
    OUTPUT_DIR/NAME.gate.yaml, a policy; then it trains, writes the report, and holds the run against the policy.

    Args:
        model: hub id, local folder or .gguf file.
        domain: text to learn: files, folders or globs.
        keep: nats a token, KL(base || tuned) on held-out text that is not the domain's.
        general: text to stay the same on, or ``self``: the base writes it.
        name: of the run; default: what the domain's path is called.
        search: short probes choose method, learning rate, share, and whether all weights are tuned.
        tokens, epochs: how long; default: by the size of the domain.
        overrides: ``dotted.path=value``, over what the rules choose.
        resume: go on with the configuration that the same command wrote.

    Raises:
        UsageError: an argument is wrong, or the name is taken.
        DataError, ModelError, ConfigError: before anything is trained.
        Stopped: a signal; the same with ``resume`` goes on.
    """
    console = console or Console(quiet=True)
    asked = asked_of(model, domain, keep, general, output_dir, name, search, tokens, epochs)
    run_dir = Path(os.path.expanduser(output_dir)) / asked.name
    path, policy = run_dir.with_name(f"{asked.name}.yaml"), run_dir.with_name(f"{asked.name}.gate.yaml")
    command = command_of(asked, overrides)
    if resume:
        check_began(path, command)
    else:
        check_new(asked, path, policy, run_dir)
    # Everything from here on needs torch; an argument that is wrong is told before that is loaded.
    from acclimate.reports import write_report
    from acclimate.verbs.adapt.rules import choose
    from acclimate.verbs.run import train

    if not resume:
        console.print("Looking at model, texts and machine ...", highlight=False)
        _write(choose(asked), asked, command, overrides, path, policy)
        console.print(f"Wrote {path} and {policy}.", highlight=False, soft_wrap=True)
    config = load_config(path)
    began = Layout(config.run_dir)
    result = train(config, resume=resume and (began.config.exists() or began.search.exists()), console=console)
    verdict = gate(result.run_dir, policy)
    report = write_report([result.run_dir], Layout(result.run_dir).report, gates=[verdict.as_json()])
    learned, kept = _sentences(result.summary, asked.keep)
    return Adapted(path, policy, result.run_dir, report, verdict, learned, kept)


HEAD = """\
{command}
wrote this: an ordinary configuration. Read it, change it, and run it again under another name:
acclimate train {path} --set name={name}-2
"""


def _write(chosen: Chosen, asked: Asked, command: str, overrides: Sequence[str], path: Path, policy: Path) -> None:
    """The configuration and the policy, once both are known to be right."""
    for override in overrides:
        chosen.reasons[apply_override(chosen.settings, override)] = "--set"
    parse_config(chosen.settings)
    if chosen.settings["name"] != asked.name or chosen.settings["output_dir"] != asked.output_dir:
        raise UsageError("--set: the run's name and folder are given by --name and --output-dir.")
    rules: dict[str, Any] = {"general": {"max_drop": {DRIFT: f"{asked.keep:g} nats/token"}}}
    if chosen.gated_domain:
        rules["domain"] = {"min_gain": {BITS: "0 %"}}
    why = {
        "sets.general.max_drop": f"KL(base || tuned) on held-out general text: --keep {asked.keep:g}",
        "sets.domain.min_gain": "held-out text of the domain got easier to predict, beyond doubt",
    }
    head = f"What is demanded of the run {asked.name}: acclimate gate {path.parent / asked.name} --policy {policy}"
    demanded = written({"version": 1, "sets": rules}, why, head)
    write_with_schema(policy, demanded, "policy")  # first: the other one says what began
    head = HEAD.format(command=command, path=path, name=asked.name)
    write_with_schema(path, written(chosen.settings, chosen.reasons, head))


def _sentences(summary: Sequence[dict[str, Any]], keep: float) -> tuple[str, str]:
    """What was learned, and what was kept."""
    found = {(record["role"], record["metric"], record["run"] == "base"): record for record in summary}
    tuned, base = found["domain", BITS, False], found["domain", BITS, True]
    change = 100 * (tuned["value"] / base["value"] - 1)
    learned = (
        f"Learned: held-out text of the domain takes {tuned['value']:.3f} bits a byte, {base['value']:.3f} before "
        f"({change:+.1f} %, {tuned['n']} documents)."
    )
    drifts = [record for record in summary if record["metric"] == DRIFT and record["role"] != "domain"]
    each = "; ".join(_drift(record, len(drifts) > 1) for record in drifts)
    return learned, f"Kept: on other text it drifts {each}; {keep:g} were allowed."


def _drift(record: dict[str, Any], named: bool) -> str:
    low, high = ("–" if record[end] is None else f"{record[end]:.3f}" for end in ("low", "high"))
    of = f" of '{record['set']}'" if named else ""
    return f"{record['value']:.3f} nats a token from its base ({low} to {high}, {record['n']} documents{of})"
