"""Verbs that measure and judge: eval, matrix, report, gate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from acclimate.cli.options import GateClosed, Json, Run, beside, console, print_json
from acclimate.runs.layout import Layout, PanelLayout
from acclimate.types.errors import UsageError

NOTHING_HELD_OUT = "No source holds documents out, so nothing was measured and there is no report."


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A run folder; else --base and --model or --adapter.")] = None,
    panel: Annotated[Path | None, typer.Option(help="YAML file of sets, in place of the run's own.")] = None,
    model: Annotated[str | None, typer.Option(help="Hub id, local folder or .gguf file.")] = None,
    adapter: Annotated[Path | None, typer.Option(help="A LoRA adapter's folder; its model is --base.")] = None,
    base: Annotated[str | None, typer.Option(help="What --model or --adapter is compared with.")] = None,
    output: Annotated[Path | None, typer.Option(help="A panel's folder; default: RUN/panels/NAME.")] = None,
    json_: Json = False,
) -> None:
    """Measure a run's model against its base again, or any model or adapter against any base on a panel."""
    if panel is not None:
        _panel(panel, run, model, adapter, base, output, json_)
        return
    given = {"--model": model, "--adapter": adapter, "--base": base, "--output": output}
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option}: has no effect without --panel; a run is measured on its own held-out sets.")
    if run is None:
        raise UsageError(
            "acclimate eval measures a run, or a --panel; name a run folder, or see acclimate eval --help."
        )
    from acclimate.verbs.run import evaluate_run

    report_on(run, evaluate_run(run, beside(json_)).summary, json_)


def _panel(
    path: Path,
    run: Path | None,
    model: str | None,
    adapter: Path | None,
    base: str | None,
    output: Path | None,
    json_: bool,
) -> None:
    from acclimate.build import open_pair
    from acclimate.reports.panel_page import write_panel_page
    from acclimate.verbs.panel import evaluate_panel, load_panel
    from acclimate.verbs.panel.page import check_output, document, panel_tables, write_panel

    panel = load_panel(path)
    if output is None:
        if run is None:
            raise UsageError("--output: is required where no run folder is named; give a new folder.")
        output = Layout(run).panel(panel.name).path
    check_output(output)
    pair = open_pair(run, model, adapter, base)
    for note in pair.said(panel.template == "chat"):
        beside(json_).print(f"Note: {note}", style="yellow", highlight=False)
    result = evaluate_panel(pair.model, pair.base, panel)
    write_panel(output, pair, result)
    if json_:
        print_json({"folder": output} | document(pair, result))
        return
    console.print(panel_tables(result, pair.identity["name"]))
    page = write_panel_page([output], PanelLayout(output).page)
    console.print(f"Items and numbers: {output}. Page: {page}", highlight=False, soft_wrap=True)


def matrix(
    panels: Annotated[list[Path], typer.Argument(help="Folders of one panel, measured already: RUN/panels/NAME ...")],
    markdown: Annotated[Path | None, typer.Option(help="Also write the table as Markdown.")] = None,
    json_: Json = False,
) -> None:
    """Show several models on one panel side by side, sets by models, from what was measured."""
    from acclimate.disk.files import write_text
    from acclimate.verbs.panel.matrix import matrix as read
    from acclimate.verbs.panel.matrix import matrix_markdown, matrix_tables

    found = read(panels)
    if markdown is not None:
        write_text(markdown, matrix_markdown(found))
    if json_:
        print_json(found.as_json())
    else:
        console.print(matrix_tables(found, console.width))


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="One or several run folders to show side by side; or folders of one panel.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Default: report.html in the (first) run folder, panel.html in a panel's.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="A gate's policy; its verdict on each run is shown.")] = None,
    title: Annotated[str | None, typer.Option(help="Shown on top; default: the model and the domain.")] = None,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="Show no document, prompt, answer, setting or path: for private text.")
    ] = False,
    json_: Json = False,
) -> None:
    """Write one self-contained HTML page about one run or several, or about a panel on any two models."""
    panels = [run for run in runs if PanelLayout(run).document.is_file()]
    if not panels:
        _report(runs, output or Layout(runs[0]).report, policy, title, not no_text, json_)
        return
    if len(panels) < len(runs):
        other = next(run for run in runs if run not in panels)
        raise UsageError(f"'{panels[0]}' is a panel and '{other}' is none; a page shows runs, or models on one panel.")
    for option, given in {"--policy": policy, "--no-text": no_text}.items():
        if given:
            raise UsageError(f"{option}: has no effect on a panel's page, which shows numbers alone; leave it out.")
    _report_panels(panels, output or PanelLayout(panels[0]).page, title, json_)


def _report_panels(panels: list[Path], output: Path, title: str | None, json_: bool) -> None:
    from acclimate.reports.panel_page import write_panel_page

    _check_html(output)
    page = write_panel_page(panels, output, title)
    if json_:
        print_json({"report": page, "panels": [str(panel) for panel in panels]})
    else:
        console.print(f"Report: {page}", highlight=False, soft_wrap=True)


def _check_html(output: Path) -> None:
    if output.suffix != ".html":
        raise UsageError(f"--output: '{output}' does not end in .html; a report is one HTML file.")


def report_on(run: Path, summary: list[dict[str, Any]], json_: bool = False) -> None:
    if summary:
        _report([run], Layout(run).report, json_=json_)
    elif json_:
        print_json({"report": None, "runs": [{"run": run, "summary": []}], "gates": [], "notes": [NOTHING_HELD_OUT]})
    else:
        console.print(NOTHING_HELD_OUT)


def _report(
    runs: list[Path],
    output: Path,
    policy: Path | None = None,
    title: str | None = None,
    with_text: bool = True,
    json_: bool = False,
) -> None:
    from acclimate.gates import gate as judge
    from acclimate.reports import collect, step_notes, summary_page, verdict, write_page
    from acclimate.runs.folder import read_summary

    _check_html(output)
    judged = [judge(run, policy).as_json() for run in runs] if policy else ()
    data = collect(runs, with_text)
    write_page(data, output, title, judged)
    if json_:
        told = [{"run": run, "summary": read_summary(Layout(run).summary)} for run in runs]
        print_json({"report": output, "runs": told, "gates": judged, "notes": step_notes(data)})
        return
    console.print(summary_page(data, console.width))
    console.print(verdict(data).headline, style="bold", highlight=False, markup=False, soft_wrap=True)
    for note in step_notes(data):
        console.print(note, highlight=False)
    console.print(f"Report: {output}", highlight=False, soft_wrap=True)


def gate(
    run: Run,
    policy: Annotated[Path, typer.Option(help="The policy's YAML file.")],
    markdown: Annotated[Path | None, typer.Option(help="Also write the verdict as Markdown, for a comment.")] = None,
    json_: Json = False,
) -> None:
    """Hold a run against a policy of margins: exit code 0 if it passes, 2 if it fails, 5 if that cannot be told."""
    from acclimate.disk.files import write_text
    from acclimate.gates import gate as judge
    from acclimate.reports.gate_page import verdict_markdown, verdict_page

    verdict = judge(run, policy)
    if markdown is not None:
        write_text(markdown, verdict_markdown(verdict))
    if json_:
        print_json(verdict.as_json())
    else:
        console.print(verdict_page(verdict))
    if not verdict.passed:
        raise GateClosed(verdict.outcome)
