from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from acclimate.reports import collect
from acclimate.reports.pictures.figures import gained_finding, kept_finding
from acclimate.reports.words.notes import transfers
from acclimate.reports.words.verdict import verdict
from acclimate.runs.folder import read_summary, write_summary
from tests.fixtures.sentences import says
from tests.reports.runs import add_change, drop_change, edit_summary, three_methods, write_run


def judged(*runs: Path) -> tuple[str, str]:
    found = verdict(collect(runs))
    return found.headline.replace("\u00a0", " "), " ".join(found.notes).replace("\u00a0", " ")


def pair(folder: Path, sft: dict[str, Any], mol: dict[str, Any]) -> tuple[str, str]:
    return judged(write_run(folder / "sft", "sft", **sft), write_run(folder / "mol", "mol", **mol))


def test_good(tmp_path: Path) -> None:
    headline, notes = pair(tmp_path, {"domain": 0.83, "kl_chat": 0.38, "general": 1.02}, {"kl_chat": 0.11})
    assert says(
        headline,
        "mol learned the domain (… 1.050 → 0.820, −21.9 %) and moved 71 % less from the base on chat than sft (KL "
        "0.110 vs 0.380 nats/token; … 40 documents, p <\u202f0.001). … cannot be told apart (−21.9 % against −21.0 %; "
        "… 40 documents, p = 0.601).",
    )
    assert "Forgotten on general, in bits per byte: sft 0.930 → 1.020, +9.7 %." in notes
    assert "One seed" in notes


def test_less_drift_bought_with_less_gain_is_said(tmp_path: Path) -> None:
    headline, _ = pair(tmp_path, {"domain": 0.70, "kl_chat": 0.38}, {"domain": 0.90})
    assert (
        "It paid for that: it learned less of the domain than sft (−14.3 % against −33.3 %; paired over 40" in headline
    )


def test_more_gain_and_less_drift(tmp_path: Path) -> None:
    headline, _ = pair(tmp_path, {"domain": 0.90, "kl_chat": 0.38}, {"domain": 0.70})
    assert (
        "It also learned more of the domain than sft (−33.3 % against −14.3 %; paired over 40 documents, p <"
        in headline
    )


def test_overlapping_drift_is_not_claimed(tmp_path: Path) -> None:
    headline, _ = pair(tmp_path, {"kl_chat": 0.12}, {"kl_chat": 0.11})
    assert "less from the base" not in headline
    assert "its distance from the base on chat cannot be told from sft's (KL 0.110 vs 0.120" in headline


def test_the_numbers_decide_who_is_praised(tmp_path: Path) -> None:
    headline, _ = pair(tmp_path, {"kl_chat": 0.10}, {"kl_chat": 0.40})
    assert headline.startswith("sft learned the domain")
    assert "75 % less from the base on chat than mol" in headline


def test_the_other_way_round_on_another_set_is_said(tmp_path: Path) -> None:
    _, notes = pair(tmp_path, {"kl_chat": 0.38, "kl_general": 0.05}, {"kl_general": 0.30})
    assert (
        "On general it is the other way round: mol moved further than sft (KL 0.300 vs 0.050 nats/token; paired over 40"
        in notes
    )


def test_only_one_learned(tmp_path: Path) -> None:
    headline, notes = pair(tmp_path, {"domain": 1.03}, {})
    assert headline.startswith("Only mol clearly learned the domain")
    assert "than sft" not in headline
    assert (
        "sft did not clearly learn the domain (bits per byte 1.050 → 1.030, −1.9 %, which may be chance; a change of "
        in notes
    )


def test_a_run_that_lost_the_domain_is_named(tmp_path: Path) -> None:
    _, notes = pair(tmp_path, {"domain": 1.20}, {})
    assert "sft became worse at the domain (bits per byte 1.050 → 1.200, +14.3 %)." in notes


def test_no_gain_anywhere_comes_first(tmp_path: Path) -> None:
    headline, _ = pair(tmp_path, {"domain": 1.20}, {"domain": 1.04})
    assert headline.startswith("No run clearly learned the domain. Bits per byte: sft 1.050 → 1.200, +14.3 %; mol ")
    assert headline.endswith("would show in 80 % of cases.")


def test_single_run_good(tmp_path: Path) -> None:
    headline, _ = judged(write_run(tmp_path / "mol"))
    assert says(
        headline,
        "mol learned the domain (… 1.050 → 0.820, −21.9 %). … 0.110 nats/token (KL) … chat, … 92.6 % of tokens.",
    )


def test_single_run_without_gain_says_so_first(tmp_path: Path) -> None:
    headline, _ = judged(write_run(tmp_path / "mol", domain=1.03))
    assert headline.startswith(
        "It is not clear that mol learned the domain (bits per byte 1.050 → 1.030, −1.9 %, which may be chance"
    )


def test_single_run_worse_says_so_first(tmp_path: Path) -> None:
    headline, _ = judged(write_run(tmp_path / "mol", domain=1.2))
    assert headline.startswith(
        "mol did not learn the domain, it became worse at it (bits per byte 1.050 → 1.200, +14.3 %)."
    )


def test_a_paired_change_finds_what_overlapping_intervals_hide(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol", domain=1.03)
    assert "It is not clear" in judged(run)[0]
    add_change(run, -0.02, half=0.008, mde=0.011)
    assert judged(run)[0].startswith("mol learned the domain (bits per byte 1.050 → 1.030, −1.9 %).")


def test_a_paired_change_that_holds_0_prints_what_would_show(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol", domain=0.82)
    add_change(run, -0.004, half=0.008, mde=0.0114)
    assert judged(run)[0].startswith(
        "It is not clear that mol learned the domain (bits per byte 1.050 → 0.820, −21.9 %, which may be chance; a "
        "change of 0.011 would show in 80 % of cases)."
    )


def test_a_change_of_too_few_documents_claims_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol", domain=0.82)
    add_change(run, -0.2, half=0.01, mde=0.02)
    edit_summary(run, metric="bits_per_byte_change", low=None, high=None, mde=None)
    assert "−21.9 %, too few documents to tell)." in judged(run)[0]


def test_a_paired_loss_is_forgotten_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol")
    assert "Forgotten" not in judged(run)[1]
    add_change(run, 0.01, half=0.005, mde=0.007, name="general", role="general")
    add_change(run, 0.002, half=0.005, mde=0.007, name="chat", role="chat")
    assert "Forgotten on general, in bits per byte: mol 0.930 → 0.940, +1.1 %." in judged(run)[1]
    assert (
        "No clear change on chat, in bits per byte: mol 0.710 → 0.723, +1.8 %, which may be chance; a change of 0.007 "
        "would show in 80 % of cases." in judged(run)[1]
    )


def test_one_seed_without_a_paired_change_claims_nothing(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"s{seed}", seed=seed, domain=0.82) for seed in range(2)]
    assert judged(*runs)[0].startswith("mol learned the domain")
    drop_change(runs[0])
    assert "−21.9 %, there is no paired interval to tell by" in judged(*runs)[0]


def test_gain_and_loss_as_one_number_each(tmp_path: Path) -> None:
    data = collect([write_run(tmp_path / "mol", domain=0.84, general=1.023, kl_chat=0.0)])
    said = transfers(data)[0].replace("\u00a0", " ")
    assert "Target improvement, backward transfer and harmonic S: mol +20.0 %, −5.0 %, 1.060 (averages" in said


def test_seeds_that_all_agree(tmp_path: Path) -> None:
    headline, notes = judged(*three_methods(tmp_path, seeds=3))
    assert "; means of 3 seeds, and it holds in every seed." in headline
    assert "One seed" not in notes


def test_seeds_that_disagree(tmp_path: Path) -> None:
    sft = [write_run(tmp_path / f"sft{seed}", "sft", seed, kl_chat=0.30) for seed in range(3)]
    mol = [write_run(tmp_path / f"mol{seed}", "mol", seed, kl_chat=kl) for seed, kl in enumerate((0.1, 0.2, 0.4))]
    headline, _ = judged(*sft, *mol)
    assert "cannot be told from sft's" in headline
    assert "means of 3 seeds, lower in 2 of 3 seeds" in headline


def test_seeds_of_a_single_method(tmp_path: Path) -> None:
    headline, _ = judged(*(write_run(tmp_path / f"s{seed}", seed=seed) for seed in range(2)))
    assert "−21.9 %), on the mean of 2 seeds and in every seed." in headline


def test_nothing_kept_was_measured(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol")
    records = [record for record in read_summary(run / "summary.json") if record["role"] == "domain"]
    write_summary(run / "summary.json", records)
    headline, _ = judged(run)
    assert "what was kept is unknown" in headline


def test_no_domain_was_measured(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol")
    edit_summary(run, set="domain", role="general")
    headline, _ = judged(run)
    assert says(headline, "No held-out domain text was measured, …")


def test_without_intervals_nothing_is_claimed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol")
    edit_summary(run, low=None, high=None)
    headline, _ = judged(run)
    assert headline.startswith("It is not clear that mol learned")


def test_a_close_third_is_mentioned(tmp_path: Path) -> None:
    replay = write_run(tmp_path / "replay", "replay", kl_chat=0.115)
    _, notes = judged(write_run(tmp_path / "sft", "sft", kl_chat=0.4), replay, write_run(tmp_path / "mol"))
    assert "replay cannot be told from mol on chat" in notes


def test_titles_of_pictures_follow_the_numbers(tmp_path: Path) -> None:
    data = collect(three_methods(tmp_path / "good"))
    domain, chat = data.role("domain")[0], data.role("chat")[0]
    assert gained_finding(data, domain) == "All 3 runs predict unseen domain text better than the base"
    assert kept_finding(data, chat) == "mol stays closer to the base than the others on chat"
    data = collect([write_run(tmp_path / "a", "sft", domain=1.04), write_run(tmp_path / "b", "mol", domain=1.04)])
    assert gained_finding(data, domain) == "No run clearly predicts unseen domain text better than the base"
    assert kept_finding(data, chat) == "How far did each run move from the base on chat?"


def test_doing_little_does_not_win(tmp_path: Path) -> None:
    sft = write_run(tmp_path / "sft", "sft", domain=0.80, kl_chat=0.4)
    shy = write_run(tmp_path / "shy", "lwf", domain=0.95, kl_chat=0.05)
    headline, notes = judged(sft, shy, write_run(tmp_path / "mol"))
    assert headline.startswith("mol learned the domain")
    assert "73 % less from the base on chat than sft" in headline
    assert "lwf moved less on chat (KL 0.050), and learned less (−9.5 %)." in notes


def test_a_second_half_on_other_versions_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "mol", "mol", domain=0.80)
    path = folder / "provenance.json"
    plain = json.loads(path.read_text())
    same = {"acclimate": "0.1.0", "device": "cpu", "processes": 1}
    versions = ({"torch": "2.12.0", "numpy": "2.4"}, {"torch": "2.13.0", "numpy": "2.4"})
    sessions = [{"step": 20 * i, "versions": one, **same} for i, one in enumerate(versions)]
    path.write_text(json.dumps(plain | {"sessions": sessions}))
    told = "ran in 2 sessions that differ: after step 0 torch 2.12.0; after step 20 torch 2.13.0."
    assert told in judged(folder)[1]
    path.write_text(json.dumps(plain | {"sessions": [sessions[0], sessions[0]]}))
    assert "sessions" not in judged(folder)[1]


def test_the_gain_without_text_that_was_trained_on_stands_beside(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol", "mol")
    assert "share text with training documents" not in judged(run)[1]
    clean = {"value": -0.105, "low": -0.2, "high": -0.01, "n": 34, "p": 0.01, "mde": 0.1, "base": 1.05}
    edit_summary(run, set="domain", metric="bits_per_byte_change", clean=clean)
    notes = judged(run)[1]
    assert "Without the 6 held-out documents of domain" in notes
    assert "mol −10.0 % (all: −21.9 %)" in notes
