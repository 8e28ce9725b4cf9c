"""A model folder as one GGUF file, by llama.cpp's own converter, and what Ollama has to know about it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from acclimate.disk.files import sync
from acclimate.types.errors import RunError, UsageError, listed, nearest

TYPES = ("f32", "f16", "bf16", "q8_0", "auto")
"""What the converter writes by itself; smaller ones are made of these by ``llama-quantize``."""
SCRIPT = "convert_hf_to_gguf.py"
VERSION = "0.3.36"
PINNED = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
"""sha256 of the source archive of llama-cpp-python, which holds llama.cpp with its converter; llama.cpp itself is in no
registry of packages."""
LLAMA_CPP = "https://github.com/ggml-org/llama.cpp"
WANTED = ("convert_hf_to_gguf.py", "conversion/", "gguf-py/")


def check_gguf(kind: str, converter: Path | None) -> None:
    """
    Raises:
        UsageError: a type that the converter does not write, or a converter that is not there, or cannot run.
    """
    if kind not in TYPES:
        raise UsageError(
            f"--gguf: '{kind}' is no type that the converter writes; accepted: {listed(TYPES)}.{nearest(kind, TYPES)} "
            "Smaller ones, such as q4_k_m, llama-quantize makes of bf16 (docs/howto/serving.md)."
        )
    if converter is None and importlib.util.find_spec("sentencepiece") is None:  # or it ends after minutes of work
        raise UsageError("--gguf: llama.cpp's converter needs sentencepiece; run `pip install 'acclimate[gguf]'`.")
    if converter is not None and not script_of(converter).is_file():
        raise UsageError(
            f"--converter: there is no {SCRIPT} at '{converter}'; give that file, or a checkout of llama.cpp."
        )


def script_of(converter: Path) -> Path:
    return converter / SCRIPT if converter.is_dir() else converter


def write_gguf(folder: Path, name: str, kind: str, cache: Path, converter: Path | None = None) -> Path:
    """Converts a model folder, and puts the file into it.

    Args:
        name: the file is ``NAME-TYPE.gguf``.
        cache: where the pinned converter is kept, once it was needed.
        converter: another one: its script, or a checkout of llama.cpp.

    Raises:
        RunError: the converter cannot be had, or refuses the model; its last line says why. ``folder`` is unharmed.
    """
    script = script_of(converter) if converter is not None else pinned_converter(cache)
    target = folder / f"{name}-{kind}.gguf"
    partial = folder / f".{target.name}.partial"
    command = [sys.executable, str(script), str(folder), "--outfile", str(partial), "--outtype", kind]
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}  # the folder has all that it needs
    try:
        result = subprocess.run(command, env=offline, capture_output=True, text=True, check=False)
        if result.returncode or not partial.is_file():
            raise RunError(f"--gguf: llama.cpp's converter refuses '{folder}': {_why(result.stderr)}")
        partial.chmod(folder.stat().st_mode & 0o666)
        sync(partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _why(output: str) -> str:
    """The last line that says something, and what to do where a package is missing."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = lines[-1] if lines else "it said nothing"
    return f"{said}. Run `pip install 'acclimate[gguf]'`." if "No module named" in said else said


def pinned_converter(cache: Path) -> Path:
    """
    Returns:
        The converter's script, taken from the pinned archive when it is first asked for.

    Raises:
        RunError: pip cannot get that archive, or it is another one.
    """
    folder = cache / "converter" / f"llama-cpp-python-{VERSION}"
    if (folder / SCRIPT).is_file():
        return folder / SCRIPT
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        archive = _download(Path(place))
        with tarfile.open(archive) as packed:
            for member in packed:
                inside = member.name.partition("/vendor/llama.cpp/")[2]
                if not (member.isfile() and inside.startswith(WANTED) and ".." not in inside):
                    continue
                target = Path(place, "whole", inside)
                target.parent.mkdir(parents=True, exist_ok=True)
                source = packed.extractfile(member)
                assert source is not None  # a file has contents
                target.write_bytes(source.read())
        if not Path(place, "whole", SCRIPT).is_file():
            raise RunError(f"--gguf: {archive.name} holds no {SCRIPT}; give one with --converter.")
        if not folder.exists():
            os.replace(Path(place, "whole"), folder)
    return folder / SCRIPT


def _download(place: Path) -> Path:
    if importlib.util.find_spec("pip") is None:  # as in an environment that uv made
        raise RunError(
            f"--gguf fetches llama.cpp's converter with pip, and the interpreter {sys.executable} has no pip. Install "
            f"it with '{sys.executable} -m ensurepip', or give --converter, a checkout of {LLAMA_CPP}."
        )
    wanted = place / "requirements.txt"
    wanted.write_text(f"llama-cpp-python=={VERSION} --hash=sha256:{PINNED}\n", encoding="utf-8")
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary",
        "llama-cpp-python", "--require-hashes", "--dest", str(place), "--requirement", str(wanted),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(place.glob("*.tar.gz"))
    if result.returncode or len(found) != 1:
        raise RunError(
            f"--gguf needs llama.cpp's converter, which is in the source archive llama-cpp-python {VERSION}, and pip "
            f"could not get it: {_why(result.stderr)} Connect to the network once, or give --converter, a checkout of "
            f"{LLAMA_CPP}."
        )
    return found[0]
