"""The parts of a comparison's page: what was shared, who is where, differences, sets, accuracies, costs, trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from acclimate.config.yamlfile import read_mapping
from acclimate.paired.estimate import ALPHA, Estimate
from acclimate.paired.metrics import METRICS, Metric
from acclimate.paired.significance import holm
from acclimate.reports.page import Block, Grid, Page
from acclimate.reports.words import number
from acclimate.reports.words.origin import flatten
from acclimate.runs.cells import SUMS, TextScores
from acclimate.types.errors import ConfigError
from acclimate.verbs.compare.cell import spelled
from acclimate.verbs.compare.outcome import Outcome
from acclimate.verbs.compare.pages.answer import Answer, answer, bracket, kind_of_method
from acclimate.verbs.compare.pages.figure import figures, foretold
from acclimate.verbs.compare.standing import (
    Measured,
    Standing,
    accuracy_changes,
    ahead_of,
    front,
    mean_drift,
    mean_gain,
)

HEAD = ("method", "chosen", "seeds", "domain gain", "drift, nats/token", "loss elsewhere", "front")
FEW_SEEDS = 2
NOT_SHARED = ("name", "output_dir", "seed", "version", "method")
"""Keys of the run's configuration that no cell takes from it, or that change nothing."""


def percent(part: float) -> str:
    return number.change(100 * part)


def points(part: float) -> str:
    return number.tenth(100 * part)


def page_of(outcome: Outcome) -> Page:
    found = answer(outcome)
    kinds = {one.method: kind_of_method(outcome, one.method) for one in outcome.standings}
    blocks = [
        *([_differences(found)] if found else []),
        _methods(outcome),
        Block("Gain against cost", pictures=figures(outcome.standings, kinds)),
        Block("Drift elsewhere against drift on the domain", pictures=foretold(outcome, kinds)),
        _sets(outcome),
        *([_accuracy(outcome)] if any(row.items for row in outcome.rows) else []),
        _shared(outcome),
        _costs(outcome),
        *([_trials(outcome)] if any(row.kind == "trial" for row in outcome.rows) else []),
    ]
    said = ("unclear", "Too little to answer", "Fewer than two methods are measured by gain and drift.")
    kind, word, sentence = said if found is None else (found.kind, found.word, found.sentence)
    return Page(
        eyebrow="acclimate comparison",
        title=outcome.comparison.name,
        kind=kind,
        word=word,
        answer=sentence,
        notes=_notes(outcome),
        blocks=[block for block in blocks if block.grid or block.pictures],
    )


def _notes(outcome: Outcome) -> list[str]:
    luck = "and seeds" if many_seeds(outcome) else "(one seed, so the luck of training is in none of them)"
    lines = [
        f"Numbers are means over seeds; intervals are 95 % over documents {luck}. Differences are paired over the same "
        "documents.",
    ]
    if max((len(standing.rows) for standing in outcome.standings), default=0) == FEW_SEEDS:
        lines.append("Two seeds say little of the luck of training, so intervals are wide; five say more.")
    measured_sets = dict.fromkeys(name for row in outcome.rows if row.kind != "trial" for name in row.texts)
    if outcome.standings and (left := [name for name in measured_sets if name not in outcome.standings[0].sets]):
        lines.append(f"Not in the means, since not every method was measured on it yet: {', '.join(left)}.")
    machines = {str(row.made.get("platform")) for row in outcome.rows if row.kind != "panel"}
    commits = {str(row.made.get("commit") or "unknown")[:12] for row in outcome.rows if row.kind != "panel"}
    if len(machines) > 1 or len(commits) > 1:
        lines.append(f"Machines: {len(machines)}; commits: {len(commits)}. Compare costs with care.")
    return lines


def _methods(outcome: Outcome) -> Block:
    rows = []
    for standing in outcome.standings:
        numbers = [f"{value(one, spell)} {_bracketed(one, spell)}".strip() for one, spell in measured(standing)]
        behind = _by(standing, outcome.standings)
        chosen = f"`{spelled(outcome.settings(standing.method))}`"
        rows.append([standing.method, *numbers, behind, seeds_of(outcome, standing), chosen])
    for method in outcome.diverged:
        rows.append([method, *[""] * 4, "every trial or run diverged", f"`{spelled(outcome.settings(method))}`"])
    ahead = [standing.method for standing in front(outcome.standings)]
    after = []
    if ahead:
        after.append(
            f"Pareto front of domain gain against drift: {', '.join(ahead)}. Behind names methods with no less gain "
            "and no more drift; in bold where both differences, paired over the same documents, are told apart "
            "(p < 0.05, adjusted by Holm's method for all that are ahead). " + told_apart(outcome.standings)
        )
    before = (
        "Domain gain: mean over domain sets of 1 - bits / base's bits. Drift: mean over the other sets of "
        "KL(base || tuned). Loss elsewhere: mean over them of bits / base's bits - 1.",
    )
    return Block(
        "Methods", before, Grid(["method", *HEAD[3:6], "behind", "seeds", "settings"], rows, words=(0, 4, 5, 6)), after
    )


def _differences(found: Answer) -> Block:
    """Each method less the best control, paired."""
    rows = []
    claimed = set()
    for at, (method, own) in enumerate(found.differences.items()):
        cells = []
        for name, spell in (("gain", points), ("drift", number.signed), ("loss", points)):
            estimate = own.get(name)
            cells += [_signed(estimate, spell), "" if estimate is None else number.probability(estimate.p)]
        if own.get("drift") and own["drift"].p < ALPHA and own["drift"].value < 0:
            claimed.add(at)
        rows.append([method, *cells])
    head = ["method", "domain gain, points", "p", "drift, nats/token", "p", "loss elsewhere, points", "p"]
    before = (
        f"Each method less {found.rival.method}, with 95 % intervals, paired over the same documents. p is adjusted by "
        "Holm's method over the methods of a column; bold drifts clearly less.",
    )
    return Block(f"Difference to {found.rival.method}", before, Grid(head, rows, claimed=frozenset(claimed)))


def _signed(found: Estimate | None, spell: number.Spelling) -> str:
    return number.NONE if found is None else f"{spell(found.value)}{bracket(found, spell)}"


def _by(standing: Standing, everyone: Sequence[Standing]) -> str:
    """Who is ahead; in bold where the two are told apart."""
    rivals = ahead_of(standing, everyone)
    return ", ".join(f"**{name}**" if p < ALPHA else name for name, p in rivals.items())


def told_apart(everyone: Sequence[Standing]) -> str:
    """One sentence: which methods are told apart from one that is ahead of them, and which are not."""
    clear: list[str] = []
    unclear: list[str] = []
    for standing in everyone:
        for name, p in ahead_of(standing, everyone).items():
            pair = f"{standing.method} behind {name} (p {number.probability(p)})"
            (clear if p < ALPHA else unclear).append(pair)
    said = [f"Told apart, paired over the same documents: {'; '.join(clear)}." if clear else ""]
    said += [f"Cannot be told apart: {'; '.join(unclear)}." if unclear else ""]
    return " ".join(sentence for sentence in said if sentence)


def _sets(outcome: Outcome) -> Block:
    """Each method's metrics by set, means over seeds: against the base's own in percent, or drift as it is."""
    names = dict.fromkeys(name for row in outcome.rows if row.kind != "trial" for name in row.texts)
    shown = shown_metrics()
    rows = []
    for standing in outcome.standings:
        for name in names:
            found = [row.texts[name] for row in outcome.measured(standing.method) if name in row.texts]
            if found:
                values = [[of_set(scores, metric) for scores in found] for metric in shown]
                spells = [percent if metric.paired else number.spelling(metric.unit)[0] for metric in shown]
                means = [spell(sum(own) / len(own)) for own, spell in zip(values, spells, strict=True)]
                by_seed = ", ".join(map(spells[0], values[0])) if len(found) > 1 else ""
                rows.append([name, found[0].role, standing.method, *means, by_seed])
    rows.sort(key=lambda row: list(names).index(row[0]))
    labels = [metric.label.split(",")[0] for metric in shown]
    return Block("By set", grid=Grid(["set", "role", "method", *labels, f"{labels[0]} by seed"], rows, words=(0, 1, 2)))


def shown_metrics() -> list[Metric]:
    """Metrics of texts that the sums of a row can make."""
    return [metric for metric in METRICS.values() if metric.shown and set(SUMS).issuperset(metric.columns)]


def of_set(scores: TextScores, metric: Metric) -> float:
    """The part by which a metric rose over the base's own, or its value where it compares the two already."""
    sums: list[float] = [sum(getattr(scores, name)) for name in metric.columns]
    if metric.paired:
        return -(1 - sums[0] / sums[1])
    return sums[1] / metric.per / sums[0]


def accuracies(outcome: Outcome) -> list[tuple[str, str, Estimate, float | None]]:
    """(set, method, change, chance); p as it is, chance where the rows keep it."""
    chance: dict[str, float] = {}
    for row in outcome.rows:
        chance |= row.made.get("chance") or {}
    return [
        (name, standing.method, change, chance.get(name))
        for standing in outcome.standings
        for name, change in accuracy_changes(outcome.rows, standing.method).items()
    ]


def _accuracy(outcome: Outcome) -> Block:
    """Of one seed Tango's interval and McNemar's test; of several the interval over items and seeds."""
    found = accuracies(outcome)
    adjusted = holm([change.p for _, _, change, _ in found])
    rows = [
        [
            name,
            method,
            str(change.n),
            number.NONE if chance is None else number.share(chance),
            number.share(change.base),
            _signed(change, points),
            number.probability(p),
            number.NONE if math.isinf(change.mde) else points(change.mde).lstrip("+"),
        ]
        for (name, method, change, chance), p in zip(found, adjusted, strict=True)
    ]
    claimed = frozenset(at for at, p in enumerate(adjusted) if p < ALPHA)
    order = sorted(range(len(rows)), key=lambda at: rows[at][0])
    grid = Grid(
        ["set", "method", "items", "chance", "base", "change, points", "p (Holm)", "detectable, points"],
        [rows[at] for at in order],
        words=(0, 1),
        claimed=frozenset(order.index(at) for at in claimed),
    )
    after = [
        "Detectable: a true change that another such sample would show with 80 % power; without it, no difference says "
        "nothing. A base near chance has nothing to lose."
    ]
    if others := {name for row in outcome.rows for name in row.made.get("not_right_or_wrong", ())}:
        after.append(f"Measured otherwise than by right and wrong choices, so not here: {', '.join(sorted(others))}.")
    return Block("Accuracy on panels", grid=grid, after=after)


def _shared(outcome: Outcome) -> Block:
    """What every cell took from the run's configuration, and what identifies its base."""
    first = outcome.standings[0].rows[0] if outcome.standings else outcome.rows[0]
    tokens = ", ".join(f"{count:,.0f} of {name}" for name, count in first.tokens.items())
    rows = []
    try:
        shared, _ = read_mapping(outcome.comparison.run_path, "configuration")
        rows = [[key, text] for key, text in flatten({k: v for k, v in shared.items() if k not in NOT_SHARED})]
    except ConfigError:  # a table outlives the configuration it was made from
        pass
    rows.append(["weights of the base", first.digests.get("base", number.NONE)])
    rows.append([f"trained tokens of {first.method}", tokens or number.NONE])
    after = []
    if outcome.comparison.trials:
        section = outcome.comparison.tuning
        rule = (
            f"the least drift among trials with {section.domain_gain:.0%} of the method's largest domain gain [ours]"
            if section.rule == "retain"
            else "the largest domain gain"
        )
        after.append(
            f"Settings: chosen for each method among {outcome.comparison.trials} trials with seed {section.seed}, on "
            f"validation documents, by {rule}."
        )
    before = ("A method may set these otherwise, as its settings above say.",)
    return Block("Shared settings", before, Grid(["setting", "value"], rows, words=(0, 1)), after)


def _costs(outcome: Outcome) -> Block:
    """Of one run, the mean over seeds; preparation and tuning apart and together for the method."""
    rows = []
    for standing in outcome.standings:
        trials = [row for row in outcome.rows if row.kind == "trial" and row.method == standing.method]
        mean = {name: sum(r.costs.get(name, 0) for r in standing.rows) / len(standing.rows) for name in _COSTS}
        tuning = sum(row.costs.get("forward_tokens", 0) for row in trials)
        cells = [spell(mean[name]) for name, spell in _COSTS.items()]
        rows.append([standing.method, *cells, f"{len(trials)}", f"{tuning / 1000:,.0f}"])
    head = ["method", "seconds", "forwards, thousand tokens", "peak memory, MiB", "stored, MiB", "prepared, thousand",
            "trials", "tuning, thousand"]  # fmt: skip
    note = (
        "A forward is one token through the network; a backward counts as two, as one where only an adapter learns. "
        "Stored: the run's `model/` and what its methods prepared."
    )
    return Block("Costs", grid=Grid(head, rows), after=[note])


_COSTS: Mapping[str, number.Spelling] = {
    "train_seconds": lambda value: f"{value:,.0f}",
    "forward_tokens": lambda value: f"{value / 1000:,.0f}",
    "train_peak_memory_mib": number.count,
    "stored_mib": lambda value: f"{value:,.1f}",
    "preparation_forward_tokens": lambda value: f"{value / 1000:,.0f}",
}


def _trials(outcome: Outcome) -> Block:
    rows = []
    for row in (row for row in outcome.rows if row.kind == "trial"):
        gain, drift = mean_gain(row.texts), mean_drift(row.texts)
        numbers = [percent(gain) if gain is not None else "", number.nats(drift) if drift is not None else ""]
        if row.outcome == "diverged":
            numbers = ["diverged", ""]
        mark = "chosen" if row.settings == outcome.chosen(row.method) else ""
        rows.append([row.method, f"`{spelled(row.settings)}`", *numbers, mark])
    return Block("Trials", grid=Grid(["method", "trial", "domain gain", "drift", ""], rows, words=(0, 1)))


def measured(standing: Standing) -> list[tuple[Measured | None, number.Spelling]]:
    return [(standing.gain, percent), (standing.drift, number.nats), (standing.loss, percent)]


def value(one: Measured | None, spell: number.Spelling) -> str:
    return number.NONE if one is None else spell(one.value)


def interval(one: Measured | None, spell: number.Spelling) -> str:
    if one is None:
        return ""
    estimate = one.estimate
    if not estimate.bounded:
        return f"{one.documents} documents are too few to tell"
    return f"{spell(estimate.low)} to {spell(estimate.high)}"


def _bracketed(one: Measured | None, spell: number.Spelling) -> str:
    return "" if one is None else f"[{interval(one, spell)}]"


def seeds_of(outcome: Outcome, standing: Standing) -> str:
    lost = [
        row.seed
        for row in outcome.rows
        if row.method == standing.method and row.outcome == "diverged" and row.kind == "run"
    ]
    diverged = f" (diverged: {', '.join(map(str, lost))})" if lost else ""
    return ", ".join(str(row.seed) for row in standing.rows) + diverged


def many_seeds(outcome: Outcome) -> bool:
    return any(len(standing.rows) > 1 for standing in outcome.standings)
