"""The report: which runs it reads, which it compares, and what stands on its pages."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from eval.report import choose, compare, read_runs, write
from eval.report.figures import is_logarithmic, order_values
from eval.report.robustness import robustness as compare_spreads
from eval.results import encode_items

VERSIONS = {"st_rankloss": "0.1.0", "torch": "2.13.0"}
QUALITY = {"Mine": 0.6, "Usual": 0.5, "Other": 0.55, "Weak": 0.3, "before": 0.2}
ROLES = {"Mine": "recipe", "Usual": "usual", "Other": "family", "Weak": "usual", "before": "before"}
VOID = {"meta", "img"}


def line(**given):
    """One run's line: ok, on test, without anything optional."""
    base = {"stage": "test", "status": "ok", "error": None, "task": "alpha", "kind": "retrieval", "metric": "ndcg"}
    base |= {"encoder": "tiny", "loss": "Mine", "setting": {}, "learning_rate": 0.05, "seed": 0, "steps": 300}
    base |= {"batch_size": 128, "ablation": None, "value": None, "items": None, "by_grade": None, "histogram": None}
    base |= {"curve": None, "seconds": {"train": 3.0, "evaluate": 1.0}, "peak_memory_mb": 900, "versions": VERSIONS}
    base |= {"commit": "abc1234", "hardware": "a machine", "started": "2026-11-21T10:00:00"}
    run = base | {"role": ROLES.get(given.get("loss", "Mine")), "scores": {"ndcg": given.pop("score", 0.5)}} | given
    run.setdefault("key", "-".join(str(run[name]) for name in ("stage", "task", "encoder", "loss", "seed", "setting")))
    return run


def save(path, *lines):
    """Write lines to a file."""
    path.write_text("".join(json.dumps(run) + "\n" for run in lines), encoding="utf-8")
    return path


def entries_of(path, *lines):
    """The entries, by loss, of the only comparison of some lines."""
    (comparison,) = compare(read_runs([save(path, *lines)]).runs)
    return {entry.loss: entry for entry in comparison.entries}


def full_line(task, loss, seed, generator):
    """A test run with all that is optional."""
    items = QUALITY[loss] + 0.05 * generator.standard_normal(80)
    counts = {"edges": [0.0, 0.5, 1.0], "relevant": [1, 3], "irrelevant": [8, 2]}
    return line(
        task=task,
        loss=loss,
        seed=seed,
        setting={"temperature": 0.2},
        scores={"ndcg": float(items.mean()), "mrr": 0.7, "auc": 0.9, "opis": 0.01 * QUALITY[loss]},
        items=encode_items(items),
        by_grade={"1": 0.3, "2": None if loss == "Weak" else 0.4},
        histogram=counts,
        curve=[[100, 0.1], [300, QUALITY[loss]]] if seed == 0 else None,
    )


def synthetic(generator):
    """Three tasks, five losses, three seeds, tuning, an ablation, failures and a run that lost its memory."""
    lines = []
    for task in ("alpha", "beta", "gamma"):
        for loss, quality in QUALITY.items():
            seeds = range(1 if loss == "before" else 3)
            lines += [full_line(task, loss, seed, generator) for seed in seeds]
            if loss != "before":
                settings = [{"temperature": value} for value in (0.1, 0.2)]
                scores = (quality - 0.1, quality)
                lines += [
                    line(stage="dev", task=task, loss=loss, setting=setting, score=score)
                    for setting, score in zip(settings, scores, strict=True)
                ]
        for value in (0.01, 0.1, 1.0):
            ablation = {"stage": "ablation", "ablation": "temperature", "value": value, "score": 0.5 + value / 10}
            lines += [line(task=task, key=f"{task}{value}{seed}", seed=seed, **ablation) for seed in (0, 1)]
        lines.append(line(stage="ablation", ablation="sampler", value="plain", task=task, key=f"{task} plain"))
    failed = {"status": "failed", "scores": {}, "error": "ValueError: <b>a|b</b>\nnext", "seconds": None}
    failed |= {"stage": "dev", "role": "before", "peak_memory_mb": None}
    lines += [line(loss="Weak", setting={"temperature": value}, **failed) for value in (5, 6)]
    lines.append(line(task="alpha", encoder="other", loss="Usual", score=0.4, peak_memory_mb=None))
    return lines


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The folder of a report of everything."""
    folder = tmp_path_factory.mktemp("report")
    write([save(folder / "runs.jsonl", *synthetic(np.random.default_rng(0)))], folder / "out")
    return folder / "out"


def row(text, *starts):
    """The cells of the only row of a Markdown table that starts so, without marks of bold."""
    rows = [r for r in text.splitlines() if r.startswith("| " + " | ".join(starts) + " |")]
    assert len(rows) == 1, (starts, rows)
    return [cell.strip().strip("*") for cell in re.split(r"(?<!\\)\|", rows[0])[1:-1]]


def section(text, heading):
    """What stands under a heading of level 2."""
    (found,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
    return found


def test_overview_compares_with_the_best_usual_loss(report):
    text = section((report / "report.md").read_text("utf-8"), "Overview")
    assert "chosen on dev: 3 wins, 0 ties, 0 losses" in text
    assert "†" not in text
    task, _, metric, untrained, recipe, usual, family, difference, verdict, hardest, *_ = row(text, "beta", "tiny")
    assert (task, metric, verdict) == ("beta", "ndcg", "win")
    assert float(untrained) == pytest.approx(0.2, abs=0.02)
    assert recipe.split()[0] == "Mine"
    assert float(recipe.split()[1]) == pytest.approx(0.6, abs=0.02)
    assert usual.split()[0] == "Usual"
    assert family.split()[0] == hardest.split()[0] == "Other"
    value, low, high = map(float, re.findall(r"[+-]\d\.\d+", difference))
    assert low < value < high
    assert value == pytest.approx(float(recipe.split()[1]) - float(usual.split()[1]), abs=2e-4)


def test_table_of_a_task_is_sorted_and_complete(report):
    text = section((report / "report.md").read_text("utf-8"), "alpha, tiny")
    names = re.findall(r"^\| (recipe: Mine|Usual|Other|Weak|untrained) \| (?:recipe|usual|family|before)", text, re.M)
    assert names == ["recipe: Mine", "Other", "Usual", "Weak", "untrained"]
    weak = row(text, "Weak", "usual")
    assert weak[4:8] == ["win", "0.3000", "0.2000 to 0.3000 (2 of 4)", "temperature 0.2"]
    assert weak[8:] == ["0.05", "3", "3", "900"]
    assert re.fullmatch(r"0\.\d{4} ± 0\.\d{4}", weak[2])
    own = row(text, "recipe: Mine", "recipe")
    assert own[3:5] == ["", ""]
    bold = [name for name in names if re.search(rf"^\| {name} \| \w+ \| \*\*", text, re.M)]
    assert bold == ["recipe: Mine"]
    untrained = row(text, "untrained", "before")
    assert untrained[5:9] == ["–", "–", "temperature 0.2", "–"]


def test_reliability_is_bold_where_it_is_low(report):
    text = section((report / "report.md").read_text("utf-8"), "alpha, tiny")
    assert "| loss | mrr | auc | opis |" in text
    assert "| untrained | 0.7000 | 0.9000 | **0.0020** |" in text
    assert "| recipe: Mine | 0.7000 | 0.9000 | 0.0060 |" in text


def test_ranks_over_tasks(report):
    text = section((report / "report.md").read_text("utf-8"), "Average ranks over tasks")
    assert "tiny: 4 losses on 3 tasks" in text
    ranks = [row(text, name)[1] for name in ("recipe", "Other", "best usual", "Weak")]
    assert ranks == ["1.00", "2.00", "3.00", "4.00"]


def test_ablations(report):
    text = section((report / "report.md").read_text("utf-8"), "Ablations")
    assert "### temperature, tiny" in text
    assert "| task | loss | 0.01 | 0.1 | 1.0 |" in text
    assert "| gamma | recipe | 0.5010 (0.5010 to 0.5010) | 0.5100 (0.5100 to 0.5100) | **0.6000 (" in text
    assert "| task | loss | plain |" in text


def test_what_was_run_and_what_failed(report):
    text = (report / "report.md").read_text("utf-8")
    head = section(text, "What was run")
    tests, trials, ablations = 3 * (4 * 3 + 1) + 1, 3 * 4 * 2 + 2, 3 * (3 * 2 + 1)
    hours = (tests + trials + ablations - 2) * 4 / 3600
    stages = f"{tests} test, {trials} dev, {ablations} ablation"
    assert f"{tests + trials + ablations} runs ({stages}), 2 failed, {hours:.1f} hours" in head
    assert "st_rankloss 0.1.0, torch 2.13.0" in head
    assert "abc1234" in head
    assert "Seeds of the test: 0, 1, 2" in head
    failed = section(text, "Failed runs")
    assert failed.strip() == "- alpha, tiny, Weak, dev: ValueError: &lt;b>a\\|b&lt;/b> next (2 runs)"
    assert "## Exceptions" not in text


def test_what_cannot_be_compared_is_a_dash(report):
    text = section((report / "report.md").read_text("utf-8"), "alpha, other")
    cells = row(text, "Usual", "usual")
    assert cells[2:] == ["0.4000", "", "", "–", "–", "–", "0.05", "1", "3", "–"]


def test_figures_lie_beside_the_page(report):
    text = (report / "report.md").read_text("utf-8")
    linked = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    kinds = ("Lead", "Average-ranks", "Learning-curves", "nDCG-by-grade", "Similarities", "Ablation-of-temperature")
    assert [kind for kind in kinds for name in linked if kind in name] == list(kinds)
    assert len(set(linked)) == len(linked) == len(list((report / "plots").iterdir()))
    assert all((report / name).read_bytes().startswith(b"\x89PNG") for name in linked)


class Page(HTMLParser):
    """Checks that tags nest, and keeps tags, sources and texts."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.sources, self.texts = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_html_is_well_formed_and_needs_nothing_else(report):
    page = Page()
    page.feed((report / "report.html").read_text("utf-8"))
    page.close()
    assert page.open == []
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert page.tags.count("img") == len(list((report / "plots").iterdir()))
    assert "url(" not in "".join(page.texts)
    assert any("ValueError: <b>a|b</b>" in text for text in page.texts)


def test_best_peer_is_chosen_on_dev(tmp_path):
    entries = entries_of(
        tmp_path / "runs.jsonl",
        line(loss="Usual", stage="dev", score=0.6),
        line(loss="Usual", score=0.3),
        line(loss="Weak", stage="dev", score=0.5),
        line(loss="Weak", score=0.9),
    )
    best, by_dev = choose(list(entries.values()))
    assert (best.loss, by_dev) == ("Usual", True)


def test_a_record_trained_on_another_takes_its_trials(tmp_path):
    path = save(
        tmp_path / "runs.jsonl",
        line(loss="Usual", stage="dev", score=0.6, setting={"scale": 5}),
        line(loss="Usual", stage="dev", score=0.1, setting={"scale": 9}),
        line(loss="Weak", stage="dev", score=0.5),
        line(loss="Other", stage="dev", score=0.7),
        line(loss="Usual", task="far", trained_on="alpha", score=0.3, setting={"scale": 5}),
        line(loss="Weak", task="far", trained_on="alpha", score=0.9),
        line(loss="Weak", task="far", trained_on="alpha", encoder="else", score=0.9),
    )
    here, far, elsewhere = compare(read_runs([path]).runs)
    entries = {entry.loss: entry for entry in far.entries}
    assert {loss: entry.dev_scores for loss, entry in entries.items()} == {"Usual": [0.6, 0.1], "Weak": [0.5]}
    assert choose(far.entries) == (entries["Usual"], True)
    assert not entries["Usual"].is_outdone
    assert [entry.dev_scores for entry in elsewhere.entries] == [[]]
    spread = compare_spreads([here, far, elsewhere])[-1]
    assert spread.columns["tasks × encoders"] == ["1"]


def test_best_peer_is_chosen_on_test_for_want_of_dev_and_marked(tmp_path):
    path = save(tmp_path / "runs.jsonl", line(score=0.5), line(loss="Usual", score=0.3), line(loss="Weak", score=0.4))
    text = write([path], tmp_path / "out").read_text("utf-8")
    assert row(text, "alpha", "tiny")[5] == "Weak 0.4000 †"
    assert "† chosen by its test score" in text


def test_a_recipe_that_loses_is_an_exception(tmp_path):
    lines = [line(seed=seed, score=0.5 + seed / 1000) for seed in range(4)]
    lines += [line(loss="Other", seed=seed, score=0.6 + seed / 900) for seed in range(4)]
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    assert "- alpha, tiny: Other 0.6017 against 0.5015, recipe − Other = -0.1002 [" in section(text, "Exceptions")
    assert row(text, "Other", "family")[4] == "loss"
    assert "1 loss" in section(text, "Overview").split("hardest comparison")[1]
    for absent in ("Ablations", "Average ranks over tasks", "Failed runs"):
        assert f"## {absent}" not in text


def test_only_the_configuration_tested_last_counts_for_want_of_dev(tmp_path):
    entries = entries_of(
        tmp_path / "runs.jsonl",
        line(seed=0, score=0.1, learning_rate=0.1, key="a"),
        line(seed=1, score=0.2, key="b"),
        line(seed=1, score=0.4, key="c"),
        line(seed=2, score=0.6, key="d"),
    )
    assert [run.score for run in entries["Mine"].test] == [0.4, 0.6]
    assert entries["Mine"].outdated == 2


def test_of_several_tested_configurations_the_best_on_dev_counts(tmp_path):
    """The one that was tested last may be outdated: what is best on dev can return to an earlier setting."""
    low, high = {"temperature": 0.1}, {"temperature": 0.2}
    entries = entries_of(
        tmp_path / "runs.jsonl",
        line(stage="dev", setting=high, score=0.8),
        line(stage="dev", setting=low, score=0.7),
        line(setting=high, score=0.5),
        line(setting=low, score=0.6),
    )
    assert [run.score for run in entries["Mine"].test] == [0.5]
    assert (entries["Mine"].outdated, entries["Mine"].is_outdone) == (1, False)


def test_a_better_trial_that_was_not_tested_is_reported(tmp_path):
    lines = [line(stage="dev", setting={"temperature": t}, score=t, key=f"{t}") for t in (0.1, 0.2)]
    path = save(tmp_path / "runs.jsonl", *lines, line(setting={"temperature": 0.1}))
    text = write([path], tmp_path / "out").read_text("utf-8")
    assert "- Not tested at the setting that is best on dev: Mine on alpha, tiny\n" in text


def test_trials_of_another_budget_do_not_count(tmp_path):
    entries = entries_of(
        tmp_path / "runs.jsonl",
        line(stage="dev", score=0.9, steps=5, key="short"),
        line(stage="dev", score=0.7, steps=300),
        line(score=0.6, steps=300),
    )
    assert entries["Mine"].dev_scores == [0.7]


def test_items_of_different_queries_are_refused_by_name(tmp_path):
    items = [encode_items(np.zeros(size)) for size in (5, 6)]
    path = save(tmp_path / "runs.jsonl", line(items=items[0]), line(loss="Usual", items=items[1]))
    with pytest.raises(ValueError, match="alpha, tiny: .* differ: 5 in Mine with seed 0, 6 in Usual with seed 0"):
        write([path], tmp_path / "out")


def trials(loss, *scores, **given):
    """Tuning trials of a loss."""
    given |= {"stage": "dev", "loss": loss}
    return [line(score=score, setting={"place": place}, **given) for place, score in enumerate(scores)]


def test_robustness_averages_spreads_over_tasks(tmp_path):
    lines = [*trials("Mine", 0.5, 0.6, 0.8), *trials("Usual", 0.1, 0.4), *trials("Usual", 0.2, 0.4, task="beta")]
    lines += [*trials("Other", 0.1), *trials("Weak", 0.3, 0.5)]
    lines.append(line(stage="dev", loss="Weak", status="failed", error="ValueError: no", setting={"place": 9}))
    text = section(write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8"), "Robustness")
    mine = [0.8 - 0.5, 0.8 - 0.6]
    usual = [(0.4 - 0.1 + 0.4 - 0.2) / 2, (0.4 - 0.25 + 0.4 - 0.3) / 2]
    weak = [0.5 - 0.3, 0.5 - 0.4]
    assert row(text, "recipe")[1:] == [*(f"{spread:.4f}" for spread in mine), "1", "3"]
    assert row(text, "Usual")[1:] == [*(f"{spread:.4f}" for spread in usual), "2", "4"]
    assert row(text, "Weak")[1:] == [*(f"{spread:.4f}" for spread in weak), "1", "2 of 3"]
    assert "Other" not in text
    assert re.findall(r"^\| (recipe|Usual|Weak)", text, re.M) == ["Weak", "Usual", "recipe"]


def test_dev_runs_alone_make_a_report(tmp_path):
    lines = [*trials("Weak", 0.3, 0.4), *trials("Mine", 0.5, 0.6), *trials("Usual", 0.4, 0.5)]
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    assert section(text, "Overview").strip() == "No recipe has been tested, so there is nothing to compare yet."
    assert re.findall(r"^\| (\S+) \| (?:family|usual|recipe) ", text, re.M) == ["Mine", "Usual", "Weak"]
    assert "## Robustness" in text
    assert "Average ranks" not in text


def test_test_runs_alone_make_a_report(tmp_path):
    lines = [line(loss=loss, seed=seed, score=QUALITY[loss] + seed / 100) for loss in QUALITY for seed in (0, 1)]
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    assert row(text, "alpha", "tiny")[4] == "Mine 0.6050"
    assert "## Robustness" not in text


def test_ablation_runs_alone_make_a_report(tmp_path):
    path = save(tmp_path / "runs.jsonl", line(stage="ablation", ablation="k", value="none"))
    assert "## Ablations" in write([path], tmp_path / "out").read_text("utf-8")


def test_of_repeated_ablation_runs_the_last_counts(tmp_path):
    """Tuning again moves the setting around which an ablation varies; old runs are not further seeds."""
    given = {"stage": "ablation", "ablation": "k"}
    lines = [line(**given, value="10", score=0.1, key="old"), line(**given, value="10", score=0.3, key="new")]
    lines.append(line(**given, value="none", score=0.2))
    text = section(write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8"), "Ablations")
    assert "| task | loss | none | 10 |" in text
    assert row(text, "alpha", "recipe") == ["alpha", "recipe", "0.2000", "0.3000"]


def test_the_recipe_is_named_once(tmp_path):
    lines = [line(loss="recipe", role="recipe"), line(loss="Usual", score=0.3)]
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    assert row(text, "recipe", "recipe")[2] == "0.5000"


def test_another_baseline_is_not_treated_as_the_untrained_encoder(tmp_path):
    """BM25 has the role of the untrained encoder, and may be better or worse."""
    lines = [line(), line(loss="before", score=0.2), line(loss="BM25", role="before", score=0.4)]
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    assert "| task | encoder | metric | untrained | BM25 | recipe |" in text
    assert row(text, "alpha", "tiny")[3:6] == ["0.2000", "0.4000", "Mine 0.5000"]
    assert row(text, "BM25", "before")[2] == "0.4000"
    assert row(text, "untrained", "before")[2] == "0.2000"


def test_wins_ties_and_losses_against_each_loss(report):
    text = section((report / "report.md").read_text("utf-8"), "Overview")
    for name in ("Usual", "Other", "Weak", "untrained"):
        assert row(text, name)[1:] == ["3", "3", "0", "0", "0"]


def test_tasks_without_test_runs_do_not_keep_others_from_ranks(tmp_path):
    lines = [line(task=task, loss=loss, score=QUALITY[loss]) for task in ("a", "b", "c") for loss in QUALITY]
    lines.append(line(stage="dev", task="untested"))
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    assert "tiny: 4 losses on 3 tasks" in section(text, "Average ranks over tasks")


def test_ranks_are_of_complete_tables_of_most_tasks_and_of_most_results(tmp_path):
    """Three losses are on four tasks, which makes twelve results; five on three of these make fifteen."""
    ran = {"Mine": "abcdef", "Usual": "abcdef", "Other": "bcde", "Weak": "cde", "More": "cde", "Rare": "c"}
    lines = [
        line(task=task, loss=loss, role=ROLES.get(loss, "family"), score=QUALITY.get(loss, 0.4))
        for loss, tasks in ran.items()
        for task in tasks
    ]
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    ranks = section(text, "Average ranks over tasks")
    assert re.findall(r"tiny: (\d losses on \d tasks \(.*?\))", ranks) == [
        "3 losses on 4 tasks (b, c, d, e)",
        "5 losses on 3 tasks (c, d, e)",
    ]


def test_figures_of_an_earlier_report_are_removed(tmp_path):
    for name in ("temperature", "weight"):
        path = save(tmp_path / "runs.jsonl", line(stage="ablation", ablation=name, value=0.1))
        write([path], tmp_path / "out")
        assert [file.name for file in (tmp_path / "out" / "plots").iterdir()] == [f"01-Ablation-of-{name}-tiny.png"]


def test_a_line_cut_short_is_left_out_with_a_warning(tmp_path):
    path = save(tmp_path / "killed.jsonl", line(seed=0), line(seed=1))
    path.write_text(path.read_text("utf-8")[:-40], encoding="utf-8")
    with pytest.warns(UserWarning, match=r"killed\.jsonl, line 2 is cut short"):
        found = read_runs([path])
    assert [run.seed for run in found.runs] == [0]
    assert found.notes == ["The last line of killed.jsonl, line 2, is cut short and left out."]


def test_a_malformed_line_within_is_an_error(tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text('{"key": \n' + json.dumps(line()) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.jsonl, line 1, is not JSON"):
        read_runs([path])


def test_the_last_ok_of_equal_keys_counts(tmp_path):
    first = save(tmp_path / "a.jsonl", line(key="k", score=0.1), line(key="k", score=0.2))
    second = save(tmp_path / "b.jsonl", line(key="k", status="failed", scores={}, error="ValueError: no"))
    (run,) = read_runs([first, second]).runs
    assert run.score == 0.2
    (run,) = read_runs([second, first]).runs
    assert run.score == 0.2


def test_mixed_versions_are_refused_or_noted(tmp_path):
    old = save(tmp_path / "old.jsonl", line(versions=VERSIONS | {"torch": "2.12.0"}))
    new = save(tmp_path / "new.jsonl", line(seed=1))
    with pytest.raises(ValueError, match=r"torch 2\.12\.0 \(old\.jsonl\) and 2\.13\.0 \(new\.jsonl\)") as caught:
        read_runs([old, new])
    assert "st_rankloss" not in str(caught.value)
    text = write([old, new], tmp_path / "out", mixed=True).read_text("utf-8")
    note = "Note: Runs of different versions are mixed: torch 2.12.0 (old.jsonl) and 2.13.0 (new.jsonl)."
    assert text.split("\n\n")[1] == note
    assert "torch 2.12.0 / 2.13.0" in text
    assert read_runs([new], mixed=True).notes == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "there is no run"),
        ([{"key": "k"}], r"runs\.jsonl, line 1 lacks encoder, kind"),
        ([[1]], "line 1 lacks"),
        ([line(seed=None)], "line 1 lacks seed"),
        ([line(role="peer")], "line 1: role must be one of recipe, usual, family, before, got 'peer'"),
        ([line(scores={"mrr": 0.5})], "lack the main metric 'ndcg'"),
        (
            [line(), line(loss="Usual", metric="mrr", scores={"mrr": 0.5})],
            "'alpha' have several main metrics: mrr, ndcg",
        ),
    ],
)
def test_wrong_files_are_refused(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        read_runs([save(tmp_path / "runs.jsonl", *lines)])


def test_an_undefined_score_is_a_dash_and_last(tmp_path):
    lines = [line(score=None), line(loss="Usual", score=float("nan")), line(loss="Other", score=0.1)]
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    assert row(text, "recipe: Mine", "recipe")[2] == row(text, "Usual", "usual")[2] == "–"
    assert "nan" not in text
    assert re.findall(r"^\| (\S+) \| (?:family|usual|recipe) ", text, re.M)[0] == "Other"


def test_order_of_values():
    assert order_values([1.0, 0.1, 1.0, 10]) == [0.1, 1.0, 10]
    assert order_values(["z", "a", "z"]) == ["z", "a"]
    assert order_values(["100", "none", "30"]) == ["none", "30", "100"]
    assert is_logarithmic([0.1, 1])
    assert not is_logarithmic([-0.1, 1])


def test_names_are_escaped(tmp_path):
    path = save(tmp_path / "runs.jsonl", line(task="<i>a|b</i>", loss="Mine"))
    text = write([path], tmp_path / "out").read_text("utf-8")
    assert "## &lt;i>a\\|b&lt;/i>, tiny" in text
    page = Page()
    page.feed((tmp_path / "out" / "report.html").read_text("utf-8"))
    assert "i" not in page.tags
    assert "<i>a|b</i>, tiny" in page.texts
