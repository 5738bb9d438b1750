"""Faults in files are named in plain words, by the reader or by the inspection."""

from __future__ import annotations

import pytest

from st_rankloss import inspect
from st_rankloss.data import read


def scored(scores):
    return "sentence1,sentence2,score\n" + "".join(f"one {i},other {i},{score}\n" for i, score in enumerate(scores))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (scored(['"2,5"', '"3,5"']), "got '2,5' in row 0: it has a decimal comma"),
        (scored([2.5, "score", 3]), "got 'score' in row 1: the header is repeated"),
        (
            scored(["good", "bad"]),
            "got 'good' in row 0: name the column of the scores, or grade its words, such as scale=",
        ),
    ],
)
def test_a_text_in_the_place_of_a_score_is_refused_with_its_remedy(tmp_path, text, words):
    path = tmp_path / "scores.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        read(path)


def test_a_stream_has_the_findings_of_the_file(tmp_path):
    path = tmp_path / "rows.csv"
    rows = [f"text {i} of them,{'odd' if i % 2 else 'even'}\n" for i in range(60)]
    path.write_text("text,label\n" + "".join([*rows[:30], "text,label\n", *rows[30:], *rows[:5]]), encoding="utf-8")
    findings = [inspect(read(path, streaming=streaming)).findings for streaming in (False, True)]
    assert findings[0] == findings[1]
    assert {"header rows", "duplicate rows"} <= {finding.name for finding in findings[0]}
