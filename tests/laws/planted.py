"""Planted data of every form: what is true, where it was measured, what is asked, and a table that tells less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from acclimate.laws.form import Array, Form, Values
from acclimate.laws.forms.registry import FORMS
from acclimate.laws.forms.repetition import PUBLISHED
from acclimate.laws.law import Law

NOISE = 0.002
SOURCES = ("a", "b", "c")


def grid(**columns: object) -> dict[str, Array]:
    """Every combination."""
    mesh = np.meshgrid(*(np.asarray(column, dtype=float) for column in columns.values()), indexing="ij")
    return {name: column.ravel() for name, column in zip(columns, mesh, strict=True)}


def mixtures(rows: int, seed: int, **more: float) -> dict[str, Array]:
    drawn = np.random.default_rng(seed).dirichlet(np.ones(len(SOURCES)), rows)
    table = {f"share/{name}": drawn[:, place] for place, name in enumerate(SOURCES)}
    return table | {name: np.full(rows, value) for name, value in more.items()}


def stacked(*tables: dict[str, Array]) -> dict[str, Array]:
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


@dataclass(frozen=True)
class Planted:
    """Args:
    values: the truth.
    inputs: where it is measured, with noise.
    unseen: where it is predicted, without.
    within: the largest error there.
    told: whether the parameters come back, too: within a tenth.
    poor: column -> the one value that it is held at in a poorer table, which leaves ``loose`` parameters.
    """

    values: Values
    inputs: dict[str, Array]
    unseen: dict[str, Array]
    within: float
    poor: Mapping[str, float]
    loose: frozenset[str]
    options: Mapping[str, object] = field(default_factory=dict)
    told: bool = False
    noise: float = NOISE

    def form(self, name: str) -> Form:
        return FORMS[name](**self.options)

    def measured(self, name: str, seed: int = 0) -> dict[str, Array]:
        form = self.form(name)
        loss = form.curve(self.inputs, self.values)
        return {**self.inputs, form.outcome: loss + self.noise * np.random.default_rng(seed).standard_normal(len(loss))}

    def truth(self, name: str) -> Law:
        return Law(self.form(name), self.values, {}, 0.0)


TOKENS = (2e8, 8e8, 3.2e9)
PLANTED: dict[str, Planted] = {
    "annealing": Planted(
        {"L0": 2.6, "A": 0.43, "alpha": 0.55, "C": 0.41},
        grid(s1=np.linspace(0.1, 4, 20), s2=[0.0, 0.1, 0.2]),
        grid(s1=[3.0, 6.0], s2=[0.3]),
        0.005,
        {"s2": 0.0},
        frozenset({"C"}),
        told=True,
    ),
    "continual": Planted(
        {"L0": 3.0, "A": 0.49, "alpha": 0.5, "C1": 0.3, "C2": 0.3, "B": 0.37, "E": 28.0, "beta": 0.19},
        grid(s1_pt=[2.0, 7.0], s2_pt=[0.0, 0.2], s1_cpt=[0.0, 0.02, 0.1, 0.5, 1, 2, 4], s2_cpt=[0.0, 0.15]),
        grid(s1_pt=[4.0], s2_pt=[0.1], s1_cpt=[0.2, 3.0, 5.0], s2_cpt=[0.2]),
        0.008,
        {"s2_pt": 0.2},
        frozenset({"C1"}),
    ),
    "out_of_domain": Planted(
        {"l_cpt": 0.4, "l_pt": 0.6},
        grid(domain=np.linspace(2.4, 3.0, 5), general=np.linspace(3.1, 3.3, 4)),
        grid(domain=[2.0], general=[3.5]),
        0.01,
        {},
        frozenset(),
        told=True,
    ),
    "power": Planted(
        {"a": -0.4, "s": 0.2, "b": 1.9},
        grid(share=np.linspace(0.1, 1.0, 12)),
        grid(share=[0.15, 0.7]),
        0.005,
        {},
        frozenset(),
        noise=2e-4,
        told=True,
    ),
    "rise_and_fall": Planted(
        {"a2": 0.9, "s2": 0.3, "a3": -0.7, "s3": 0.35, "b2": 0.0},
        grid(tokens=np.geomspace(0.1, 100, 40)),
        grid(tokens=[3.0, 30.0, 150.0]),
        0.01,
        {},
        frozenset(),
    ),
    "d_cpt": Planted(
        {"E": 1.8, "B": 20.0, "eta": 0.3, "beta": 0.35, "C": 0.25, "eps": 0.1, "gamma": 0.6},
        grid(share=np.arange(1, 10) / 10, tokens=5e7 * np.arange(1, 21)),
        grid(share=[0.15, 0.55, 1.0], tokens=[3e8, 1e9]),
        0.006,
        {"tokens": 3e8},
        frozenset({"B", "C"}),
    ),
    "exponential_mixture": Planted(
        {"c": 2.0, "k": 0.6, "t_a": -1.0, "t_b": 0.4, "t_c": -0.2},
        mixtures(20, 0),
        mixtures(10, 5),
        0.005,
        {"share/a": 0.2, "share/b": 0.5},
        frozenset({"c", "k", "t_a", "t_b", "t_c"}),
        {"sources": SOURCES},
    ),
    "additive_mixture": Planted(
        {"E": 1.5, "C_a": 0.4, "C_b": 0.9, "C_c": 0.3, "g_a": 0.3, "g_b": 0.5, "g_c": 0.2, "B": 800.0, "beta": 0.35},
        stacked(*(mixtures(20, 0, tokens=tokens) for tokens in TOKENS)),
        mixtures(10, 5, tokens=1e9),
        0.01,
        {"tokens": 8e8},
        frozenset({"B", "beta"}),
        {"sources": SOURCES},
    ),
    "joint_mixture": Planted(
        {"E": 1.5, "C_a": 0.4, "C_b": 0.9, "C_c": 0.3, "g_a": 0.3, "g_b": 0.5, "g_c": 0.2, "B": 1300.0, "b_b": 0.25,
         "b_c": 0.6, "gB": 0.8, "beta": 0.35},
        stacked(*(mixtures(20, 0, tokens=tokens) for tokens in TOKENS)),
        mixtures(10, 5, tokens=1e9),
        0.02,
        {"tokens": 8e8},
        frozenset({"B", "beta"}),
        {"sources": SOURCES},
    ),
    "sft_mixture": Planted(
        {"C": 3.0, "k": 0.2, "alpha": 0.7, "beta": 0.3, "E": 0.8},
        grid(tokens=1e5 * np.array([1 / 3, 1 / 2, 1, 2, 3]), other_tokens=4e5 * np.array([1 / 3, 1 / 2, 1, 2, 3])),
        grid(tokens=[6e4, 2.5e5], other_tokens=[3e5, 9e5]),
        0.005,
        {"other_tokens": 4e5},
        frozenset({"k", "alpha"}),
    ),
    "repetition": Planted(
        {name: PUBLISHED[name] for name in ("E", "B", "beta", "R_D")},
        stacked(*({"unique": np.full(6, unique), "tokens": unique * np.array([0.5, 1, 2, 4, 8, 20])}
                  for unique in (5e7, 1e8, 4e8))),
        {"unique": np.array([2e8, 2e8]), "tokens": np.array([2e9, 6e9])},
        0.005,
        {"tokens": 5e7},
        frozenset({"E", "B", "beta", "R_D"}),
        told=True,
    ),
    "forgetting": Planted(
        {"A": 0.8, "beta": 0.3, "B": 200.0, "alpha": 0.6},
        grid(replay=[0, 0.01, 0.05, 0.25], tokens=[1.0, 4.0, 16.0], start=[3.0]),
        {"replay": np.array([0.1, 0.02]), "tokens": np.array([16.0, 64.0]), "start": np.array([3.0, 3.0])},
        0.005,
        {"tokens": 4.0},
        frozenset({"A", "beta"}),
        told=True,
    ),
}  # fmt: skip
