#!/usr/bin/env bash
# What a release promises about versions: `make bounds`. It takes a package registry, and leaves nothing behind.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH
mapfile -t light < <(sed -n 's/^pip install "numpy/"numpy/p' "$root/docs/tutorials/gate-in-ci.md" | grep -o '[^" ]*>=[^" ]*')
pip_install() { "$1" -m pip install --quiet --disable-pip-version-check "${@:2}"; }

mkdir "$work/source"
git -C "$root" archive HEAD | tar -x -C "$work/source"
"$root/.venv/bin/python" -m build --no-isolation --wheel --outdir "$work" "$work/source" > /dev/null
printf 'sets:\n  domain:\n    min_gain: {bits_per_byte: 1 %%}\n' > "$work/gate.yaml"

# 1. On each Python the wheel and its light install work away from the source. A run of 6 documents is too small to judge.
for python in ${PYTHONS:-python3.10 python3.11 python3.12 python3.13}; do
  bin=$(mktemp -d -p "$work")/bin
  "$python" -m venv "${bin%/bin}" 2> /dev/null || { echo "$python: not on this machine"; continue; }
  pip_install "$bin/python" "${light[@]}"
  pip_install "$bin/python" --no-deps "$work"/*.whl
  (
    cd "$work"
    "$bin/python" -c 'import sys, acclimate as ac; assert ac.runs.open(sys.argv[1]).method == "mol"' "$root/tests/runs/folder-0.1"
    "$bin/acclimate" --help > /dev/null
    "$bin/acclimate" report "$root/tests/runs/folder-0.1" --output page.html > /dev/null
    "$bin/acclimate" gate "$root/tests/runs/folder-0.1" --policy gate.yaml > said 2>&1 && code=0 || code=$?
    [ "$code" = 3 ] && grep -q "over fewer than 20" said || { cat said; exit 1; }
    "$bin/acclimate" train gate.yaml > said 2>&1 && exit 1 || ! grep -q Traceback said
  )
  echo "$python: the wheel judges and reports ($("$bin/python" -V))"
done

# 2. With the lowest versions that pyproject.toml allows for it, the tests of statistics, gates and reports pass.
"$root/.venv/bin/python" -m venv "$work/lowest"
pip_install "$work/lowest/bin/python" "pytest>=8" "pytest-timeout>=2.3" hypothesis
pip_install "$work/lowest/bin/python" $(printf '%s\n' "${light[@]}" | sed 's/>=/==/; s/,.*//')
site=$("$work/lowest/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$root/.venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/zz_the_others.pth"
"$work/lowest/bin/python" -m pip list --disable-pip-version-check 2> /dev/null | grep -iE "^($(printf '%s\n' "${light[@]}" | sed 's/>=.*//' | paste -sd '|')) "
cd "$work/source"
PYTHONPATH=src OMP_NUM_THREADS=1 "$work/lowest/bin/python" -m pytest -q tests/paired tests/gates tests/reports tests/runs
