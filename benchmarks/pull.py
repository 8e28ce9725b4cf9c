"""How much of its nominal weight a loss term has, by share, row length and batch: ``python benchmarks/pull.py``.

The pull of a term is the mean over steps of the weight that it was given, as a part of the nominal one. A step gives 1
where the denominator is its own count, 0 where it holds no token of the term, and else its tokens over the expected
ones. The packer, mixer, loader and denominators are a run's; documents have lengths like the demo's; there is no model.
"""

from __future__ import annotations

import argparse

import numpy as np

from acclimate.data.deal.dealt import Dealt
from acclimate.data.deal.loader import Loader
from acclimate.data.deal.mix import Mixer
from acclimate.data.deal.pack import PackedSource
from acclimate.data.deal.passes import Passes
from acclimate.data.deal.shares import constant
from acclimate.data.prepare.tokens import TokenCorpus
from acclimate.types.central import IGNORE

SIZES = ((512, 512), (512, 2048), (512, 4096), (2048, 2048), (2048, 4096))
SHARES = (0.05, 0.09, 0.11, 0.15, 0.25, 0.5)
DOCUMENTS = 3000
SELECTS = np.array([[True, False], [False, True]])


def corpus(route: int, seed: int) -> TokenCorpus:
    """Documents of 4 to 3000 tokens, lognormal around 100."""
    lengths = np.clip(np.exp(np.random.default_rng(seed).normal(4.6, 0.7, DOCUMENTS)), 4, 3000).astype(np.int64)
    ends = np.cumsum(lengths)
    zeros = np.zeros(int(ends[-1]))
    return TokenCorpus(
        ids=zeros.astype(np.int32),
        routes=zeros.astype(np.int16),
        token_bytes=zeros.astype(np.int32),
        bounds=np.stack([ends - lengths, ends], 1),
        labels=(lengths - 1)[:, None].astype(np.int32),
        where=[""] * DOCUMENTS,
        table=np.array([route]),
    )


def measure(length: int, batch: int, share: float, steps: int, before: bool) -> str:
    """A row of the table.

    Args:
        before: full rows, and the expected count only under a share of 10 %, as acclimate 0.1.0 had it.
    """
    shares = {"domain": 1 - share, "general": share}
    corpora = {"domain": corpus(0, 0), "general": corpus(1, 1)}
    tokens = {"domain": float(batch), "general": share * batch / (1 - share)}
    dealt = Dealt(corpora, tokens, ("domain",), SELECTS, ("domain", "general"), length)
    rows = dict.fromkeys(corpora, length) if before else dealt.row_lengths()
    denominator = dealt.denominators("token")[1]
    if before:
        denominator = tokens["general"] if share < 0.1 else None
    sources = {
        name: Passes(PackedSource(corpora[name], name, length, SELECTS.any(0), 0, row_length=rows[name]))
        for name in corpora
    }
    loader = Loader(Mixer(sources, constant(shares)), "domain", batch, 8, np.array([0, 1]))
    counts = np.array(
        [sum(int(((b.labels != IGNORE) & (b.route == 1)).sum()) for b in loader.next_step()) for _ in range(steps)]
    )
    pull = counts / denominator if denominator else (counts > 0).astype(float)
    absent = dealt.absent(rows, steps, 0)[1]
    rule = "expected" if denominator else "own"
    return (
        f"| {length} / {batch} | {share:.2f} | {tokens['general']:.0f} | {rows['general']} | {rule} | "
        f"{(counts == 0).mean():.1%} | {absent:.1%} | {pull.mean():.2f} | {pull.std():.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--before", action="store_true", help="as acclimate 0.1.0 had it")
    arguments = parser.parse_args()
    print(
        "| row / batch_tokens | share | general tokens a step | general rows up to | denominator "
        "| steps without any | foretold | mean pull | its deviation |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for length, batch in SIZES:
        for share in SHARES:
            print(measure(length, batch, share, arguments.steps, arguments.before), flush=True)


if __name__ == "__main__":
    main()
