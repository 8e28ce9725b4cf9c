"""Control groups of both versions, nested and mounted as the root of a container."""

from __future__ import annotations

from pathlib import Path

from acclimate.verbs.limits import core_limit, memory_limit


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_version_2_takes_the_group_with_least_left(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/batch/job\n")
    group(tmp_path / "batch" / "job", memory__max="1000", memory__current="100", cpu__max="max 100000")
    group(tmp_path / "batch", memory__max="1200", memory__current="900", memory__stat="anon 5\ninactive_file 200", cpu__max="150000 100000")  # fmt: skip  # noqa: E501
    group(tmp_path, memory__max="max")
    assert memory_limit(tmp_path, own) == (1200, 700)
    assert core_limit(tmp_path, own) == 1.5


def test_version_1_in_a_container(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")  # its own group is mounted as the root
    group(tmp_path / "memory", memory__limit_in_bytes="4096", memory__usage_in_bytes="1024")
    group(tmp_path / "cpu", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    assert memory_limit(tmp_path, own) == (4096, 1024)
    assert core_limit(tmp_path, own) == 0.5


def test_no_limit(tmp_path: Path) -> None:
    own = tmp_path / "own"
    assert memory_limit(tmp_path, own) is core_limit(tmp_path, own) is None
    own.write_text("4:memory:/\n1:cpu:/\n")
    group(tmp_path / "memory", memory__limit_in_bytes="9223372036854771712")
    group(tmp_path / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert memory_limit(tmp_path, own) is core_limit(tmp_path, own) is None
