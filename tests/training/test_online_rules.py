"""Online weights on arrays: planted vectors, absent sources, bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from acclimate.objective.cross_entropy import ExcessCrossEntropy
from acclimate.training.control.online import ODM, DoGE, DoReMi, OnlineWeights, Rule
from acclimate.training.control.online.doge import alignment, bounded, doge
from acclimate.training.control.online.doremi import doremi
from acclimate.training.control.online.odm import exp3, exploration, odm, smoothed
from acclimate.types.central import Chunk
from acclimate.types.dials import Dial

NAN = math.nan
EVEN = np.array([0.5, 0.5])
RULES: list[Rule] = [DoReMi(), DoGE(), ODM(), ODM("exp3")]


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
