"""Online weights on arrays: planted vectors, absent sources, bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from acclimate.objective.cross_entropy import ExcessCrossEntropy
from acclimate.training.control.online import DIDS, ODM, Credit, DoGE, DoReMi, OnlineWeights, Rule
from acclimate.training.control.online.dids import dids, forecast, influence, progress, utilities
from acclimate.training.control.online.doge import alignment, bounded, doge
from acclimate.training.control.online.doremi import doremi
from acclimate.training.control.online.influence import difference, fisher, last, product
from acclimate.training.control.online.odm import exp3, exploration, odm, smoothed
from acclimate.types.central import Chunk
from acclimate.types.dials import Dial

NAN = math.nan
EVEN = np.array([0.5, 0.5])
RULES: list[Rule] = [DoReMi(), DoGE(), ODM(), ODM("exp3"), DIDS()]


def test_doremi_of_one_step() -> None:
    """e^.2 / (e^.2 + 1) = .549834, of which 1 - c is kept and c / 2 added."""
    assert doremi([0.5, 0.5], [0.2, 0.0]) == pytest.approx([0.549829, 0.450171], abs=5e-7)
    assert doremi([0.5, 0.5], [0.2, 0.0], smoothing=0) == pytest.approx([0.549834, 0.450166], abs=5e-7)
    assert doremi([0.2, 0.8], [3.0, 3.0], smoothing=0) == pytest.approx([0.2, 0.8])


def test_doge_of_one_step() -> None:
    """g1 (1, 0), g2 (0, 1), G (2, 0): products 2 and 0 over a mean norm of 1."""
    own, target = np.eye(2), np.array([2.0, 0.0])
    aligned = alignment(own @ target, np.linalg.norm(own, axis=1))
    assert doge([0.5, 0.5], bounded(aligned, 1e-3), mu=0.01) == pytest.approx([0.549834, 0.450166], abs=5e-7)


def test_a_score_of_doge_is_within_five_rates() -> None:
    assert bounded([7.0, -3.0, 5.0], 0.1).tolist() == pytest.approx([0.5, 0.0, 0.5])


def test_a_short_run_of_doge_returns_its_prior() -> None:
    """500 steps at 1e-5 and a product of 1 move the logarithm by .5: the sum of rates over mu."""
    shares = np.array([0.5, 0.5])
    for _ in range(500):
        shares = doge(shares, bounded([1.0, 0.0], 1e-5))
    assert math.log(shares[0] / shares[1]) == pytest.approx(0.5)


def test_odm_by_hand() -> None:
    """K 2, losses 2 and 1, a (.5, .5). eps_1 = min(.5, sqrt(.693147 / 2)) = .5; eps_2 = sqrt(.693147 / 4) = .416277.

    exp3: R = .2 / .5, .1 / .5 a step, so (.8, .4) after two; softmax(.5 R) = (.549834, .450166), of which
    1 - 2 eps_2 = .167446 is kept. smoothed: R in proportion to e^2, e, so .731059 to .268941.
    """
    assert exploration(2, 1) == 0.5
    assert exploration(2, 2) == pytest.approx(0.416277, abs=5e-7)
    sums = exp3(exp3([0, 0], [2.0, 1.0], EVEN), [2.0, 1.0], EVEN)
    assert sums == pytest.approx([0.8, 0.4])
    assert odm(sums, 2, "exp3") == pytest.approx([0.508344, 0.491656], abs=5e-7)
    means = smoothed(smoothed([0, 0], [2.0, 1.0]), [2.0, 1.0])
    assert means == pytest.approx([0.19 * math.e**2, 0.19 * math.e])
    assert odm(means, 2) == pytest.approx([0.53869, 0.46131], abs=5e-6)
    assert odm(means, 1) == pytest.approx([0.5, 0.5])  # all of it is exploration


def test_odm_waits_for_its_warmup() -> None:
    rule, prior = ODM(warmup=3), np.array([0.9, 0.1])
    scores, shares = np.zeros(2), prior
    for step in range(1, 5):
        scores = rule.scores(scores, np.array([1.0, 4.0]), shares, 1e-3, step)
        shares = rule.shares(shares, scores, step)
        assert (shares == prior).all() == (step <= 3)
    assert shares == pytest.approx(odm(smoothed([0, 0], [1.0, 4.0]), 4))


def vector(*values: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(values, dtype=torch.float32)}


def test_the_difference_prefers_what_agrees_and_the_product_what_does_not() -> None:
    """g_e (1, 0), g_1 (1, 0), g_2 (0, 1), F 1. The released code turns either form by max - value."""
    one, target, sources = vector(1, 1), vector(1, 0), [vector(1, 0), vector(0, 1)]
    distances = [[difference(one, source, target)] for source in sources]
    products = [[product(one, source, target)] for source in sources]
    assert distances == [[0.0], [1.0]]
    assert products == [[0.5], [0.0]]
    assert influence(distances).tolist() == [[1.0], [0.0]]
    assert influence(products).tolist() == [[0.0], [1.0]]


def test_fisher_weighs_a_difference_by_coordinate() -> None:
    """Squares (1, 9), (1, 1), (4, 0), of which the means are 2 and 10/3; 1/2 (2 1 + 10/3 9) = 16."""
    gradients = [vector(1, 3), vector(1, -1), vector(2, 0)]
    weight = fisher(gradients)
    assert weight["w"].tolist() == pytest.approx([2, 10 / 3])
    assert difference(weight, gradients[0], gradients[2]) == pytest.approx(16)
    assert product(weight, gradients[0], gradients[1]) == pytest.approx(0.5 * (2 - 10))


def test_influence_is_of_each_set_by_itself() -> None:
    """Of a set the farthest gets nothing; where all are alike nobody gets anything."""
    found = influence([[0.0, 5.0, 7.0], [3.0, 5.0, 1.0], [4.0, 5.0, 7.0]])
    assert found == pytest.approx(np.array([[0.8, 0, 0], [0.2, 0, 1], [0, 0, 0]]))


def test_what_is_compared_are_the_last_tensors() -> None:
    assert last(list("abcdefghijklmno"), 0.2) == ["m", "n", "o"]
    assert last(list("abc"), 0.1) == ["c"]
    assert last(list("abc"), 1.0) == ["a", "b", "c"]


def test_a_forecast_is_of_the_sixth_evaluation_after_the_last() -> None:
    """Of 2 e^(-x / 2) + 1 at x = 0 to 4, asked at 10; of fewer than five losses, and of level ones, there is none."""
    losses = [2 * math.exp(-x / 2) + 1 for x in range(5)]
    still = 2 * math.exp(-2) - 2 * math.exp(-5)
    assert forecast(losses) == pytest.approx(still, rel=1e-6)
    assert forecast(losses[:4]) == 0
    assert forecast([2.0] * 6) == pytest.approx(0, abs=1e-9)
    assert progress(losses) == pytest.approx(losses[-2] - losses[-1] + still, rel=1e-6)
    assert progress(losses[:2]) == losses[0] - losses[1]


def test_a_forecast_is_not_below_zero_nats() -> None:
    """4 e^(-x / 5) - 1.5 is at -0.96 by then. Of a straight line no curve is found, and nothing is forecast."""
    losses = [4 * math.exp(-x / 5) - 1.5 for x in range(5)]
    assert forecast(losses) == losses[-1] > 0
    assert forecast([5.0, 4.0, 3.0, 2.0, 1.0]) == 0


def test_dids_by_hand() -> None:
    """Credits (.3, .1, -.2) over a (.5, .25, .25) are .6, .4 and nothing: u / sum (.6, .4, 1e-7)."""
    u = utilities([0.3, 0.1, -0.2], [0.5, 0.25, 0.25])
    assert u.tolist() == pytest.approx([0.6, 0.4, 1e-7])
    assert dids([0.5, 0.25, 0.25], u) == pytest.approx([0.1 + 0.48, 0.05 + 0.32, 0.05], abs=1e-6)
    assert dids([0.5, 0.25, 0.25], u, beta=0.1)[2] == pytest.approx(0.025, abs=1e-6)


def test_dids_under_which_every_loss_rises_goes_to_equal_shares() -> None:
    shares = np.array([0.9, 0.1])
    for _ in range(9):
        shares = dids(shares, utilities([-0.1, -0.3], shares))
    assert shares == pytest.approx([0.5, 0.5], abs=1e-5)


def test_a_source_is_credited_with_what_its_sets_improve() -> None:
    """law is all of set a and tax all of b; a falls by .4 and b rises by .2, each counted half."""
    values = {"fisher/law/a": 0.1, "fisher/tax/a": 0.9, "fisher/law/b": 2.0, "fisher/tax/b": 0.5}
    credit = Credit(["law", "tax"], ["a", "b"])
    first = credit.on_measured(values | {"validation/a": 3.0, "validation/b": 2.0}, {})
    assert first == {"influence/law": 0.5, "influence/tax": 0.5}  # one loss is no progress
    assert credit.on_measured({"loss": 1.0}, {}) == {}  # most steps measure nothing
    again = Credit(["law", "tax"], ["a", "b"])
    again.load_state_dict(credit.state_dict())
    absent = {key: value for key, value in values.items() if "tax" not in key}  # the step held none of tax
    for one in (credit, again):
        second = one.on_measured(absent | {"validation/a": 2.6, "validation/b": 2.2}, {})
        assert second["credit/law"] == pytest.approx(0.2)
        assert second["credit/tax"] == pytest.approx(-0.1)
    assert again.state_dict() == credit.state_dict()


def test_nothing_is_credited_before_every_source_was_measured() -> None:
    credit = Credit(["law", "tax"], ["a"])
    for loss in (3.0, 2.0):
        assert credit.on_measured({"fisher/law/a": 0.1, "validation/a": loss}, {}) == {}
    later = credit.on_measured({"fisher/tax/a": 0.2, "validation/a": 1.5}, {})
    assert later["credit/law"] == pytest.approx(0.5)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{type(rule).__name__}-{getattr(rule, 'form', '')}")
def test_a_source_absent_from_a_step_keeps_its_score(rule: Rule) -> None:
    first = rule.scores(np.zeros(2), np.array([0.3, 0.4]), EVEN, 1e-3, 1)
    second = rule.scores(first, np.array([NAN, 0.1]), EVEN, 1e-3, 2)
    assert second[0] == first[0] > 0
    assert second[1] != first[1]


@given(
    st.sampled_from(RULES),
    st.lists(st.lists(st.floats(0, 12) | st.just(NAN), min_size=3, max_size=3), min_size=1, max_size=30),
    st.floats(1e-6, 0.1),
)
def test_shares_stay_shares(rule: Rule, reads: list[list[float]], rate: float) -> None:
    shares, scores = np.array([0.2, 0.3, 0.5]), np.zeros(3)
    for step, read in enumerate(reads, 1):
        scores = rule.scores(scores, np.array(read), shares, rate, step)
        shares = rule.shares(shares, scores, step)
        assert np.isfinite(shares).all()
        assert (shares >= 0).all()
        assert shares.sum() == pytest.approx(1)


def test_excess_is_clipped_a_token_and_then_averaged() -> None:
    """The mean of the differences is 0 here, and the mean of what is lost is not."""
    labels = torch.tensor([0, 0])
    student = torch.tensor([[1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    reference = student.detach().flip(0)
    excess = ExcessCrossEntropy()(Chunk(student, labels, labels, reference))
    gap = math.log(2) - math.log(1 + math.exp(-1))
    assert excess.tolist() == pytest.approx([0.0, gap])
    assert not excess.requires_grad


def test_sources_keep_together_what_they_had() -> None:
    """general is not moved; what is read goes by the rule's own shares, not by what the dials' bounds leave."""
    dials = {name: Dial(name, 0.25, 1e-4, 1.0) for name in ("share/law", "share/tax", "share/general")}
    dials["share/general"].move(0.5)
    weights = OnlineWeights(DoReMi(smoothing=0), {"law": 0.25, "tax": 0.25})
    told = weights.on_measured(
        {"loss/law/excess": 0.2, "loss/tax/excess": 0.0, "learning_rate": 1e-3, "loss/general/excess": 9.0}, dials
    )
    assert float(dials["share/law"]) == pytest.approx(0.549834 / 2, abs=5e-7)
    assert float(dials["share/tax"]) == pytest.approx(0.450166 / 2, abs=5e-7)
    assert float(dials["share/general"]) == 0.5
    assert told["online/score/law"] == 0.2
    assert told["online/drift"] == pytest.approx(math.log(0.5 / 0.450166), abs=1e-5)
    assert weights.on_measured({"learning_rate": 1e-3}, dials) == {}  # a step that holds none of them
    for _ in range(99):
        weights.on_measured({"loss/law/excess": 1.0, "loss/tax/excess": 0.0, "learning_rate": 1e-3}, dials)
    assert float(dials["share/tax"]) == 1e-4
    again = OnlineWeights(DoReMi(smoothing=0), {"law": 0.25, "tax": 0.25})
    again.load_state_dict(weights.state_dict())
    assert (again.shares == weights.shares).all()
    assert again.shares[1] < 1e-20
