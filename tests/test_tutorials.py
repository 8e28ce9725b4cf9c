"""The tutorials, done as a reader would do them: their commands, their files, their programs, on a smaller model."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from acclimate.cli import main
from acclimate.cli.main import NOT_LIGHT
from acclimate.config.load import load_config, parse_config
from acclimate.gates.policy import load_policy
from acclimate.methods.registry import METHODS
from acclimate.verbs.run import train
from tests.fixtures.runs import lines, settings, write_corpora
from tests.gates.runs import scored_run

ROOT = Path(__file__).parents[1]
SMALL = (
    "data.sequence_length=128", "evaluation.generations=0", "evaluation.memorisation_documents=0",
    "training.eval_steps=4", "data.cache_dir=cache",
)  # fmt: skip


def blocks(tutorial: str, language: str) -> list[str]:
    page = (ROOT / "docs" / "tutorials" / f"{tutorial}.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)


def commands(tutorial: str) -> list[list[str]]:
    return [
        line.split() for block in blocks(tutorial, "bash") for line in block.splitlines() if line[:9] == "acclimate"
    ]


def said(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_first_run(
    pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With less text, and general text given: a pico model would write it for minutes."""
    monkeypatch.chdir(tmp_path)
    Path("HuggingFaceTB").mkdir()
    Path("HuggingFaceTB/SmolLM2-135M-Instruct").symlink_to(pico_folder)
    texts = write_corpora(Path("data"), documents=120)
    (texts / "domain").mkdir()
    (texts / "domain.jsonl").rename(texts / "domain" / "texts.jsonl")
    adapting, *rest = commands("first-run")
    small = [word for change in SMALL for word in ("--set", change)]
    code = said(monkeypatch, [*adapting, "--general", "data/general.jsonl", "--tokens", "700", *small])
    out = capsys.readouterr().out
    assert code in (0, 2, 5), out
    (told,) = blocks("first-run", "text")
    for part in re.split(r"\.\.\.|\n", told):
        assert part.strip() in out
    for words in rest:
        code = said(monkeypatch, words)
        assert code == 0 or (code in (2, 5) and "gate" in words), capsys.readouterr()
    assert load_config("runs/domain.yaml").retain is not None
    assert yaml.safe_load(Path("runs/control/config.yaml").read_text())["method"] == "sft"
    assert {"domain", "control"} <= set(re.findall(r"\b(?:domain|control)\b", Path("comparison.html").read_text()))
    assert Path("verdict.md").read_text().startswith("### acclimate gate: domain")
    (readme,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    begun = f'keep=0.3, general="data/general.jsonl", tokens=700, overrides={SMALL}, resume=True'  # and finished above
    exec(compile(readme.replace("keep=0.05", begun), "README.md", "exec"), {})
    assert re.search(r"Kept: .*\n(pass|fail|inconclusive)\nruns/domain/report.html\n$", capsys.readouterr().out)
    (program,) = blocks("first-run", "python")
    exec(compile(program, "first-run.md", "exec"), found := {})
    assert found["model"].num_parameters() > 0
    assert Path("domain-model/README.md").is_file()


def test_gate_in_ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    scored_run(tmp_path / "runs" / "my-run", kl_general=0.05)
    policy, strict, workflow = blocks("gate-in-ci", "yaml")
    Path("gate.yaml").write_text(policy)
    Path("strict.yaml").write_text(strict)
    assert load_policy("gate.yaml").sets["general"]
    judging, stopped = commands("gate-in-ci")
    assert said(monkeypatch, judging) == 0
    assert Path("verdict.md").read_text().startswith("### acclimate gate: my-run")
    assert said(monkeypatch, stopped) == 2
    capsys.readouterr()
    (program,), (output,) = blocks("gate-in-ci", "python"), blocks("gate-in-ci", "text")
    exec(compile(program, "gate-in-ci.md", "exec"), {})
    assert capsys.readouterr().out == output
    asked = [step["run"] for step in yaml.safe_load(workflow)["jobs"]["gate"]["steps"] if "run" in step]
    assert asked[2].split() == judging
    few = installed(next(line for line in "".join(blocks("gate-in-ci", "bash")).splitlines() if "numpy" in line))
    assert installed(asked[0]) == few


def installed(command: str) -> set[str]:
    return {Requirement(word.strip('"')).name for word in command.split()[2:]}


def test_the_light_install_gates_and_reports(tmp_path: Path) -> None:
    """With the packages that the page names, but none of the others that acclimate depends on."""
    (line,) = [line for line in "".join(blocks("gate-in-ci", "bash")).splitlines() if "numpy" in line]
    asked = {
        requirement.name: requirement for requirement in map(Requirement, (w.strip('"') for w in line.split()[2:]))
    }
    project = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("]")[0]
    declared = {found.name: found for found in map(Requirement, re.findall(r'"(.+?)"', project))}
    assert {name: str(found.specifier) for name, found in asked.items()}.items() <= {
        name: str(found.specifier) for name, found in declared.items()
    }.items()
    left_out = sorted(declared.keys() - asked.keys() | {"tokenizers", "huggingface_hub", "pandas"})
    scored_run(tmp_path / "run")
    (tmp_path / "gate.yaml").write_text(blocks("gate-in-ci", "yaml")[1])
    (tmp_path / "wrong.yaml").write_text("sets:\n  domain:\n    min_gian: {bits_per_byte: 1 %}\n")
    program = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {left_out}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
from acclimate.cli import main
for command in (
    "report run --output page.html", "report run --policy gate.yaml", "gate run --policy gate.yaml",
    "gate run --policy wrong.yaml", "gate nowhere --policy gate.yaml", "export run --output out", "init",
):
    sys.argv = ["acclimate", *command.split()]
    try:
        main()
    except SystemExit as end:
        print("code", end.code)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^code (\d)$", done.stdout, re.M) == list("0023111"), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "wrong.yaml:3: sets.domain.min_gian" in done.stderr
    assert "`pip install acclimate` brings what it lacks" in done.stderr
    assert set(left_out) - {"pandas"} == set(NOT_LIGHT)
    assert "<html" in (tmp_path / "page.html").read_text()


def test_your_own_method(pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, registered, test = blocks("your-own-method", "python")
    module = types.ModuleType("acclimate.methods.lwf")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(file, "lwf.py", "exec"), module.__dict__)
    try:
        exec(compile(registered, "registry.py", "exec"), {})
        exec(compile(test, "test_lwf.py", "exec"), tests := {})
        tests["test_lwf_is_the_softened_kl_of_its_paper"]()
        (block,) = blocks("your-own-method", "yaml")
        run = settings(pico_folder, corpora, tmp_path, budget={"steps": 3, "batch_tokens": 128})
        run["sources"] = {"domain": run["sources"]["domain"] | {"share": 1}}
        run_dir = train(parse_config(run | yaml.safe_load(block))).run_dir
    finally:
        METHODS.pop("lwf", None)
    first, *_, last = [line["loss/domain/forward_kl"] for line in lines(run_dir)]
    assert first == 0
    assert last > 0
