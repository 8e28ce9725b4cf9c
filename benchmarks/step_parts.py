"""Where the time of a training step goes: kernels by kind, and what is no kernel.

    python benchmarks/step_parts.py --model FOLDER --domain FILE --general FILE [--tuning lora] [--dtype bfloat16]

Prints a Markdown table, in percent of the profiled steps' wall time. The profiler makes small operations look longer
than they are, so what is no kernel is an upper bound.
"""

from __future__ import annotations

import argparse
from collections import Counter

import torch
from alternate import header
from step import fixed_arguments, one_step, training
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "matrix products": ("mm", "addmm", "addmm_", "bmm", "baddbmm"),
    "attention": (
        "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "softmax of the head": ("_log_softmax", "_log_softmax_backward_data", "nll_loss_forward", "nll_loss_backward"),
    "moves: casts, gathers, fills": ("copy_", "cat", "index_select", "index", "fill_", "masked_fill_", "zero_"),
    "autograd, Python, views": (
        "view", "transpose", "t", "slice", "select", "as_strided", "empty", "empty_like", "empty_strided", "to",
        "_to_copy", "permute", "expand", "detach", "unsqueeze", "reshape", "_unsafe_view", "split", "linear", "matmul",
    ),
    "other passes over memory": (),
}  # fmt: skip


def kind_of(name: str) -> str:
    if not name.startswith("aten::"):
        return "autograd, Python, views"
    found = name.removeprefix("aten::")
    return next((kind for kind, names in KINDS.items() if found in names), "other passes over memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    fixed_arguments(parser)
    parser.add_argument("--tuning", default="lora")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args()
    step = one_step(training(arguments, "mol"))
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(arguments.steps):
            step()
    spent: Counter[str] = Counter()
    total = 0.0
    for event in recorded.key_averages():
        total += event.self_cpu_time_total
        spent[kind_of(event.key)] += event.self_cpu_time_total
    print(header("Parts of a training step", ["torch", "transformers", "peft"], raced=False))
    print(f"mol, {arguments.tuning}, {arguments.dtype}, {torch.get_num_threads()} threads, {arguments.steps} steps.\n")
    print("| | % of the step |\n|---|---|")
    for kind in KINDS:
        print(f"| {kind} | {100 * spent[kind] / total:.0f} |")


if __name__ == "__main__":
    main()
