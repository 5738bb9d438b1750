"""The report: which runs it reads, which it compares, and what stands on its pages."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from eval.report import choose, compare, read_runs, write
from eval.report.blocks import anchor
from eval.report.duels import against_usual
from eval.report.figures import is_logarithmic, order_values
from eval.report.hierarchy import fit
from eval.results import PROTOCOLS, encode_items

VERSIONS = {"st_rankloss": "0.1.0", "torch": "2.13.0"}
QUALITY = {"Mine": 0.6, "Usual": 0.5, "Other": 0.55, "Weak": 0.3, "before": 0.2}
ROLES = {"Mine": "recipe", "Usual": "usual", "Other": "family", "Weak": "usual", "before": "before"}
VOID = {"meta"}


def line(**given):
    """One run's line: ok, on test, without anything optional."""
    base = {"stage": "test", "status": "ok", "error": None, "task": "alpha", "kind": "retrieval", "metric": "ndcg"}
    base |= {"encoder": "tiny", "loss": "Mine", "setting": {}, "learning_rate": 0.05, "seed": 0, "steps": 300}
    base |= {"batch_size": 128, "ablation": None, "value": None, "items": None}
    base |= {"seconds": {"train": 3.0, "evaluate": 1.0}, "peak_memory_mb": 900, "versions": VERSIONS}
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
    return line(
        task=task,
        loss=loss,
        seed=seed,
        setting={"temperature": 0.2},
        scores={"ndcg": float(items.mean()), "mrr": 0.7, "auc": 0.9, "opis": 0.01 * QUALITY[loss]},
        items=encode_items(items),
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


def section(text, heading, level=2):
    """What stands under a heading."""
    marks = "#" * level
    (found,) = re.findall(rf"^{marks} {re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", text, flags=re.M | re.S)
    return found


def numbers(text):
    """The signed numbers of a cell."""
    return [float(number.replace("−", "-")) for number in re.findall(r"[+−]?\d\.\d+", text)]


def page_of(path, *lines):
    """The report of some lines, as Markdown."""
    return write([save(path / "runs.jsonl", *lines)], path / "out").read_text("utf-8")


def test_the_report_opens_with_one_sentence_and_one_figure(report):
    """All tasks have the same true difference of about .1."""
    text = section((report / "report.md").read_text("utf-8"), "Result")
    sentence, figure, caption = text.strip().split("\n\n")
    start = "With every loss tuned alike, the recipe beats the best usual loss significantly in 3 of 3 comparisons"
    assert sentence.startswith(f"{start} and loses none (mean difference +0.")
    mean, low, high = numbers(sentence)
    assert low < 0.1 < high
    assert mean == pytest.approx(0.1, abs=0.01)
    assert figure == "![Recipe − best usual loss](plots/01-Recipe-best-usual-loss.png)"
    assert "diamond" in caption


def test_one_table_compares_each_recipe_with_the_best_usual_loss(report):
    text = section((report / "report.md").read_text("utf-8"), "All comparisons")
    assert "| task | encoder | metric | untrained | best usual loss | recipe | difference [95 %] | verdict |" in text
    assert "†" not in text
    task, _, metric, untrained, usual, recipe, difference, verdict = row(text, "[beta](#beta-tiny)", "tiny")
    assert (metric, verdict) == ("ndcg", "win")
    assert float(untrained) == pytest.approx(0.2, abs=0.02)
    assert usual.split()[1] == "Usual"
    value, low, high = numbers(difference)
    assert low < value < high
    assert value == pytest.approx(float(recipe) - float(usual.split()[0]), abs=2e-3)
    assert "included, the hardest comparison: 3 wins, 0 ties, 0 losses." in text


def test_comparisons_are_sorted_by_their_difference(tmp_path):
    leads = {"a": 0.1, "b": 0.3, "c": -0.2}
    lines = [line(task=task, score=0.5 + lead) for task, lead in leads.items()]
    text = page_of(tmp_path, *lines, *(line(task=task, loss="Usual", score=0.5) for task in leads))
    assert re.findall(r"^\| \[(\w)\]", text, re.M) == ["b", "a", "c"]


def test_the_mean_over_tasks_is_that_of_the_model(report):
    text = section((report / "report.md").read_text("utf-8"), "Mean over tasks")
    rows = [row(text, "tuned", task) for task in ("alpha", "beta", "gamma")]
    found = fit([numbers(cells[2])[0] for cells in rows], [numbers(cells[3])[0] for cells in rows])
    assert numbers(row(text, "all", "tuned", "3")[3]) == pytest.approx(
        [found.mean.estimate.value, found.mean.estimate.low, found.mean.estimate.high], abs=5e-4
    )
    assert numbers(rows[1][4])[0] == pytest.approx(found.tasks[1].estimate.value, abs=5e-4)


def test_each_encoder_with_three_tasks_has_a_mean_of_its_own(tmp_path):
    """Task a has a lead of .1 with one encoder and of .3 with the other; with both it counts once, with .2."""
    ran = [("a", "first", 0.1), ("a", "second", 0.3), ("b", "first", 0.1), ("c", "first", 0.1)]
    lines = [
        line(task=task, encoder=encoder, loss=loss, seed=seed, score=score + seed * slope)
        for task, encoder, lead in ran
        for loss, score, slope in (("Mine", 0.5 + lead, 0.001), ("Usual", 0.5, 0.0011))
        for seed in range(3)
    ]
    text = section(page_of(tmp_path, *lines), "Mean over tasks")
    assert numbers(row(text, "first", "tuned", "3")[3])[0] == pytest.approx(0.1, abs=1e-3)
    assert numbers(row(text, "all", "tuned", "3")[3])[0] == pytest.approx(0.4 / 3, abs=2e-3)
    assert numbers(row(text, "tuned", "a")[2])[0] == pytest.approx(0.2, abs=1e-3)
    assert "| second |" not in text


def test_fewer_than_three_tasks_have_no_mean(tmp_path):
    lines = [
        line(task=task, loss=loss, seed=seed, score=QUALITY[loss] + seed / divisor)
        for task, divisor in (("a", 100), ("b", 90))
        for loss in ("Mine", "Usual")
        for seed in (0, 1, 2)
    ]
    text = page_of(tmp_path, *lines)
    assert "## Mean over tasks" not in text
    assert "mean difference" not in text


def test_table_of_a_task_is_sorted_and_complete(report):
    text = section((report / "report.md").read_text("utf-8"), "alpha, tiny", 3)
    names = re.findall(r"^\| (recipe: Mine|Usual|Other|Weak|untrained) \| (?:recipe|usual|family|before)", text, re.M)
    assert names == ["recipe: Mine", "Other", "Usual", "Weak", "untrained"]
    weak = row(text, "Weak", "usual")
    assert weak[4:] == ["win", "0.2000 to 0.3000 (2 of 4)", "temperature 0.2", "0.05", "3", "3"]
    assert re.fullmatch(r"0\.\d{4} ± 0\.\d{4}", weak[2])
    own = row(text, "recipe: Mine", "recipe")
    assert own[3:5] == ["", ""]
    bold = [name for name in names if re.search(rf"^\| {name} \| \w+ \| \*\*", text, re.M)]
    assert bold == ["recipe: Mine"]
    untrained = row(text, "untrained", "before")
    assert untrained[5:8] == ["–", "temperature 0.2", "–"]


def test_ablations(report):
    text = section((report / "report.md").read_text("utf-8"), "One setting at a time")
    assert "### Ablation: temperature" in text
    assert "| task | loss | 0.01 | 0.1 | 1.0 |" in text
    assert "| gamma, tiny | recipe | 0.5010 (0.5010 to 0.5010) | 0.5100 (0.5100 to 0.5100) | **0.6000 (" in text
    assert "| task | loss | plain |" in text


def test_figures_lie_beside_the_page(report):
    text = (report / "report.md").read_text("utf-8")
    linked = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert linked == ["plots/01-Recipe-best-usual-loss.png", "plots/02-Ablation-of-temperature.png"]
    assert len(linked) == len(list((report / "plots").iterdir()))
    assert all((report / name).read_bytes().startswith(b"\x89PNG") for name in linked)


def test_sections_stand_in_the_table_of_contents_in_order_and_hardware_comes_last(report):
    text = (report / "report.md").read_text("utf-8")
    contents = re.findall(r"\[([^]]+)\]\(#", text.split("\n\n")[1])
    assert contents == re.findall(r"^## (.*)", text, re.M)
    assert contents[0] == "Result"
    assert contents[-2:] == ["What was run", "Failed runs"]
    assert "abc1234" not in text.split("## What was run")[0]


def test_every_link_leads_to_a_heading(report):
    text = (report / "report.md").read_text("utf-8")
    targets = {anchor(heading) for heading in re.findall(r"^#+ (.*)", text, re.M)}
    links = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert links
    assert links <= targets


def test_reliability_is_bold_where_it_is_low(report):
    text = section((report / "report.md").read_text("utf-8"), "alpha, tiny", 3)
    assert "| loss | mrr | auc | opis |" in text
    assert "| untrained | 0.7000 | 0.9000 | **0.0020** |" in text
    assert "| recipe: Mine | 0.7000 | 0.9000 | 0.0060 |" in text


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
    text = section((report / "report.md").read_text("utf-8"), "alpha, other", 3)
    cells = row(text, "Usual", "usual")
    assert cells[2:] == ["0.4000", "", "", "–", "–", "0.05", "1", "3"]


class Page(HTMLParser):
    """Checks that tags nest, and keeps tags, sources and texts."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.sources, self.texts = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.sources += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def parse(path):
    """A page, read to its end."""
    page = Page()
    page.feed((path / "report.html").read_text("utf-8"))
    page.close()
    return page


def test_html_is_well_formed_and_needs_nothing_else(report):
    page = parse(report)
    assert page.open == []
    assert not {"img", "link", "iframe"} & set(page.tags)
    assert page.tags.count("script") == 1
    assert page.tags.count("figure") == len(list((report / "plots").iterdir()))
    assert len(set(page.ids)) == len(page.ids)
    assert page.sources
    assert {source[0] for source in page.sources} == {"#"}
    assert {source[1:] for source in page.sources} <= set(page.ids)
    assert not re.search(r"url\((?!#)|@import|fetch\(", (report / "report.html").read_text("utf-8"))
    assert any("ValueError: <b>a|b</b>" in text for text in page.texts)


def test_each_task_is_a_closed_section_of_the_page_and_tables_scroll_in_their_boxes(report):
    text = (report / "report.html").read_text("utf-8")
    assert '<details><summary><h3 id="alpha-tiny">alpha, tiny</h3></summary>' in text
    assert text.count("<table>") == len(re.findall(r'<div class="box" tabindex="0" role="region"[^>]*><table>', text))
    assert "overflow-x: auto" in text
    assert 'content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text


def test_figures_take_the_colour_of_the_page_and_their_text_is_text(report):
    text = (report / "report.html").read_text("utf-8")
    (first, *_) = re.findall(r"<svg .*?</svg>", text, re.S)
    assert "currentColor" in first
    assert "#000000" not in first
    assert ">alpha, tiny</text>" in first


def test_reports_repeat(tmp_path, report):
    again = write([save(tmp_path / "runs.jsonl", *synthetic(np.random.default_rng(0)))], tmp_path / "out").parent
    for name in ("report.md", "report.html", "plots/01-Recipe-best-usual-loss.png"):
        assert (again / name).read_bytes() == (report / name).read_bytes()


def protocol_lines(leads, **given):
    """Test runs of the recipe and the usual loss at .5 in three tasks, with the recipe's lead by protocol."""
    return [
        line(task=task, protocol=protocol, loss=loss, seed=seed, key=f"{task}{protocol}{loss}{seed}", **given)
        | {"scores": {"ndcg": score + seed * slope}}
        for protocol, lead in leads.items()
        for task in ("a", "b", "c")
        for loss, score, slope in (("Mine", 0.5 + lead, 0.001), ("Usual", 0.5, 0.0011))
        for seed in range(3)
    ]


def test_protocols_stand_side_by_side(tmp_path):
    leads = {"untouched": 0.2, "tuned": 0.0, "defaults": 0.1}
    text = page_of(tmp_path, *protocol_lines(leads), line(task="d"), line(task="d", loss="Usual"))
    sentence = section(text, "Result").split("\n\n")[0]
    found = re.findall(r"in (\d) of (\d).*?difference ([+−\d.]+)", sentence)
    assert found == [("0", "4", "0.000"), ("3", "3", "+0.100"), ("3", "3", "+0.200")]
    table = section(text, "Protocols")
    assert "| recipe − best usual loss | tuned | defaults | untouched |" in table
    cells = row(table, "[b, tiny](#b-tiny)")
    assert [numbers(cell)[0] for cell in cells[1:]] == [0.0, 0.1, 0.2]
    assert [cell.split()[-1] for cell in cells[1:]] == ["tie", "win", "win"]
    assert row(table, "[d, tiny](#d-tiny)")[2:] == ["–", "–"]
    means = re.findall(r"^\| all \| (tuned|defaults|untouched) \| 3 ", section(text, "Mean over tasks"), re.M)
    assert tuple(means) == PROTOCOLS
    everything = section(text, "All comparisons")
    assert everything.count("| untouched |") == everything.count("| defaults |") == 3
    assert section(text, "b, tiny", 3).count("Protocol: ") == 3


def test_what_tuning_is_worth(tmp_path):
    """The usual loss gains nothing by tuning, the recipe loses .1 by each step."""
    text = page_of(tmp_path, *protocol_lines({"tuned": 0.0, "defaults": 0.1, "untouched": 0.2}), line(loss="Other"))
    worth = section(text, "What tuning is worth")
    assert "| loss | tasks | tuned | defaults | untouched | tuned − defaults | defaults − untouched |" in worth
    assert row(worth, "recipe") == ["recipe", "3", "0.501", "0.601", "0.701", "−0.100", "−0.100"]
    assert row(worth, "Usual") == ["Usual", "3", "0.501", "0.501", "0.501", "0.000", "0.000"]
    assert "Other" not in worth
    assert row(worth, "[c, tiny](#c-tiny)", "recipe")[2:6] == ["0.501", "0.601", "0.701", "−0.100"]


def test_one_protocol_is_not_compared_with_others(report):
    text = (report / "report.md").read_text("utf-8")
    assert "## Protocols" not in text
    assert "## What tuning is worth" not in text
    assert "| protocol |" not in section(text, "All comparisons")
    assert re.findall(r"^- (\w+): each loss", section(text, "Method"), re.M) == ["tuned"]


def test_runs_of_another_protocol_are_not_tuned_ones(tmp_path):
    tuned = line(score=0.3, setting={"temperature": 0.1})
    default = line(score=0.9, protocol="defaults", key="other")
    first, second = compare(read_runs([save(tmp_path / "runs.jsonl", tuned, default, line(loss="before"))]).runs)
    assert (first.protocol, second.protocol) == ("tuned", "defaults")
    assert [run.score for run in first.recipe.test] == [0.3]
    assert [run.score for run in second.recipe.test] == [0.9]
    assert first.recipe.outdated == second.recipe.outdated == 0
    assert [[entry.loss for entry in c.peers("before")] for c in (first, second)] == [["before"], ["before"]]


def test_the_usual_loss_of_a_protocol_is_the_best_of_its_own_settings_on_dev(tmp_path):
    """Tuned, Weak is better than Usual on dev; at its defaults it is worse. Untouched, dev says nothing: as tuned."""
    default, best = {"scale": 20}, {"scale": 3}
    lines = [
        line(stage="dev", loss="Usual", setting=default, score=0.6),
        line(stage="dev", loss="Weak", setting=default, score=0.5),
        line(stage="dev", loss="Weak", setting=best, score=0.9),
    ]
    for protocol, setting in (("tuned", best), ("defaults", default), ("untouched", {"scale": 7})):
        usual = default if setting == best else setting
        for loss, own in (("Mine", setting), ("Weak", setting), ("Usual", usual)):
            lines.append(line(loss=loss, key=protocol + loss, protocol=protocol, setting=own))
    duels = against_usual(compare(read_runs([save(tmp_path / "runs.jsonl", *lines)]).runs))
    assert {d.comparison.protocol: (d.opponent.loss, d.by_dev) for d in duels} == {
        "tuned": ("Weak", True),
        "defaults": ("Usual", True),
        "untouched": ("Weak", True),
    }


def test_holm_corrects_within_a_protocol(tmp_path):
    """One comparison at p = .03 wins alone; eight like it with nothing to gain would make it a tie."""
    scores = {"Mine": (0.50, 0.51, 0.52, 0.53), "Usual": (0.49, 0.505, 0.50, 0.515)}
    lines = [
        line(task=task, protocol=protocol, loss=loss, seed=seed, score=score, key=f"{task}{protocol}{loss}{seed}")
        for protocol, tasks in (("tuned", "abcdefgh"), ("defaults", "a"))
        for task in tasks
        for loss, values in scores.items()
        for seed, score in enumerate(values)
    ]
    duels = against_usual(compare(read_runs([save(tmp_path / "runs.jsonl", *lines)]).runs))
    assert [duel.verdict for duel in duels] == ["tie"] * 8 + ["win"]
    assert 0.05 / 8 < duels[0].difference.p < 0.05


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
    _, far, elsewhere = compare(read_runs([path]).runs)
    entries = {entry.loss: entry for entry in far.entries}
    assert {loss: entry.dev_scores for loss, entry in entries.items()} == {"Usual": [0.6, 0.1], "Weak": [0.5]}
    assert choose(far.entries) == (entries["Usual"], True)
    assert not entries["Usual"].is_outdone
    assert [entry.dev_scores for entry in elsewhere.entries] == [[]]


def test_best_peer_is_chosen_on_test_for_want_of_dev_and_marked(tmp_path):
    path = save(tmp_path / "runs.jsonl", line(score=0.5), line(loss="Usual", score=0.3), line(loss="Weak", score=0.4))
    text = write([path], tmp_path / "out").read_text("utf-8")
    assert row(text, "[alpha](#alpha-tiny)", "tiny")[4] == "0.400 Weak †"
    assert "† chosen by its test score" in text


def test_a_recipe_that_loses_is_an_exception(tmp_path):
    lines = [line(seed=seed, score=0.5 + seed / 1000) for seed in range(4)]
    lines += [line(loss="Other", seed=seed, score=0.6 + seed / 900) for seed in range(4)]
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    assert "- alpha, tiny: Other 0.602, recipe 0.501, difference −0.100 [−0.1" in section(text, "All comparisons")
    assert row(text, "Other", "family")[4] == "loss"
    assert "1 loss" in section(text, "All comparisons").split("hardest comparison")[1]
    for absent in ("One setting at a time", "Mean over tasks", "Failed runs"):
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


def test_dev_runs_alone_make_a_report(tmp_path):
    lines = [*trials("Weak", 0.3, 0.4), *trials("Mine", 0.5, 0.6), *trials("Usual", 0.4, 0.5)]
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    nothing = "No recipe has been tested against a usual loss, so there is nothing to compare yet."
    assert section(text, "Result").strip() == nothing
    assert re.findall(r"^\| (\S+) \| (?:family|usual|recipe) ", text, re.M) == ["Mine", "Usual", "Weak"]
    assert "## All comparisons" not in text


def test_test_runs_alone_make_a_report(tmp_path):
    lines = [line(loss=loss, seed=seed, score=QUALITY[loss] + seed / 100) for loss in QUALITY for seed in (0, 1)]
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    assert row(text, "[alpha](#alpha-tiny)", "tiny")[5] == "0.605"


def test_ablation_runs_alone_make_a_report(tmp_path):
    path = save(tmp_path / "runs.jsonl", line(stage="ablation", ablation="k", value="none"))
    assert "## One setting at a time" in write([path], tmp_path / "out").read_text("utf-8")


def test_of_repeated_ablation_runs_the_last_counts(tmp_path):
    """Tuning again moves the setting around which an ablation varies; old runs are not further seeds."""
    given = {"stage": "ablation", "ablation": "k"}
    lines = [line(**given, value="10", score=0.1, key="old"), line(**given, value="10", score=0.3, key="new")]
    lines.append(line(**given, value="none", score=0.2))
    text = section(
        write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8"), "One setting at a time"
    )
    assert "| task | loss | none | 10 |" in text
    assert row(text, "alpha, tiny", "recipe") == ["alpha, tiny", "recipe", "0.2000", "0.3000"]


def test_the_recipe_is_named_once(tmp_path):
    lines = [line(loss="recipe", role="recipe"), line(loss="Usual", score=0.3)]
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    assert row(text, "recipe", "recipe")[2] == "0.5000"


def test_another_baseline_is_not_treated_as_the_untrained_encoder(tmp_path):
    """BM25 has the role of the untrained encoder, and may be better or worse."""
    lines = [line(), line(loss="before", score=0.2), line(loss="BM25", role="before", score=0.4)]
    text = write([save(tmp_path / "runs.jsonl", *lines)], tmp_path / "out").read_text("utf-8")
    assert "| task | encoder | metric | untrained | BM25 | best usual loss | recipe |" in text
    assert row(text, "[alpha](#alpha-tiny)", "tiny")[3:7] == ["0.200", "0.400", "–", "0.500"]
    assert row(text, "BM25", "before")[2] == "0.4000"
    assert row(text, "untrained", "before")[2] == "0.2000"


def test_figures_of_an_earlier_report_are_removed(tmp_path):
    for name in ("temperature", "weight"):
        path = save(tmp_path / "runs.jsonl", line(stage="ablation", ablation=name, value=0.1))
        write([path], tmp_path / "out")
        assert [file.name for file in (tmp_path / "out" / "plots").iterdir()] == [f"01-Ablation-of-{name}.png"]


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
    assert text.split("\n\n")[2] == note
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


def test_runs_copied_from_another_protocol_take_no_time(tmp_path):
    hour = {"seconds": {"train": 3600.0}}
    lines = [line(protocol=protocol, key=protocol, **hour) for protocol in PROTOCOLS]
    lines.append(line(protocol="untouched", key="again", started="2026-11-22T10:00:00", **hour))
    assert "4 runs (4 test), 0 failed, 2.0 hours" in page_of(tmp_path, *lines)


def test_a_better_trial_outside_the_grid_does_not_choose_the_peer(tmp_path):
    """A trial at published defaults is not of the tuned grid; the peer is what was tested."""
    path = save(
        tmp_path / "runs.jsonl",
        line(stage="dev", loss="Usual", score=0.6),
        line(stage="dev", loss="Weak", score=0.5),
        line(stage="dev", loss="Weak", score=0.9, setting={"scale": 20}),
        *(line(loss=loss) for loss in ("Mine", "Usual", "Weak")),
    )
    (duel,) = against_usual(compare(read_runs([path]).runs))
    assert duel.opponent.loss == "Usual"
