"""Each answer of a plan: what the laws say, what they cannot say, and which run would tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from acclimate.laws.anchored import DRIFT, GAIN
from acclimate.laws.forms.repetition import NEARLY_FRESH, VANISHED, another_epoch, effective_epochs
from acclimate.reports.words import number
from acclimate.verbs.planning.advice import DOUBLE, PLAN, Advice, doublings
from acclimate.verbs.planning.predictions import Prediction, Setting

QUESTIONS = {
    "share": "How much domain?",
    "learning_rate": "Which learning rate?",
    "returns": "When do more tokens stop to pay?",
    "turning": "Does forgetting turn?",
    "repeating": "What is repeating the corpus worth?",
    "twice": "What would twice the budget bring?",
}
ASKED = {"share": "how much domain", "learning_rate": "the learning rate", "tokens": "what more tokens bring"}
"""Input -> what its differences tell."""
LIKELY = 0.1
"""From this weight of a law that falls again on, "never" is not said [ours]."""
HARMFUL = 100
"""Passes over a small set at which arXiv 2205.10487 saw a model of 800M fall to one of 400M [abstract only]."""


@dataclass(frozen=True)
class Answer:
    """One question of :data:`QUESTIONS`.

    Args:
        says: the answer in sentences.
        value: the number in it; None where it cannot be told, infinite for "never".
        edge: why the number may be another one beyond what was measured; empty where it is told in full.
        run: which run would tell what is not told, or make it more certain.
    """

    key: str
    says: str
    value: float | None = None
    unit: str = ""
    edge: str = ""
    run: str = ""

    @property
    def question(self) -> str:
        return QUESTIONS[self.key]

    @property
    def told(self) -> bool:
        return self.value is not None


def answers(advice: Advice) -> list[Answer]:
    """All of them, in the order of :data:`QUESTIONS`."""
    asked: tuple[Callable[[Advice], Answer], ...] = (share, rate, returns, turning, repeating, twice)
    return [ask(advice) for ask in asked]


def share(advice: Advice) -> Answer:
    """The largest share whose whole interval of drift is within the limit."""
    laws, limit = advice.laws, f"{advice.keep:g} nats a token"
    if unvaried := _unvaried(advice, "share", "share"):
        if DRIFT in laws.untold:
            return unvaried
        one = advice.best
        if not one.drift.bounded:
            return replace(unvaried, says=f"{unvaried.says} {sentence(one.why[DRIFT])}")
        within = "which is" if advice.keeps(one) else "which is not beyond doubt"
        least = f" At {one.setting} drift is {drift(one)}, {within} within {limit}."
        return replace(unvaried, says=unvaried.says + least)
    if DRIFT in laws.untold:
        return Answer("share", laws.untold[DRIFT], run=_wide(advice, GAIN))
    one, (low, high) = advice.best, laws.range("share")
    if not one.drift.bounded:
        return Answer("share", sentence(one.why[DRIFT]), run=_as_long(advice))
    if not advice.keeps(one):
        within = "only its value is within it, not its interval" if one.drift.value <= advice.keep else "it is above it"
        return Answer(
            "share",
            f"No measured share keeps drift within {limit} beyond doubt. The least is {drift(one)}, at {one.setting}: "
            f"{within}.",
            run=f"one at {percent(low / 2)} domain, or at half the least learning rate",
        )
    most = one.setting.share
    says = f"At most {percent(most)} of all trained tokens. Drift is then {drift(one)}, and {limit} are allowed."
    if high < 1 and most >= high:
        edge = f"{percent(high)} is the largest share that was measured; more may do"
        return Answer("share", says, most, "share of tokens", edge, f"one at {percent((1 + high) / 2)} domain")
    return Answer("share", says, most, "share of tokens", run=_wide(advice, DRIFT))


def rate(advice: Advice) -> Answer:
    """The learning rate of most gain within the limit."""
    laws = advice.laws
    if unvaried := _unvaried(advice, "learning_rate", "learning_rate"):
        return unvaried
    if GAIN in laws.untold:
        return Answer("learning_rate", laws.untold[GAIN], run=_wide(advice, DRIFT))
    one, (low, high) = advice.best, laws.range("learning_rate")
    which = "whatever it forgets"
    if DRIFT in laws.judged:
        which = "within the limit" if advice.keeps(one) else "which drifts least, and not within the limit beyond doubt"
    value = one.setting.learning_rate
    says = f"{value:.3g}, {which}. The gain is then {gain(advice, one)}."
    if low < value / 1.001 and value < high / 1.001:
        return Answer("learning_rate", says, value)
    end, other = ("largest", 2 * high) if value >= high / 1.001 else ("least", low / 2)
    better = "higher" if other > high else "lower"
    edge = f"{value:.3g} is the {end} learning rate that was measured; a {better} one may be better"
    return Answer("learning_rate", says, value, "", edge, f"one at a learning rate of {other:.2g}")


def returns(advice: Advice) -> Answer:
    """From how many tokens of the domain on a doubling gains less than noise."""
    if unvaried := _unvaried(advice, "returns", "tokens"):
        return unvaried
    if GAIN in advice.laws.untold:
        return Answer("returns", advice.laws.untold[GAIN])
    known = [pair for pair in doublings(advice.by_tokens) if all(one.gain.bounded for one in pair)]
    if not known:
        return Answer("returns", "Cannot tell: no doubling lies within what the laws predict.")
    (noise, what), unit = advice.noise, advice.laws.table.gain_unit
    rule = f"A doubling that gains less than {noise:.2g} {unit}, {what}, does not pay [ours]."
    for one, double in known:
        if (more := double.gain.value - one.gain.value) < noise:
            tokens = one.setting.tokens
            says = f"From {count(tokens)} tokens of the domain on: doubling them brings {more:.2g} {unit}. {rule}"
            return Answer("returns", says, tokens, "tokens")
    one, double = known[-1]
    longest = count(double.setting.tokens)
    says = (
        f"Not up to {longest} tokens of the domain: the last doubling still brings "
        f"{double.gain.value - one.gain.value:.2g} {unit}. {rule}"
    )
    return Answer(
        "returns",
        says,
        edge="longer runs are too far from what was measured",
        run=f"one of {longest} tokens of the domain",
    )


def turning(advice: Advice) -> Answer:
    """Where drift is largest, over tokens, before it falls again; infinite where it does not fall.

    A turn is told where the whole interval at the longest measured length lies below the largest drift; "never" where
    the whole interval at the end lies above the first, and a law that falls again has little weight [ours].
    """
    if unvaried := _unvaried(advice, "turning", "tokens"):
        return unvaried
    if DRIFT in advice.laws.untold:
        return Answer("turning", advice.laws.untold[DRIFT])
    series = [one for one in advice.by_tokens if one.drift.bounded]
    if len(series) < 2:
        return Answer("turning", "Cannot tell: no length lies within what the laws predict.")
    first, most, last = series[0], max(series, key=lambda one: one.drift.value), series[-1]
    (longest,) = advice.laws.predict([replace(most.setting, tokens=advice.laws.range("tokens")[1])])
    length = f"{count(most.setting.tokens)} tokens of the domain"
    if most.setting.tokens < longest.setting.tokens and longest.drift.high < most.drift.value:
        says = f"At {length}: drift is {drift(most)} there, and {drift(longest)} at {count(longest.setting.tokens)}."
        return Answer("turning", says, most.setting.tokens, "tokens")
    weight, steps = advice.laws.turning, _steps(advice)
    told = ""
    if most is not last:
        told = f"drift is largest at {length}, with {drift(most)}, but no measured length is beyond doubt below it"
    elif fell := ", ".join(run for run, drifts in steps.items() if drifts[-1] < max(drifts)):
        told = f"the laws rise up to {length}, but drift fell between two steps of {fell}"
    elif last.drift.low <= first.drift.value:
        told = (
            f"drift is {drift(last)} at {length}, which is not beyond doubt above {first.drift.value:.3f} at the least"
        )
    elif weight is None and not steps:
        told = "these runs are too few to try a law that falls again, and none was measured at several steps"
    elif (weight or 0.0) >= LIKELY:
        told = f"the laws rise up to {length}, but one that falls again has {percent(weight or 0.0)} of the weight"
    if told:
        return Answer("turning", f"Cannot tell: {told}.", run="one at several lengths, at the advised setting")
    seen = [] if weight is None else [f"a law that falls again has {percent(weight)} of the weight beside rising ones"]
    seen += [f"in none of {len(steps)} runs that were measured at several steps it fell"] if steps else []
    because = " and ".join(seen)
    says = f"Never, up to {length}: drift rises to {drift(most)}. {because[0].upper()}{because[1:]}."
    return Answer("turning", says, math.inf, "tokens")


def repeating(advice: Advice) -> Answer:
    """Of how many fresh passes over the corpus the planned passes are worth."""
    corpus, tokens = advice.laws.table.corpus, advice.tokens
    if corpus is None:
        return Answer(
            "repeating",
            "Cannot tell: nothing says how many tokens one pass over the domain has. Run folders do, and a log with a "
            "column corpus_tokens.",
        )
    passes = tokens / corpus
    worth, another = float(effective_epochs(passes)), float(another_epoch(passes))
    says = f"{passes:.3g} passes over {count(corpus)} tokens are worth {worth:.3g} passes of fresh text. "
    if passes <= 1:
        says += f"Nothing is repeated. Up to {NEARLY_FRESH} passes repeated text is nearly as good as fresh"
    elif passes <= NEARLY_FRESH:
        says += f"That is nearly all: up to {NEARLY_FRESH} passes repeated text counts almost whole"
    elif passes < VANISHED:
        says += f"Another pass counts {another:.0%}; by {VANISHED} next to nothing is left"
    elif passes < HARMFUL:
        says += f"From {VANISHED} passes on another one brings next to nothing, and memorising begins to cost"
    else:
        says += f"{HARMFUL} passes over a small part halved a model's worth (arXiv 2205.10487 [abstract only])"
    says += ". The constant is of pre-training (arXiv 2305.16264 [from code]), not of these runs."
    return Answer("repeating", says, worth, "passes of fresh text")


def twice(advice: Advice) -> Answer:
    """Gain and drift of the plan with twice the tokens."""
    if unvaried := _unvaried(advice, "twice", "tokens"):
        return unvaried
    one, double = advice.beside[PLAN], advice.beside[DOUBLE]
    parts = []
    if GAIN not in double.why:
        parts.append(f"gain {gain(advice, double)}, in place of {one.gain.value:.3f}")
    if DRIFT not in double.why:
        over = "" if advice.keeps(double) else f", which is not within {advice.keep:g} beyond doubt"
        parts.append(f"drift {drift(double)}{over}, in place of {one.drift.value:.3f}")
    if not parts:
        why = " ".join(dict.fromkeys(sentence(why) for why in double.why.values()))
        return Answer("twice", why, run=_as_long(advice))
    says = f"With {count(double.setting.tokens)} tokens of the domain: {'; '.join(parts)}."
    if GAIN in double.why:
        return Answer("twice", says, double.drift.value - one.drift.value, "nats/token")
    return Answer("twice", says, double.gain.value - one.gain.value, advice.laws.table.gain_unit)


def _unvaried(advice: Advice, key: str, name: str) -> Answer | None:
    """Where every run has one value of what is asked about: what still can be told, and the run that would tell."""
    table, value = advice.laws.table, advice.laws.usual(name)
    if table.varied(name):
        return None
    said, run = {
        "share": (f"every run has a share of {percent(value)}", f"one at {percent(value / 2)} domain"),
        "learning_rate": (
            f"every run has a learning rate of {value:.3g}",
            f"one at a learning rate of {2 * value:.2g}, and one at {value / 2:.2g}",
        ),
        "tokens": (
            f"every run has {count(value)} tokens of the domain",
            f"one of {count(2 * value)} tokens of the domain",
        ),
    }[name]
    if math.isnan(value):
        said, run = "no run says its learning rate", "runs at several learning rates, and a table that says them"
    still = [what for other, what in ASKED.items() if other != name and table.varied(other)]
    also = f" {' and '.join(still).capitalize()} can be told." if still else ""
    return Answer(key, f"Cannot tell: {said}.{also}", run=run)


def _steps(advice: Advice) -> dict[str, list[float]]:
    """Run -> its drift by step, of runs that were measured at several."""
    runs: dict[str, list[float]] = {}
    for one in sorted(advice.laws.table.measured(DRIFT).readings, key=lambda one: one.tokens):
        runs.setdefault(one.run, []).append(one.drift)
    return {run: drifts for run, drifts in runs.items() if len(drifts) > 1}


def _as_long(advice: Advice) -> str:
    """A run of the planned length, where none was so long."""
    longer = advice.tokens > advice.laws.range("tokens")[1]
    return f"one of {count(advice.tokens)} tokens of the domain" if longer else ""


def _wide(advice: Advice, outcome: str) -> str:
    where: Setting | None = advice.widest(outcome)
    return "" if where is None else f"one at {where}, where the interval is widest"


def drift(one: Prediction) -> str:
    """With its interval.

    In nats a token, as everywhere in a plan.
    """
    return f"{one.drift.value:.3f} ({one.drift.low:.3f} to {one.drift.high:.3f})"


def gain(advice: Advice, one: Prediction) -> str:
    """With its interval and unit, or why there is none."""
    if not one.gain.bounded:
        return "not told"
    unit = advice.laws.table.gain_unit
    return f"{one.gain.value:.3f} {unit} ({one.gain.low:.3f} to {one.gain.high:.3f})"


def percent(value: float) -> str:
    """
    >>> percent(0.5), percent(0.8333)
    ('50 %', '83.3 %')
    """
    return f"{100 * value:.3g} %"


def count(value: float) -> str:
    """Three digits of a number of tokens.

    >>> count(20946), count(812)
    ('20,900', '812')
    """
    return number.count(float(f"{value:.3g}"))


def sentence(text: str) -> str:
    """
    >>> sentence("cannot tell: x")
    'Cannot tell: x.'
    """
    return f"{text[0].upper()}{text[1:].removesuffix('.')}."
