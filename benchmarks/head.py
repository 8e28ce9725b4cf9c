"""The head's loss from hidden states, ours beside its peers: time, extra memory, and the gradient's error.

    python benchmarks/head.py [--rounds 3] [--threads 2] > benchmarks/DATE-head.md    (extra `bench`)

Forward KL(base || student) summed over N tokens, forward and backward, float32. Every contender gets the same tensors
and must give the same gradient; `head: trained` asks for the gradient of the weight too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from alternate import header, middle, race, ratios, serve, spread
from gpu.loss import head_loss
from torch import Tensor

SHAPES = {"512 x 49k": (512, 576, 49152), "2048 x 49k": (2048, 576, 49152), "1024 x 152k": (1024, 896, 151936)}
CHUNK = 256  # acclimate's default, objective.chunk_tokens
PEERS = {
    "naive": "full logits, `log_softmax`",
    "torchtune": "torchtune 0.6.1 `ForwardKLWithChunkedOutputLoss`, 8 chunks",
    "liger": "Liger 0.8.5 `LigerFusedLinearJSDLoss`, beta 0, chunk 128, eager",
    "trl": "TRL 1.16 `ChunkedDivergenceFunction`, beta 0, default tiles 4096 x 32768",
    "trl-256": "the same, tiles 256 x 32768 (the fastest of five settings at 512 x 49k)",
    "acclimate": f"`chunked_loss` with `Divergence('forward')`, chunk {CHUNK}",
}
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(student hidden [N, D], reference hidden [N, D], weight [V, D]) to a scalar."""


def ours(
    hidden: Tensor, reference: Tensor, weight: Tensor, kind: str = "forward", logits_dtype: torch.dtype = torch.float32
) -> Tensor:
    return head_loss(hidden, reference, weight, kind, CHUNK, logits_dtype)


def naive(hidden: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
    p = (hidden @ weight.T).float().log_softmax(-1)
    with torch.no_grad():
        q = (reference @ weight.T).float().log_softmax(-1)
    return (q.exp() * (q - p)).sum()


def torchtune(hidden: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
    from torchtune.modules.loss.kd_losses import ForwardKLWithChunkedOutputLoss

    with torch.no_grad():
        q = [part[None] @ weight.T for part in reference.chunk(8)]
    p = [part[None] @ weight.T for part in hidden.chunk(8)]
    found: Tensor = ForwardKLWithChunkedOutputLoss(8)(p, q, torch.zeros(1, len(hidden), dtype=torch.int64))
    return found * len(hidden)  # it is a mean over tokens


def liger(hidden: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.0, compiled=False, chunk_size=128)
    labels = torch.zeros(len(hidden), dtype=torch.int64)
    found: Tensor = loss(hidden, weight, reference, weight.detach(), labels)
    return found * len(hidden)


def trl(tokens: int | None = None, vocabulary: int | None = None) -> Loss:
    import trl.kernels.chunked_divergence as kernel

    if tokens is not None:
        kernel.TOKEN_CHUNK_SIZE, kernel.VOCAB_CHUNK_SIZE = tokens, vocabulary

    def loss(hidden: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
        found: Tensor = kernel.ChunkedDivergenceFunction.apply(
            hidden, weight, None, reference, weight.detach(), None, 0.0
        )[0].sum()
        return found

    return loss


def contender(name: str) -> Loss:
    if name.startswith("trl"):
        return trl(256, 32768) if name == "trl-256" else trl()
    return {"acclimate": ours, "naive": naive, "torchtune": torchtune, "liger": liger}[name]


def inputs(shape: tuple[int, int, int], distance: float = 0.1) -> tuple[Tensor, Tensor, Tensor]:
    tokens, size, vocabulary = shape
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(tokens, size, generator=generator)
    weight = torch.randn(vocabulary, size, generator=generator) / size**0.5 * 2
    return reference + distance * torch.randn(tokens, size, generator=generator), reference, weight


def work(name: str, shape: str, trained: bool) -> None:
    hidden, reference, weight = inputs(SHAPES[shape])
    loss = contender(name)

    def once() -> dict[str, Any]:
        student, matrix = hidden.clone().requires_grad_(), weight.detach().requires_grad_(trained)
        found = loss(student, reference, matrix)
        found.backward()  # type: ignore[no-untyped-call]
        assert student.grad is not None
        return {"loss": found.item(), "norm": student.grad.norm().item()}

    serve(once)


def compare(rounds: int, threads: int) -> None:
    print(header("The head: forward KL from hidden states, forward and backward", PACKAGES))
    print(f"float32, {threads} thread{'s' * (threads > 1)}, {rounds} rounds. MiB is peak memory above the inputs.\n")
    print("\n".join(f"- **{name}**: {what}" for name, what in PEERS.items()) + "\n")
    for trained in (False, True):
        for shape in SHAPES:
            samples = race(__file__, {n: [n, shape, str(int(trained))] for n in PEERS}, rounds, threads)
            expected = middle(samples["naive"], "norm")
            print(f"\n## {shape}, head {'trained' if trained else 'frozen'}\n")
            print("| | seconds | CPU s | MiB | gradient norm off by | time / acclimate | range |")
            print("|---|---|---|---|---|---|---|")
            for name in PEERS:
                ratio, between = ratios(samples, name, "acclimate")
                off = abs(middle(samples[name], "norm") / expected - 1)
                print(
                    f"| {name} | {spread(samples[name], 'wall')} | {middle(samples[name], 'cpu'):.2f} | "
                    f"{middle(samples[name], 'extra'):.0f} | {off:.0e} | {ratio:.2f} | {between} |",
                    flush=True,
                )


PACKAGES = ["torch", "trl", "liger-kernel", "torchtune"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    compare(arguments.rounds, arguments.threads)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(sys.argv[2], sys.argv[3], bool(int(sys.argv[4])))
    else:
        main()
