"""Code in the documentation runs; tables match the code."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from acclimate.build.plan import compose
from acclimate.cli import adapting, main, training
from acclimate.cli.document import configuration_page
from acclimate.config.chosen.retain import RetainSection
from acclimate.config.load import load_config, parse_config
from acclimate.data.read.files import COMPRESSIONS, EXTENSIONS
from acclimate.gates import parse_policy
from acclimate.laws.forms.registry import FORMS
from acclimate.measurement.panel.mappings import READY
from acclimate.methods.registry import METHODS
from acclimate.paired.metrics import METRICS
from acclimate.stores.store import required_statistics, write_store
from acclimate.training.control.nupi import EACH_CHECK, EACH_STEP
from acclimate.verbs.compare import load_comparison, outcome_of, pending
from acclimate.verbs.panel import load_panel
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.compare.tables import comparison_file
from tests.fixtures.nursery import Warm
from tests.fixtures.pico import save_pico
from tests.fixtures.runs import settings, write_corpora
from tests.gates.runs import scored_run
from tests.reports.runs import write_run

ROOT = Path(__file__).parents[1]


def blocks(path: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / path).read_text(), re.S)


def test_complete_configuration_is_the_recipe() -> None:
    (block,) = blocks("docs/howto/configure.md", "yaml")
    assert parse_config(yaml.safe_load(block)) == load_config(ROOT / "recipes" / "quickstart.yaml")


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_load(recipe: Path) -> None:
    config = load_config(recipe)
    assert compose(config).terms


def test_configure_page_runs(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its program on its configuration, with the model and the files replaced."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    recipe = tmp_path / "recipes" / "quickstart.yaml"
    data = yaml.safe_load(recipe.read_text())
    small = settings(pico_folder, corpora, tmp_path)
    data |= {key: small[key] for key in ("model", "sources", "budget", "data", "output_dir")}
    recipe.write_text(yaml.safe_dump(data))
    monkeypatch.chdir(tmp_path)
    (program,) = blocks("docs/howto/configure.md", "python")
    exec(compile(program, "configure.md", "exec"), {})
    out = capsys.readouterr().out
    assert re.search(r"mol chat kl_base_tuned 0\.\d+", out)
    assert re.search(r"sft domain bits_per_byte \d\.\d+", out)
    assert (tmp_path / "control" / "model" / "adapter_model.safetensors").is_file()  # the recipe is LoRA


def test_chat_and_doctor_python_runs(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = settings(pico_folder, corpora, Path("runs"), name="my-run", budget={"steps": 2, "batch_tokens": 128})
    monkeypatch.chdir(tmp_path)
    Path("acclimate.yaml").write_text(yaml.safe_dump(data))
    train(parse_config(data))
    for program in blocks("docs/howto/chat-and-doctor.md", "python"):
        exec(compile(program, "chat-and-doctor.md", "exec"), {})
    assert re.search(r"\[\] (float32|bfloat16) \(one layer", capsys.readouterr().out)


def test_gate_page_program_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, of_panels, workflow = blocks("docs/howto/gate.md", "yaml")
    assert list(parse_policy(yaml.safe_load(of_panels)).panels["medical"]) == ["medqa", "openbookqa", "articles"]
    (program,), (output,) = (blocks("docs/howto/gate.md", language) for language in ("python", "text"))
    scored_run(tmp_path / "runs" / "my-run")
    (tmp_path / "gate.yaml").write_text(policy)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "gate.md", "exec"), {})
    assert capsys.readouterr().out == output
    commands = [step["run"] for step in yaml.safe_load(workflow)["jobs"]["gate"]["steps"] if "run" in step]
    monkeypatch.setattr(sys, "argv", commands[1].split())
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    assert (tmp_path / "gate.md").read_text().startswith("### acclimate gate: my-run")


def test_run_folder_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs" / "my-run", "mol", steps=6)
    write_run(tmp_path / "runs" / "control", "sft", steps=6, kl_general=0.41)
    monkeypatch.chdir(tmp_path)
    (program,) = blocks("docs/reference/run-folder.md", "python")
    exec(compile(program, "run-folder.md", "exec"), {})
    out = capsys.readouterr().out
    assert out.startswith("mol 0 6 ")
    assert re.search(r"control +0\.41\nmy-run +0\.09", out)


def test_evaluation_page_runs(
    pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its panel loads, its program runs, and it names every ready mapping and every file it may hold."""
    page = (ROOT / "docs" / "reference" / "evaluation.md").read_text()
    (panel,), (program,) = (
        blocks("docs/reference/evaluation.md", "yaml"),
        blocks("docs/reference/evaluation.md", "python"),
    )
    (tmp_path / "panel.yaml").write_text(panel)
    assert [section.kind for section in load_panel(tmp_path / "panel.yaml").sets.values()] == [
        "choice", "choice", "cloze", "text", "lm_eval",
    ]  # fmt: skip
    assert not [name for name in READY if f"`{name}`" not in page]
    assert not [metric for metric in METRICS if f"`{metric}`" not in page]
    monkeypatch.chdir(tmp_path)
    Path("base").symlink_to(pico_folder)
    exec(compile(program, "evaluation.md", "exec"), {})
    out = capsys.readouterr().out
    assert re.search(r"exam base accuracy [01]\.0\n", out)
    assert out.endswith("0 2 True\n")


def test_comparison_page_runs(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its comparison plans, and its program runs on a smaller one."""
    (block,), (program,) = blocks("docs/howto/comparison.md", "yaml"), blocks("docs/howto/comparison.md", "python")
    methods = {name: {"set": {"method": name}} for name in ("sft", "mol")}
    path = comparison_file(tmp_path, pico_folder, corpora, methods=methods)
    (tmp_path / "panel.yaml").write_text("sets: {a: {kind: text, path: a.jsonl}}")
    (tmp_path / "page.yaml").write_text(block)
    monkeypatch.chdir(tmp_path)
    written = load_comparison("page.yaml")
    assert len(list(pending(written, outcome_of(written)))) == 2 * len(written.methods)
    path.rename("compare.yaml")
    monkeypatch.setattr(subprocess, "Popen", Warm)  # its runs are processes
    exec(compile(program, "comparison.md", "exec"), {})
    assert re.search(r"mol \{\}\n  gain 0\.\d+ \[0\.\d+, 0\.\d+\]\n  drift 0\.", capsys.readouterr().out)


def test_adapt_page_runs(
    pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its configuration plans, its program runs on a small model, and its commands are those of the command line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # the cache
    Path("org").mkdir()
    Path("org/model").symlink_to(pico_folder)
    texts = write_corpora(Path("data"), documents=120)
    (texts / "domain").mkdir()
    (texts / "domain.jsonl").rename(texts / "domain" / "texts.jsonl")
    (program,) = blocks("docs/howto/adapt.md", "python")
    exec(compile(program, "adapt.md", "exec"), {})
    out = capsys.readouterr().out
    assert out.startswith("runs/domain.yaml runs/domain.gate.yaml runs/domain/report.html\n")
    assert re.search(r"Learned: .* before .*\nKept: .*; 0\.3 were allowed\.\n$", out)
    (block,) = blocks("docs/howto/adapt.md", "yaml")
    data = settings(pico_folder, texts, tmp_path, budget={"steps": 40, "batch_tokens": 128}, method="auto")
    data["sources"]["domain"]["path"] = "data/domain"
    data["sources"] |= {name: data["sources"][name] | {"heldout": 8} for name in data["sources"]}
    del data["optimizer"]
    foresight = validate(parse_config(data | yaml.safe_load(block))).search
    assert foresight is not None
    assert foresight.ladder.cost <= foresight.run_cost
    options = set(re.findall(r"--([a-z-]+)", "".join(blocks("docs/howto/adapt.md", "bash"))))
    known = [name for verb in (adapting.adapt, training.train) for name in inspect.signature(verb).parameters]
    assert options <= {name.strip("_").replace("_", "-") for name in known}


def test_report_page_program_prints_what_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = blocks("docs/reference/report.md", "python")
    scored_run(tmp_path / "runs" / "my-run")
    scored_run(tmp_path / "runs" / "control", method="sft")
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "report.md", "exec"), {})
    assert capsys.readouterr().out == "comparison.html\n"
    assert 'id="tradeoff"' in Path("comparison.html").read_text()


def test_running_page_adds_tokens(
    corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its section of a configuration trains an adapter, and its program opens what the command writes."""
    monkeypatch.chdir(tmp_path)
    save_pico(Path("org/model"))
    section = next(
        yaml.safe_load(block)["model"] for block in blocks("docs/howto/running.md", "yaml") if "add_tok" in block
    )
    budget = {"steps": 1, "batch_tokens": 128}
    data = settings(Path("org/model"), corpora, Path("runs"), name="my-run", budget=budget, lora={"rank": 2})
    train(parse_config(data | {"model": data["model"] | section}))
    program = next(block for block in blocks("docs/howto/running.md", "python") if "resize_token_embeddings" in block)
    monkeypatch.setattr(sys, "argv", program.split("# ")[1].splitlines()[0].split())
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    exec(compile(program, "running.md", "exec"), found := {})
    assert capsys.readouterr().out.endswith("['a', 'Ġ', 'pyelonephritis']\n")
    assert found["model"].get_input_embeddings().weight.shape[0] == 259 + len(section["add_tokens"])


@pytest.mark.parametrize("block", blocks("docs/reference/methods.md", "yaml"))
def test_method_snippets_plan(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = settings(tmp_path, tmp_path, tmp_path) | yaml.safe_load(block)
    monkeypatch.chdir(tmp_path)
    if isinstance(method := data["method"], dict):
        for field, kind in required_statistics(METHODS[method["name"]]).items():
            manifest = {"kind": kind, "facts": {"norms": {"w": 1.0}}}
            write_store(Path(method[field]).resolve(), {"w": torch.ones(1)}, {}, {"w": (1,)}, manifest)
    assert compose(parse_config(data)).terms


def test_budget_page_runs(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The page's configuration with fewer documents and steps; what it says of constants is what they are."""
    monkeypatch.chdir(tmp_path)
    (block,), (program,) = blocks("docs/explanation/budget.md", "yaml"), blocks("docs/explanation/budget.md", "python")
    data = yaml.safe_load(block)
    assert parse_config(data).retain is not None
    data["model"] |= {"path": str(pico_folder), "dtype": "float32"}
    for name, section in data["sources"].items():
        section |= {"path": str(corpora / f"{name}.jsonl"), "heldout": 6}
    data |= {
        "budget": {"steps": 3, "batch_tokens": 128}, "evaluation": {"validation_documents": 3},
        "training": {"eval_steps": 1}, "data": {"sequence_length": 96, "cache_dir": "cache"},
    }  # fmt: skip
    train(parse_config(data))
    exec(program, {})
    word, limit = capsys.readouterr().out.split(maxsplit=1)
    assert word in {"met", "slack", "infeasible"}
    assert float(limit) == data["retain"]["kl"]
    page = (ROOT / "docs" / "explanation" / "budget.md").read_text()
    rule, check = EACH_STEP, EACH_CHECK
    assert f"{rule.eta} ({rule.k_i} e + {rule.k_p:g} (xi - xi_before))".replace("0.", ".") in page
    assert f"u + {check.eta} (e + {check.k_p} (e - e_before))".replace("0.", ".") in page
    assert all(f"`{key}" in page for key in RetainSection.model_fields)


def test_statistics_page_runs(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its commands on a small model, then its program: a run that reads the store."""
    monkeypatch.chdir(tmp_path)
    Path("acclimate.yaml").write_text(yaml.safe_dump(settings(pico_folder, corpora, Path("runs"), method="sft")))
    (commands,), (program,) = (
        blocks("docs/explanation/statistics.md", "bash"),
        blocks("docs/explanation/statistics.md", "python"),
    )
    for command in commands.splitlines():
        monkeypatch.setattr(sys, "argv", [*command.split("#")[0].split(), "--tokens", "300"])
        with pytest.raises(SystemExit) as caught:
            main()
        assert not caught.value.code
    assert sorted(path.name for path in Path("stats").iterdir()) == ["fisher", "gradient", "path"]
    out = capsys.readouterr().out
    assert re.search(r"Wrote stats/gradient: mean-gradient over \d+ tokens\.", out)
    assert re.search(r"  split half cosine -?0\.\d+", out)
    shutil.rmtree("stats")
    exec(compile(program.replace("20_000", "300"), "statistics.md", "exec"), {})
    assert capsys.readouterr().out.endswith("fisher True True\n")
    assert '"penalty/ewc": 0.0' in Path("runs/run/metrics.jsonl").read_text()


def test_data_page_program_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,), (program,), (output,) = (blocks("docs/howto/data.md", language) for language in ("csv", "python", "text"))
    (tmp_path / "answers.csv").write_text(file)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "data.md", "exec"), {})
    assert capsys.readouterr().out == output


def test_laws_page_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    programs, outputs = (blocks("docs/reference/laws.md", language) for language in ("python", "text"))
    for program, output in zip(programs, outputs, strict=True):
        exec(compile(program, "laws.md", "exec"), {})
        assert capsys.readouterr().out == output
    page = (ROOT / "docs" / "reference" / "laws.md").read_text()
    assert not [name for name in FORMS if f"`{name}" not in page]


def test_data_page_sources_load(tmp_path: Path) -> None:
    for block in blocks("docs/howto/data.md", "yaml"):
        assert parse_config(settings(tmp_path, tmp_path, tmp_path) | yaml.safe_load(block))


def test_data_page_names_every_extension() -> None:
    page = (ROOT / "docs" / "howto" / "data.md").read_text()
    assert not [extension for extension in (*EXTENSIONS, *COMPRESSIONS) if f"`{extension}`" not in page]


def test_the_configuration_page_is_the_schema() -> None:
    """`python -m acclimate.cli.document > docs/reference/configuration.md` writes it."""
    assert (ROOT / "docs" / "reference" / "configuration.md").read_text() == configuration_page()


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_promise_of_safety_has_its_test() -> None:
    text = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    page = (ROOT / "docs" / "explanation" / "safety.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page)) | {f'"{row}"' for row in re.findall(r"rows? `([\w ]+)`", page)}
    assert len(named) > 10
    for name in named:
        assert f"def {name}(" in text or f"    {name}: (" in text, name
    for file in re.findall(r"`(tests/[\w/.]+)`", page):
        assert (ROOT / file).is_file()
