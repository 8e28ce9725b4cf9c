"""The objective of the front door is the objective of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import acclimate as ac
from acclimate.model.causal import CausalModel
from acclimate.model.reference import FrozenCopy
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import Divergence
from acclimate.objective.objective import Objective
from acclimate.types.central import Route, RoutedTerm
from acclimate.types.errors import UsageError
from tests.fixtures.batches import packed
from tests.fixtures.pico import pico_model, pico_tokenizer

BATCHES = [packed([[(0, 20, 0), (1, 12, 1)]], seed=1), packed([[(2, 9, 1)], [(3, 7, 0)]], seed=2)]


def student(seed: int = 0) -> CausalModel:
    return ac.causal(pico_model(seed), pico_tokenizer())


def mol(own: CausalModel, **changed: object) -> ac.Objective:
    terms = (ac.cross_entropy(on="domain"), ac.kl(to="base", on="general", weight=0.5))
    return ac.Objective(*terms, references={"base": ac.frozen_copy(own)}, **changed)


def trained(model: CausalModel, objective: ac.Objective | Objective, steps: int = 3) -> list[dict[str, float]]:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    reports = []
    for _ in range(steps):
        step = objective.step(BATCHES)
        for batch in BATCHES:
            step.loss(model, batch).backward()
        reports.append(step.report())
        optimizer.step()
        optimizer.zero_grad()
    return reports


def test_a_plain_loop_learns_what_the_objective_of_a_run_learns() -> None:
    one, other = student(), CausalModel(pico_model(0), pico_tokenizer())
    reports = trained(one, mol(one))
    terms = [
        RoutedTerm("cross_entropy", CrossEntropy(), ("domain",)),
        RoutedTerm("reverse_kl", Divergence(), ("general",), 0.5, reference="base"),
    ]
    routes = [Route("domain", "domain"), Route("general", "general")]
    assert reports == trained(other, Objective(terms, routes, {"base": FrozenCopy.of(other)}))
    assert reports[0]["loss/general/reverse_kl"] == 0.0 < reports[-1]["loss/general/reverse_kl"]
    for name, weight in one.network.state_dict().items():
        assert torch.equal(weight, other.network.state_dict()[name]), name


def test_a_trainer_gives_the_student_later() -> None:
    own = student()
    late = ac.Objective(ac.kl(on=("domain", "general")), references={"base": ac.frozen_copy})
    with pytest.raises(UsageError, match=r"references\['base'\] is a function .* objective.bind\(student\)"):
        late.step(BATCHES)
    step = late.bind(own).step(BATCHES)
    assert float(step.loss(own, BATCHES[0])) == 0.0


def test_a_strength_acts_on_what_holds_the_model() -> None:
    """Of a student that has moved, three times the KL's part of the loss."""
    own = student()
    objective = mol(own)
    trained(own, objective)

    def loss(of: ac.Objective) -> dict[str, float]:
        step = of.step(BATCHES)
        for batch in BATCHES:
            step.loss(own, batch)
        return step.report()

    plain, strong = loss(objective), loss(objective.strengthened(ac.Dial("strength", 3.0, 0.0, 9.0)))
    assert strong["loss"] - plain["loss"] == pytest.approx(plain["loss/general/reverse_kl"], rel=1e-5)
    both = ac.cross_entropy(on=("domain", "general"))
    assert both.anchors == ("general",)
    with pytest.raises(UsageError, match="no term holds the model"):
        ac.Objective(ac.cross_entropy()).strengthened(ac.Dial("strength", 1.0, 0.0, 9.0))


def test_batches_may_bring_their_own_routes() -> None:
    table = (Route("wiki", "general"), Route("law", "domain"))
    own = student()
    batches = [replace(batch, routes=table) for batch in BATCHES]
    step = mol(own).step(batches)
    for batch in batches:
        step.loss(own, batch)
    assert step.report().keys() == {"loss", "loss/law/cross_entropy", "loss/wiki/reverse_kl"}
    assert batches[0].to("cpu").routes == table


def test_an_adapter_can_be_switched_off() -> None:
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(r=2, target_modules=["q_proj"], lora_dropout=0.1, task_type="CAUSAL_LM")
    own = ac.causal(get_peft_model(pico_model(0), settings), pico_tokenizer())
    assert {m.p for m in own.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}
    objective = ac.Objective(ac.kl(on=("domain", "general")), references={"base": ac.adapter_off(own)})
    own.eval()
    assert float(objective.step(BATCHES).loss(own, BATCHES[0])) == 0.0
    with torch.no_grad():
        for name, weight in own.trainable().items():
            weight.add_(0.1 * ("lora_B" in name))
    assert float(objective.step(BATCHES).loss(own, BATCHES[0])) > 0
    with pytest.raises(UsageError, match="adapter_off: the student has no adapter"):
        ac.adapter_off(student())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (ac.Objective, "give the terms it is made of"),
        (lambda: ac.Objective(ac.kl()), r"reference 'base', and none is given; set references=\{'base'"),
        (lambda: ac.Objective(ac.kl(to="bsae"), references={"base": ac.frozen_copy}), "Did you mean 'base'"),
        (lambda: ac.Objective(ac.cross_entropy(), references={"base": ac.frozen_copy}), "no term compares .* 'base'"),
        (lambda: ac.Objective(ac.cross_entropy(), average="tokens"), "average is 'tokens'; accepted: token"),
        (lambda: ac.kl(direction="revers"), "Did you mean 'reverse'"),
        (lambda: ac.kl(temperature=0.0), "temperature is 0.0; accepted: a number above 0"),
        (lambda: ac.cross_entropy(weight=-1), "weight may be -1"),
        (lambda: ac.cross_entropy(on=()), r"on is \(\); accepted: the name of a route"),
        (lambda: ac.causal("gpt2", None), r"network is 'gpt2'; accepted: a loaded model"),
        (lambda: ac.causal(torch.nn.Linear(2, 2), None), "Linear has no head over a vocabulary"),
        (lambda: ac.frozen_copy(pico_model()), r"student is a LlamaForCausalLM; accepted: what acclimate.causal"),
        (lambda: ac.Objective(ac.cross_entropy()).step([]), "there is no micro-batch"),
        (lambda: ac.Objective(ac.cross_entropy()).step(BATCHES).report(), "no loss was taken yet"),
        (
            lambda: ac.Objective(ac.cross_entropy(on="domian")).step(
                [replace(BATCHES[0], routes=(Route("law", "domain"), Route("web", "general")))]
            ),
            "route 'domian', which no text has; routes: domain, general. Did you mean 'domain'",
        ),
        (
            lambda: ac.Objective(ac.cross_entropy()).step(
                [replace(BATCHES[0], routes=(Route("law", "domain"), Route("web", "web")))]
            ),
            r"no term learns from 'web', whose route is web; give its text a route that a term names \(domain\)",
        ),
        (
            lambda: ac.Objective(ac.cross_entropy(), routes=["domain"]).step(BATCHES),
            "a label has the route 1; the table has 0 to 0: domain",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(make: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()  # type: ignore[operator]
