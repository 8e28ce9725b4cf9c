"""A wheel small enough to be made in a test, which pip finds without any network."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from acclimate.demo.assets import Asset


def make_wheel(folder: Path, members: Mapping[str, bytes], package: str = "tiny-asset", version: str = "1.0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    module = package.replace("-", "_")
    path = folder / f"{module}-{version}-py3-none-any.whl"
    info = f"{module}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def asset_of(wheel: Path, members: tuple[str, ...], package: str = "tiny-asset", name: str = "tiny") -> Asset:
    return Asset(
        name=name,
        package=package,
        version="1.0",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        members=members,
        licence=f"Licence of {name}.",
    )
