"""Displays that write to the log and to a file, and progress in words."""

import io
import logging
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.cli.test_console import FIGURES, REPORT, lines_of, terminal, train_on
from unetkit._shared.display import (
    Display,
    LoggedDisplay,
    StepReport,
    clock_text,
    describe,
    speed_text,
    warning_line,
)
from unetkit.cli.console import ConsoleDisplay


class TestLoggedDisplay:
    @pytest.fixture
    def logged(self, tmp_path):
        console = Console(file=io.StringIO(), width=120)
        return LoggedDisplay(ConsoleDisplay(console), tmp_path / "log.txt"), console

    def test_messages_warnings_and_validations_are_logged_with_the_time(self, logged, tmp_path):
        display, console = logged
        display.say("data      pets")
        display.say("masks     trimaps")
        train_on(display)
        log = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
        assert all(re.match(r"\d\d:\d\d:\d\d  \S", line) for line in log)
        assert [line[10:] for line in log] == lines_of(console)
        assert len(log) == 2 + 3 + 1

    def test_steps_and_tasks_are_shown_and_not_kept(self, tmp_path):
        console = terminal()
        display = LoggedDisplay(ConsoleDisplay(console), tmp_path / "log.txt")
        display.task("decoding", 2)()
        display.training_step(REPORT)
        display.finish()
        assert "decoding" in console.file.getvalue()
        assert "160/720" in console.file.getvalue()
        assert not (tmp_path / "log.txt").exists()

    def test_it_is_appended_to(self, logged, tmp_path):
        (tmp_path / "log.txt").write_text("of an earlier session\n")
        logged[0].say("résumé \udcff")  # the name of a file may be no text
        lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
        assert lines[0] == "of an earlier session"
        assert lines[1].endswith("résumé \\udcff")

    def test_nothing_is_lost_when_the_file_cannot_be_written(self, tmp_path):
        console = Console(file=io.StringIO(), width=120)
        display = LoggedDisplay(ConsoleDisplay(console), tmp_path)  # a folder
        display.say("said")
        display.warn("warned")
        assert lines_of(console) == ["said", "warning   warned"]

    def test_a_message_is_one_line_whatever_names_it_quotes(self, logged, tmp_path):
        logged[0].warn("one\ntwo")
        lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
        assert [line[8:] for line in lines] == ["  warning   one\\ntwo"]


class TestDisplay:
    def test_the_base_speaks_to_the_log_alone(self, caplog, capsys):
        with caplog.at_level(logging.INFO, "unetkit"):
            display = Display()
            display.say("said")
            display.warn("warned")
            display.task("decoding", 3)()
            display.training_step(REPORT)
            display.validated(REPORT, FIGURES)
            display.finish()
        assert [(r.levelname, r.message[:12]) for r in caplog.records] == [
            ("INFO", "said"),
            ("WARNING", "warned"),
            ("INFO", "decoding: 3"),
            ("INFO", "step 160/720"),
        ]
        assert capsys.readouterr() == ("", "")

    def test_a_line_leaves_out_what_is_not_known(self):
        report = StepReport(1, 720, None, 0.7, None, 41.0, None)
        assert describe(report, {}) == "step 1/720: loss 0.700; 0:41 gone"

    def test_averaged_weights_are_named(self):
        line = describe(REPORT, {**FIGURES, "averaged_mean_iou": 0.633})
        assert "mIoU 0.612, of averaged weights 0.633, best 0.640" in line

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.4, "0:00"), (59.6, "1:00"), (3599.4, "59:59"), (3599.6, "1:00:00")],
    )
    def test_times_carry_over(self, seconds, text):
        assert clock_text(seconds) == text

    def test_slow_speeds_have_a_decimal(self):
        assert [speed_text(v) for v in (0.84, 9.94, 9.96, 93.4)] == ["0.8", "9.9", "10", "93"]


class TestLine:
    @pytest.mark.parametrize(
        ("changes", "left_out"),
        [
            ({"images_per_second": None}, "93 images/s, "),
            ({"waiting_share": None}, ", 3% waiting for data"),
            ({"images_per_second": None, "waiting_share": None},
             "; 93 images/s, 3% waiting for data"),
            ({"seconds_left": None}, ", 2:41 left"),
        ],
    )  # fmt: skip
    def test_each_unknown_value_is_left_out_alone(self, changes, left_out):
        whole = "step 160/720: loss 0.712; 93 images/s, 3% waiting for data; 0:48 gone, 2:41 left"
        assert describe(REPORT, {}) == whole
        assert describe(replace(REPORT, **changes), {}) == whole.replace(left_out, "")

    def test_metrics_stand_in_a_fixed_order_after_the_mean_loss(self):
        # The loss of the metrics, 0.72, replaces that of the last update, 0.7124.
        shuffled = dict(sorted({**FIGURES, "averaged_mean_iou": 0.633}.items()))
        assert describe(REPORT, shuffled).startswith(
            "step 160/720: loss 0.720, validation loss 0.800, accuracy 0.871, mIoU 0.612, "
            "of averaged weights 0.633, best 0.640; "
        )

    def test_a_loss_that_is_not_finite_is_shown(self):
        report = replace(REPORT, loss=float("nan"))
        assert describe(report, {}).startswith("step 160/720: loss nan; ")

    def test_a_warning_begins_with_its_keyword(self):
        assert warning_line("the disk is full") == "warning   the disk is full"

    @given(st.integers(0, 10**8))
    def test_a_time_is_the_number_of_its_seconds(self, seconds):
        hours, minutes, rest = map(int, f"0:{clock_text(seconds)}".split(":")[-3:])
        assert 3600 * hours + 60 * minutes + rest == seconds
        assert rest < 60
        assert minutes < 60
