"""Installed packages against the ranges that the installed metadata declares."""

from __future__ import annotations

import platform
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import acclimate
from acclimate.verbs.doctor.fact import Fact, Section

OF_TRANSFORMERS = ("tokenizers", "huggingface-hub")
"""Used through transformers, which declares their ranges."""
UNDECLARED = ("datasets",)
"""Shown where they are installed."""


def versions() -> Section:
    """acclimate, Python, and every package that acclimate requires."""
    found = {"acclimate": Fact(acclimate.__version__, acclimate.__version__)}
    try:
        python = metadata.metadata("acclimate")["Requires-Python"]
    except metadata.PackageNotFoundError:
        sentence = "acclimate is imported but not installed, so the ranges it needs are unknown; pip install it."
        return {"acclimate": Fact(acclimate.__version__, acclimate.__version__, sentence)}
    wanted = [r for r in _requirements("acclimate") if r.marker is None or r.marker.evaluate()]
    wanted += [r for r in _requirements("transformers") if r.name in OF_TRANSFORMERS and r.marker is None]
    found["python"] = _fact("python", platform.python_version(), SpecifierSet(python))
    found |= {r.name: _fact(r.name, _version(r.name), r.specifier) for r in wanted}
    found |= {name: Fact(version, version) for name in UNDECLARED if (version := _version(name)) and name not in found}
    return found


def extras() -> Section:
    """Of every optional group of packages, what is missing."""
    found: dict[str, dict[str, str | None]] = {}
    for requirement in _requirements("acclimate"):
        for extra in _extras():
            if requirement.marker is not None and requirement.marker.evaluate({"extra": extra}):
                found.setdefault(extra, {})[requirement.name] = _version(requirement.name)
    return {extra: _extra(extra, packages) for extra, packages in found.items()}


def _extra(extra: str, packages: dict[str, str | None]) -> Fact:
    missing = [name for name, version in packages.items() if version is None]
    return Fact(packages, f"without {', '.join(missing)}: pip install 'acclimate[{extra}]'" if missing else "installed")


def _extras() -> list[str]:
    return metadata.metadata("acclimate").get_all("Provides-Extra") or []


def _requirements(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in metadata.requires(name) or ()]
    except metadata.PackageNotFoundError:
        return []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fact(name: str, version: str | None, accepted: SpecifierSet) -> Fact:
    value = {"version": version, "accepted": str(accepted)}
    if version is None:
        return Fact(
            value, f"missing, needs {accepted}", f"{name} is not installed; pip install '{name}{accepted}'.", True
        )
    if not accepted.contains(version, prereleases=True):
        remedy = "use another Python" if name == "python" else f"pip install '{name}{accepted}'"
        return Fact(value, f"{version}, needs {accepted}", f"{name} {version} is outside {accepted}; {remedy}.", True)
    return Fact(value, f"{version} ({accepted})" if str(accepted) else version)
