"""Each answer of a plan: what its laws say, what they cannot, and which run would tell."""

from __future__ import annotations

import math

from acclimate.laws.anchored import DRIFT, GAIN
from acclimate.verbs.planning.advice import Advice, Answer, doublings
from acclimate.verbs.planning.predictions import LEVEL, Prediction

SHARE, RATE, RETURNS, TURNING, REPEATING, TWICE = (
    "share", "learning_rate", "returns", "turning", "repeating", "twice",
)  # fmt: skip
QUESTIONS = {
    SHARE: "How much domain?",
    RATE: "Which learning rate?",
    RETURNS: "When do more tokens stop to pay?",
    TURNING: "Does forgetting turn?",
    REPEATING: "What is repeating this corpus worth?",
    TWICE: "What would twice the budget bring?",
}
OTHER = {"share": "at another share", "learning_rate": "at half or twice the learning rate", "tokens": "of half or twice the length"}


def answers(advice: Advice) -> list[Answer]:
    """All of them, in the order of :data:`QUESTIONS`."""
    found = [share(advice), rate(advice), returns(advice), turning(advice), repeating(advice), twice(advice)]
    return found


def share(advice: Advice) -> Answer:
    """The largest share whose whole interval of drift is within the limit."""
    if constant := _constant(advice, "share", SHARE, "how much domain there may be"):
        return constant
    if DRIFT in advice.laws.untold:
        return _untold(SHARE, advice.laws.untold[DRIFT], _wide(advice, GAIN))
    limit, (low, high) = f"{advice.keep:g} nats a token", advice.laws.range("share")
    if not any(advice.keeps(one) for one in advice.tried):
        one = advice.best
        within = "is within it only by its value, not by its whole interval" if one.drift.value <= advice.keep else "is above it"
        return Answer(
            SHARE,
            QUESTIONS[SHARE],
            f"None that was measured keeps drift within {limit} beyond doubt: the least is {_drift(one)} at "
            f"{one.setting}, which {within}.",
            untold="a smaller share, a lower learning rate or fewer tokens lie outside of what was measured",
            run=f"one at {_percent(low / 2)} domain, or at half of the least learning rate",
        )
    one = _prediction(advice)
    most = one.setting.share
    text = f"At most {_percent(most)}: drift is then {_drift(one)}, and {limit} are allowed."
    if most >= high:
        beyond = "" if high >= 1 else f"{_percent(high)} is the largest share that was measured, so more may do"
        return Answer(SHARE, QUESTIONS[SHARE], text, most, "share of tokens", beyond, "" if high >= 1 else f"one at {_percent((1 + high) / 2)} domain")
    return Answer(SHARE, QUESTIONS[SHARE], text, most, "share of tokens", run=_wide(advice, DRIFT))


def rate(advice: Advice) -> Answer:
    """The rate of most gain within the limit."""
    if constant := _constant(advice, "learning_rate", RATE, "which learning rate is best"):
        return constant
    if GAIN in advice.laws.untold:
        return _untold(RATE, advice.laws.untold[GAIN], _wide(advice, DRIFT))
    one = _prediction(advice)
    value, (low, high) = one.setting.learning_rate, advice.laws.range("learning_rate")
    limited = "within the limit" if advice.keeps(one) else "of those that drift least" if DRIFT in advice.laws.judged else "whatever it forgets"
    text = f"{value:.3g}: most gain {limited}, {_gain(advice, one)}."
    edge = "largest" if value >= 0.999 * high else "least" if value <= 1.001 * low else ""
    untold = f"it is the {edge} that was measured, so a {'higher' if edge == 'largest' else 'lower'} one may be better" if edge else ""
    beyond = {"largest": 2 * high, "least": low / 2}.get(edge)
    return Answer(RATE, QUESTIONS[RATE], text, value, "", untold, "" if beyond is None else f"one at a learning rate of {beyond:.2g}")


def returns(advice: Advice) -> Answer:
    """Where a doubling of the domain's tokens gains less than noise."""
    if constant := _constant(advice, "tokens", RETURNS, "what more tokens are worth"):
        return constant
    if GAIN in advice.laws.untold:
        return _untold(RETURNS, advice.laws.untold[GAIN], "")
    (noise, what), unit = advice.noise, advice.laws.table.gain_unit
    rule = f"The rule: a doubling that gains less than {what}, {noise:.2g} {unit}, is not seen [ours]."
    for one, double in doublings(advice.by_tokens):
        if one.gain.bounded and double.gain.bounded and double.gain.value - one.gain.value < noise:
            tokens = one.setting.tokens
            return Answer(
                RETURNS,
                QUESTIONS[RETURNS],
                f"From {_count(tokens)} tokens of the domain on: there a doubling brings "
                f"{double.gain.value - one.gain.value:.2g} {unit}. {rule}",
                tokens,
                "tokens",
            )
    pairs = [pair for pair in doublings(advice.by_tokens) if pair[0].gain.bounded and pair[1].gain.bounded]
    if not pairs:
        return _untold(RETURNS, "Cannot tell: no doubling lies within what the laws predict.", "")
    one, double = pairs[-1]
    return Answer(
        RETURNS,
        QUESTIONS[RETURNS],
        f"Not up to {_count(double.setting.tokens)} tokens of the domain: the last doubling still brings "
        f"{double.gain.value - one.gain.value:.2g} {unit}. {rule}",
        untold="longer runs are too far from what was measured",
        run=f"one of {_count(double.setting.tokens)} tokens of the domain",
    )


def turning(advice: Advice) -> Answer:
    """Where drift is largest before it falls again, over tokens."""
    if constant := _constant(advice, "tokens", TURNING, "how forgetting goes on"):
        return constant
    if DRIFT in advice.laws.untold:
        return _untold(TURNING, advice.laws.untold[DRIFT], "")
    series = [one for one in advice.by_tokens if one.drift.bounded]
    if len(series) < 2:
        return _untold(TURNING, "Cannot tell: no length lies within what the laws predict.", "")
    peak = max(series, key=lambda one: one.drift.value)
    measured = _fell(advice)
    if peak is not series[-1]:
        text = f"Yes: it is largest at {_count(peak.setting.tokens)} tokens of the domain ({_drift(peak)}), and falls from there on."
        return Answer(TURNING, QUESTIONS[TURNING], text, peak.setting.tokens, "tokens")
    text = f"Never, up to {_count(series[-1].setting.tokens)} tokens of the domain: drift rises to {_drift(series[-1])}."
    forms = "No form of drift here can fall with tokens; "
    text += f" {forms}{measured}."
    return Answer(TURNING, QUESTIONS[TURNING], text, math.inf, "tokens")


def twice(advice: Advice) -> Answer:
    """Gain and drift of the plan with twice the tokens."""
    if constant := _constant(advice, "tokens", TWICE, "what a longer run is worth"):
        return constant
    one, double = advice.shown["the plan"], advice.shown["twice the tokens"]
    if double.why.keys() >= {GAIN, DRIFT}:
        return _untold(TWICE, " ".join(dict.fromkeys(_sentence(why) for why in double.why.values())), "")
    unit = advice.laws.table.gain_unit
    parts = []
    if GAIN not in double.why:
        parts.append(f"gain {_gain(advice, double)} in place of {one.gain.value:.3f}")
    if DRIFT not in double.why:
        over = "" if double.drift.high <= advice.keep else f", which is not within {advice.keep:g} beyond doubt"
        parts.append(f"drift {_drift(double)} in place of {one.drift.value:.3f}{over}")
    value = double.gain.value - one.gain.value if GAIN not in double.why else None
    return Answer(TWICE, QUESTIONS[TWICE], f"With {_count(double.setting.tokens)} tokens of the domain: {'; '.join(parts)}.", value, unit)


def _fell(advice: Advice) -> str:
    """Whether any run's drift fell from one measured step to a later one."""
    runs: dict[str, list[tuple[float, float]]] = {}
    for one in advice.laws.table.measured(DRIFT).readings:
        runs.setdefault(one.run, []).append((one.tokens, one.drift))
    longer = {run: sorted(points) for run, points in runs.items() if len(points) > 1}
    if not longer:
        return "no run was measured at several steps, which would show a fall"
    fell = [run for run, points in longer.items() if points[-1][1] < max(drift for _, drift in points)]
    return f"it did fall in {', '.join(fell)}, so read the table" if fell else f"and in none of {len(longer)} runs it fell between steps"


def _constant(advice: Advice, name: str, key: str, what: str) -> Answer | None:
    """Where every run has one value of what is asked about, what still can be told."""
    table = advice.laws.table
    if table.varied(name):
        return None
    value = advice.laws.usual(name)
    said = {
        "share": f"share is {_percent(value)} in every run",
        "learning_rate": "no run says its learning rate" if math.isnan(value) else f"the learning rate is {value:.3g} in every run",
        "tokens": f"every run has {_count(value)} tokens of the domain",
    }[name]
    still = [word for other, word in STILL.items() if other != name and table.varied(other)]
    also = f" What can be told: {' and '.join(still)}." if still else ""
    return Answer(key, QUESTIONS[key], f"Cannot tell {what}: {said}.{also}", untold=said, run=_other(name, value))


STILL = {"share": "how much domain", "learning_rate": "the learning rate", "tokens": "what more tokens bring"}


def _other(name: str, value: float) -> str:
    if name == "share":
        return f"one at {_percent(value / 2)} domain"
    if name == "learning_rate":
        return "runs at two learning rates" if math.isnan(value) else f"one at a learning rate of {2 * value:.2g}, and one at {value / 2:.2g}"
    return f"one of {_count(2 * value)} tokens of the domain"


def _untold(key: str, why: str, run: str) -> Answer:
    return Answer(key, QUESTIONS[key], why, untold=why, run=run)
