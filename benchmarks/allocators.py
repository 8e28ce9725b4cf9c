"""One training step under three allocators.

    python benchmarks/allocators.py --model FOLDER --domain FILE --general FILE > benchmarks/DATE-allocators.md

Needs `apt-get install libtcmalloc-minimal4 libjemalloc2`. Every contender is the worker of `step.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from alternate import header, middle, race, ratios, spread
from step import fixed_arguments

LIBRARIES = {"glibc": "", "tcmalloc": "libtcmalloc_minimal.so.4", "jemalloc": "libjemalloc.so.2"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    fixed_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tunings", nargs="+", default=["lora", "full"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    arguments = parser.parse_args()
    print(header("A training step under three allocators", ["torch", "transformers", "peft"]))
    print(
        f"mol on {Path(arguments.model).name}, about {arguments.tokens} trained tokens a step, "
        f"{arguments.rounds} rounds, 2 threads.\n"
    )
    print("| | ms/token | of glibc's time | range | peak RSS, MiB |\n|---|---|---|---|---|")
    script = str(Path(__file__).with_name("step.py"))
    for tuning in arguments.tunings:
        for dtype in arguments.dtypes:
            fixed = ["mol", "--model", arguments.model, "--domain", arguments.domain, "--general", arguments.general]
            fixed += ["--tokens", str(arguments.tokens), "--tuning", tuning, "--dtype", dtype]
            preload = {name: {"LD_PRELOAD": library} for name, library in LIBRARIES.items()}
            samples = race(script, dict.fromkeys(LIBRARIES, fixed), arguments.rounds, warmup=2, variables=preload)
            for sample in [s for found in samples.values() for s in found]:
                sample["each"] = 1000 * sample["wall"] / sample["tokens"]
            for name, found in samples.items():
                ratio, between = ratios(samples, name, "glibc", "each")
                print(
                    f"| {tuning} {dtype}, {name} | {spread(found, 'each')} | **{ratio:.2f}** | {between} | "
                    f"{middle(found, 'peak'):.0f} (at most {max(s['peak'] for s in found):.0f}) |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
