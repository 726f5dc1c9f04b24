"""Runs in a terminal of 80 columns."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from unetkit.cli.tables import dataset_table, issues_table, problems_of, runs_table

RUN = {
    "run": "runs/photos-fast-2",
    "date": "2026-11-26T08:00:00+00:00",
    "preset": "notebook",
    "data": "/data/photos-of-cats",
    "state": "finished",
    "steps_done": 2500,
    "steps": 2500,
    "minutes": 123.4,
    "best_step": 2400,
    "best_mean_iou": 0.7512,
    "last_change": None,
    "evaluations": [],
    "problem": None,
}
NOTHING = {key: None for key in RUN if key not in ("run", "evaluations")}


def evaluation(mean_iou, *, part="test", problem=None):
    return {"folder": "e", "part": part, "data": "d", "mean_iou": mean_iou, "problem": problem}


def lines(runs, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(runs_table(runs))
    return console.file.getvalue().splitlines()


def test_it_fits_80_columns_and_nothing_is_cut():
    runs = [
        {**RUN, "state": "interrupted", "steps_done": 1250, "evaluations": [evaluation(0.7)]},
        {**RUN, "run": "experiments/of/november/photos-folds/fold-3"},
        {**RUN, **NOTHING},
    ]
    text = lines(runs)
    assert max(map(len, text)) <= 80
    assert "…" not in "".join(text)
    joined = " ".join(text)
    for part in ("interrupted", "at step 1250", " 2500 ", "123.4", "0.751", "0.700", "unknown"):
        assert part in joined


def test_numbers_stand_below_each_other_at_the_right():
    runs = [{**RUN, "minutes": 3.0, "steps_done": 10, "steps": 10}, {**RUN, "minutes": 1234.5}]
    rows = [line for line in lines(runs, width=120) if "finished" in line]
    for short, long in ((" 3.0 ", "1234.5 "), (" 10 ", "2500 ")):
        assert rows[0].index(short) + len(short) == rows[1].index(long) + len(long)


def test_only_scores_on_test_splits_are_shown_one_per_line():
    scores = [evaluation(0.61), evaluation(0.99, part="all"), evaluation(None)]
    text = " ".join(lines([{**RUN, "evaluations": scores}]))
    assert "0.610" in text
    assert "absent" in text
    assert "0.990" not in text


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=5), " s ago"),
        (timedelta(minutes=12, seconds=1), "12 min ago"),
        (timedelta(hours=3, seconds=1), "3 h ago"),
        (timedelta(days=40, seconds=1), "40 d ago"),
        (-timedelta(days=1), "0 s ago"),  # a clock that was wrong
    ],
)
def test_a_run_in_training_shows_its_last_change(age, words):
    changed = (datetime.now(UTC) - age).isoformat(timespec="seconds")
    text = " ".join(lines([{**RUN, "state": "training", "last_change": changed}]))
    assert "training" in text
    assert words in text


def test_markup_and_control_characters_in_a_name_are_not_interpreted():
    text = " ".join(lines([{**RUN, "run": "[red]a\x1b[2J"}], width=120))
    assert "[red]a\\x1b[2J" in text


def test_problems_of_runs_and_of_their_evaluations_are_listed():
    runs = [RUN, {**RUN, "problem": "one", "evaluations": [evaluation(None, problem="two")]}]
    assert problems_of(runs) == ["one", "two"]


def test_what_is_not_known_of_images_has_no_row():
    images = {
        **{"sizes": [], "num_sizes": 0, "channels": {}, "dtypes": {}, "formats": {}},
        "levels": None,
    }
    report = {"data": "d", "pairs": 1, "usable": 0, "masks": "masks", "images": images}
    report |= {"kind": None, "classes": [], "objects": [], "split": None}
    table = dataset_table(report)
    assert [str(cell) for cell in table.columns[0].cells] == [
        *("masks in", "pixel values", "mask kind")
    ]


def test_a_long_pattern_in_a_remedy_is_not_cut():
    pattern = "(?i)^(.*?)" + "x" * 90
    issue = {"level": "warning", "code": "names", "text": "two sides", "remedy": pattern}
    output = io.StringIO()
    Console(file=output, width=80).print(issues_table({"findings": [issue]}))
    cells = [line.split("│")[4].strip() for line in output.getvalue().splitlines() if "│" in line]
    assert pattern in "".join(cells)
