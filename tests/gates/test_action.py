"""action.yml as GitHub runs it: its own scripts, in bash, with a `gh` that writes down what it is asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from acclimate.cli.options import GATE_CLOSED, UNDECIDED
from tests.gates.runs import scored_run

ROOT = Path(__file__).parents[2]
STEPS = {step.get("name"): step for step in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]}
GH = """#!/bin/bash
printf '%s\\n' "$*" >> {log}
case "$*" in *--jq*) cat {before} ;; esac
for part in "$@"; do case "$part" in body=@*) cp "${{part#body=@}}" {body} ;; esac; done
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.mark.skipif(shutil.which("jq") is None, reason="GitHub's machines have jq")
@pytest.mark.parametrize(
    ("margin", "outcome", "code", "before"),
    [
        ("0.05 bits/byte", "pass", 0, ""),
        ("0 bits/byte", "inconclusive", UNDECIDED, "17\n"),
        ("0.5 %", "refused", 3, ""),
        (None, "fail", GATE_CLOSED, ""),
    ],
)
def test_the_scripts_judge_and_comment(
    margin: str | None, outcome: str, code: int, before: str, run: Path, tmp_path: Path
) -> None:
    rules: dict[str, Any] = {"general": {"max_drop": {"bits_per_byte": margin}}}
    if margin is None:
        rules = {"domain": {"min_gain": {"bits_per_byte": "0.5 bits/byte"}}}
    if outcome == "refused":
        rules = {"nowhere": rules["general"]}
    (tmp_path / "gate.yaml").write_text(json.dumps({"sets": rules}))
    (tmp_path / "before").write_text(before)
    names = {name: str(tmp_path / name) for name in ("log", "before", "body")}
    tool(tmp_path / "bin" / "gh", GH.format(**names))
    tool(tmp_path / "bin" / "acclimate", f'#!/bin/bash\nexec {sys.executable} -m acclimate "$@"\n')
    env = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "RUNNER_TEMP": str(tmp_path), "RUN": str(run),
        "POLICY": str(tmp_path / "gate.yaml"), "REPORT": "https://x/report.html", "REPOSITORY": "o/r", "NUMBER": "5",
        "GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }  # fmt: skip
    judged = bash("Judge", env)
    if outcome == "refused":
        assert judged.returncode == code
        assert "sets.nowhere" in judged.stderr
        return
    assert judged.returncode == 0, judged.stderr
    found = dict(line.split("=") for line in (tmp_path / "output").read_text().split())
    assert (found["outcome"], found["code"]) == (outcome, str(code))
    assert found["passed"] == str(outcome == "pass").lower()
    assert bash("Comment", env).returncode == 0
    asked = (tmp_path / "log").read_text().splitlines()
    assert len(asked) == 2
    address = "--method PATCH repos/o/r/issues/comments/17" if before else "--method POST repos/o/r/issues/5/comments"
    assert address in asked[1]
    comment = (tmp_path / "body").read_text()
    assert comment.startswith(f"<!-- acclimate gate: {run}. -->\n### acclimate gate: run\n")
    assert outcome.upper() in comment
    assert "| set | check | found |" in comment
    assert comment.endswith("[The whole report](https://x/report.html)\n")
    assert comment.removeprefix(comment.split("\n")[0] + "\n").startswith((tmp_path / "summary").read_text())
    ended = bash("Verdict", env | {"CODE": found["code"], "OUTCOME": outcome})
    assert ended.returncode == code
    told = {"pass": "", "fail": "does not keep", "inconclusive": "cannot be told"}[outcome]
    assert told in ended.stdout


def test_ready_files_use_the_action_as_it_is() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    github = yaml.safe_load((ROOT / "examples" / "ci" / "github.yml").read_text())
    step = github["jobs"]["gate"]["steps"][-1]
    required = {name for name, asked in action["inputs"].items() if asked.get("required")}
    assert required <= step["with"].keys() <= action["inputs"].keys()
    gitlab = yaml.safe_load((ROOT / "examples" / "ci" / "gitlab.yml").read_text())
    assert gitlab["gate"]["allow_failure"] == {"exit_codes": UNDECIDED}


def tool(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def bash(step: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """As GitHub does it: bash --noprofile --norc -eo pipefail."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[step]["run"]]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)
