"""Progress wherever it is shown, pictures in a terminal, and tables of runs side by side."""

import io
import os
import re
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from unetkit._shared.display import (
    StepReport,
)
from unetkit.cli.console import (
    ConsoleDisplay,
    ProgressLine,
    draw_result,
    make_console,
    require_colours,
    training_line,
)
from unetkit.cli.tables import comparison_table
from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.errors import ConfigError

REPORT = StepReport(
    step=160,
    steps=720,
    images_per_second=93.4,
    loss=0.7124,
    waiting_share=0.03,
    seconds_gone=48.2,
    seconds_left=161.0,
)
SCORES = {"validation_mean_iou": 0.612, "best_mean_iou": 0.64}
FIGURES = {"loss": 0.72, "validation_loss": 0.8, "validation_accuracy": 0.871, **SCORES}
WARNING = "31% of the time is spent waiting for data; try a smaller --size, or fewer changes"


def terminal(*, colours="truecolor", width=80, height=40):
    return Console(
        file=io.StringIO(), force_terminal=True, color_system=colours, width=width, height=height
    )


def lines_of(console):
    return console.file.getvalue().splitlines()


def line_at(width, report=REPORT, scores=SCORES):
    console = Console(record=True, force_terminal=True, width=width, file=io.StringIO())
    console.print(training_line(report, scores))
    return console.export_text().rstrip("\n")


def train_on(display, *, seconds_a_step=1.1, steps=60, looks_after=20):
    """What a training of a minute tells a display."""
    for step in range(1, steps + 1):
        report = StepReport(
            step=step,
            steps=steps,
            images_per_second=None if step < 5 else 90.0 + step,
            loss=1 / step,
            waiting_share=None if step < 5 else 0.31,
            seconds_gone=step * seconds_a_step,
            seconds_left=None if step < 5 else (steps - step) * seconds_a_step,
        )
        display.training_step(report)
        if step % looks_after == 0:
            display.validated(report, {**FIGURES, "best_mean_iou": step / 100})
        if step == steps // 2:
            display.warn(WARNING)
    display.finish()


def frames(output):
    """What a terminal shows one after the other in its lines: each drawing, and each line."""
    assert "\x1b[1A" not in output  # the terminal of a notebook's ! command cannot go up
    parts = re.split(r"\r|\n|\x1b\[2K", output)
    return [plain for part in parts if (plain := re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", part))]


class TestProgressLine:
    @pytest.mark.parametrize(
        ("width", "line"),
        [
            (140, f"training  {'━' * 8}╸{'━' * 31}  160/720   93 img/s  waiting  3%  loss 0.712"),
            (80, "━╺━━━━━━━━━━  160/720   93 img/s  loss 0.712  mIoU 0.612  best 0.640  2:41 left"),
            (60, "160/720  loss 0.712  mIoU 0.612  best 0.640  2:41 left"),
            (40, "━╸━━━━━━  160/720  mIoU 0.612  2:41 left"),
            (20, "160/720  2:41 left"),
            (17, "22%  2:41 left"),
            (8, "22%"),
        ],
    )
    def test_the_least_important_is_left_out_first(self, width, line):
        found = line_at(width)
        assert re.sub("[━╸╺]+", "━", found).startswith(re.sub("[━╸╺]+", "━", line))

    @pytest.mark.parametrize("width", [20, 40, 80, 200])
    @pytest.mark.parametrize(
        "report",
        [
            REPORT,
            StepReport(1, 720, None, 12.5, None, 41.0, None),
            StepReport(99_999, 100_000, 1043.2, float("nan"), 1.0, 400_000.0, 400_000.0),
            StepReport(10**8, 10**9, 0.04, 1e6, 0.5, 10**7, 10**8),
            StepReport(720, 720, 93.4, 0.7, 0.0, 222.0, 0.0),
        ],
    )
    def test_it_is_one_line_that_fits(self, width, report):
        for scores in ({}, SCORES, {**SCORES, "averaged_mean_iou": 0.63}):
            assert len(line_at(width, report, scores)) <= width
            assert "\n" not in line_at(width, report, scores)

    def test_a_wide_one_shows_everything(self):
        line = line_at(150, scores={**SCORES, "averaged_mean_iou": 0.63})
        for part in (
            "160/720",
            "93 img/s",
            "waiting  3%",
            "loss 0.712",
            "mIoU 0.612",
            "averaged 0.630",
            "best 0.640",
            "0:48 gone",
            "2:41 left",
        ):
            assert part in line

    def test_waiting_matters_more_than_a_bar_where_it_is_the_brake(self):
        assert "waiting" not in line_at(80)
        line = line_at(80, replace(REPORT, waiting_share=0.31))
        assert "waiting 31%" in line

    def test_at_the_end_the_time_gone_takes_the_place_of_the_time_left(self):
        line = line_at(20, replace(REPORT, step=720, seconds_left=0.0))
        assert line == "720/720  0:48 gone"

    @pytest.mark.parametrize(("done", "expected"), [(0, 0), (1, 10), (4, 40)])
    def test_without_colours_the_bar_shows_what_is_left(self, done, expected, monkeypatch):
        monkeypatch.setenv("NO_COLOR", "1")
        console = Console(file=io.StringIO(), force_terminal=True, width=120)
        console.print(
            ProgressLine(done, 4, {"bar": Text(" " * 8), "step": Text("x")}, ("step", "bar"))
        )
        text = console.file.getvalue()
        assert text.count("━") == expected
        assert text.count("┄") == 40 - expected
        assert "\x1b" not in text

    def test_without_colours_the_bar_keeps_its_columns(self):
        console = Console(
            record=True, force_terminal=True, width=80, color_system=None, file=io.StringIO()
        )
        console.print(training_line(REPORT, SCORES))
        assert console.export_text().index("160/720") == line_at(80).index("160/720")


class TestTerminal:
    @pytest.mark.parametrize("width", [20, 40, 80])
    def test_nothing_drawn_is_wider_than_the_terminal(self, width):
        console = terminal(width=width)
        train_on(ConsoleDisplay(console))
        shown = frames(console.file.getvalue())
        assert max(map(len, shown)) <= width
        assert any("60/60" in line or "100%" in line for line in shown)
        assert " ".join(WARNING.split()) in " ".join(" ".join(shown).split())

    def test_a_warning_is_yellow_and_a_message_is_not(self):
        console = terminal()
        display = ConsoleDisplay(console)
        display.warn("this may [b]spoil[/b] it")
        display.say("this does not")
        assert console.file.getvalue() == (
            "\x1b[33mwarning   this may [b]spoil[/b] it\x1b[0m\nthis does not\n"
        )

    def test_a_displayed_command_stays_on_one_line(self):
        console = terminal(width=20)
        ConsoleDisplay(console).say("next: unetkit evaluate runs/one --data photos")
        assert lines_of(console) == ["next: unetkit evaluate runs/one --data photos"]

    def test_the_last_state_is_drawn_even_if_another_was_a_moment_ago(self):
        console = terminal()
        display = ConsoleDisplay(console)
        for step in range(1, 100):
            display.training_step(replace(REPORT, step=step))
        display.finish()
        shown = frames(console.file.getvalue())
        assert "99/720" in shown[-1]
        assert len(shown) < 20  # not each of the hundred

    def test_scores_of_one_training_are_not_shown_in_the_next(self):
        console = terminal()
        display = ConsoleDisplay(console)
        train_on(display)
        console.file.truncate(0)
        display.training_step(REPORT)
        display.finish()
        assert "mIoU" not in console.file.getvalue()

    def test_a_task_is_drawn_by_the_same_line(self):
        console = terminal(width=40)
        display = ConsoleDisplay(console)
        on_done = display.task("[decoding]", 12)
        for _ in range(12):
            on_done()
        display.finish()
        shown = frames(console.file.getvalue())
        assert shown[0].startswith("[decoding]  ━━━")
        assert shown[0].endswith("  0/12")
        assert shown[-1].endswith("12/12  0:00 gone")
        on_done()  # too late: nothing is drawn any more
        assert frames(console.file.getvalue()) == shown

    def test_a_dumb_terminal_gets_plain_lines(self, monkeypatch):
        monkeypatch.setenv("TERM", "dumb")
        console = Console(file=io.StringIO(), force_terminal=True, width=80)
        train_on(ConsoleDisplay(console))
        assert len([line for line in lines_of(console) if line.startswith("step")]) == 3


class TestWaiting:
    """What takes time before there is anything to count: a line with the time, from the start."""

    def test_it_is_drawn_at_once_and_counts_the_seconds(self, monkeypatch):
        monkeypatch.setattr("unetkit.cli.console.WAITING_PAUSE", 0.01)
        console = terminal()
        display = ConsoleDisplay(console)
        display.waiting("loading   the libraries")
        assert frames(console.file.getvalue()) == ["loading   the libraries  0:00"]
        time.sleep(0.3)
        display.finish()
        assert len(frames(console.file.getvalue())) > 2
        assert console.file.getvalue().endswith("\r\x1b[2K")  # nothing of it stays

    def test_messages_stand_above_it_and_progress_takes_its_place(self):
        console = terminal()
        display = ConsoleDisplay(console)
        display.waiting("building  the graph")
        display.say("device    cpu")
        display.task("evaluating", 3)
        display.finish()
        shown = frames(console.file.getvalue())
        assert shown[:3] == [
            "building  the graph  0:00",
            "device    cpu",
            "building  the graph  0:00",
        ]
        assert shown[3].startswith("evaluating")
        assert "building" not in "".join(shown[3:])

    def test_it_is_no_wider_than_the_terminal(self):
        console = terminal(width=20)
        display = ConsoleDisplay(console)
        display.waiting("a long text that does not fit")
        display.finish()
        assert max(map(len, frames(console.file.getvalue()))) < 20

    def test_in_a_pipe_it_is_one_line(self):
        console = Console(file=io.StringIO(), width=120)
        display = ConsoleDisplay(console)
        display.waiting("loading   the libraries")
        display.finish()
        assert console.file.getvalue() == "loading   the libraries\n"


class TestPipe:
    def test_a_line_per_validation_without_control_characters(self):
        console = Console(file=io.StringIO(), width=120)
        display = ConsoleDisplay(console)
        display.task("decoding", 3)()
        train_on(display)
        first, warning, *rest = lines_of(console)
        assert first == (
            "step 20/60: loss 0.720, validation loss 0.800, accuracy 0.871, mIoU 0.612, "
            "best 0.200; 110 images/s, 31% waiting for data; 0:22 gone, 0:44 left"
        )
        assert warning == f"warning   {WARNING}"
        assert [line[:10] for line in rest] == ["step 40/60", "step 60/60"]
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", console.file.getvalue())

    @pytest.mark.parametrize("seconds", [0.5, 7.0, 17.0, 59.0, 130.0])
    def test_a_line_per_minute_if_validations_are_rare(self, seconds):
        console = Console(file=io.StringIO(), width=120)
        train_on(ConsoleDisplay(console), seconds_a_step=seconds, steps=600, looks_after=500)
        lines = [line for line in lines_of(console) if line.startswith("step")]
        steps = [0] + [int(re.match(r"step (\d+)/", line).group(1)) for line in lines]
        between = np.diff(steps) * seconds
        assert between.max() <= max(60, seconds)
        assert len(lines) <= 600 * seconds / max(60 - seconds, seconds) + 2

    def test_lines_between_validations_have_the_last_scores(self):
        console = Console(file=io.StringIO(), width=120)
        display = ConsoleDisplay(console)
        display.validated(REPORT, FIGURES)
        display.training_step(replace(REPORT, step=161, seconds_gone=200.0))
        assert lines_of(console)[-1] == (
            "step 161/720: loss 0.712, mIoU 0.612, best 0.640; 93 images/s, "
            "3% waiting for data; 3:20 gone, 2:41 left"
        )

    def test_a_second_training_begins_its_own_minutes(self):
        console = Console(file=io.StringIO(), width=120)
        display = ConsoleDisplay(console)
        for _ in range(2):
            for step in range(1, 101):
                display.training_step(replace(REPORT, step=step, seconds_gone=float(step)))
        assert [line[:9] for line in lines_of(console)] == ["step 59/7", "step 1/72", "step 60/7"]

    def test_colours_that_are_forced_into_a_pipe_bring_no_moving_line(self, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        console = make_console()
        assert console.is_terminal
        train_on(ConsoleDisplay(console))
        assert "\r" not in sys.stdout.getvalue()
        assert "\x1b[?25l" not in sys.stdout.getvalue()  # which hides the cursor


NOTEBOOK = """
import sys
sys.modules["ipywidgets"] = None  # as where it is not installed
from unetkit.cli.console import ConsoleDisplay
from unetkit._shared.display import StepReport
display = ConsoleDisplay()
on_done = display.task("<decoding>", 2)
on_done(), on_done()
for step in range(1, 41):
    report = StepReport(step, 40, 93.0, 1 / step, 0.03, float(step), 40.0 - step)
    display.training_step(report)
    if step % 20 == 0:
        display.validated(report, {"validation_mean_iou": step / 100, "best_mean_iou": 0.5})
display.finish()
display.say("done")
"""
COMMAND = """
import sys
from unetkit.cli.console import ConsoleDisplay
from unetkit._shared.display import StepReport
display = ConsoleDisplay()
for step in range(1, 41):
    display.training_step(StepReport(step, 40, 93.0, 1 / step, 0.03, float(step), 40.0 - step))
display.finish()
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Outputs of a notebook's two cells: what Python shows there, and what a ! command does."""
    nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "command.py").write_text(COMMAND)
    cells = [NOTEBOOK, "!{sys.executable} command.py"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    return [cell.outputs for cell in notebook.cells]


class TestNotebook:
    def test_each_line_is_one_output_that_ends_as_the_last_state(self, outputs):
        assert [output.output_type for output in outputs[0]] == ["display_data"] * 3
        task, training, said = (output["data"] for output in outputs[0])
        assert task["text/plain"] == "<decoding>  2/2  0:00 gone"
        assert "&lt;decoding&gt;" in task["text/html"]
        assert training["text/plain"] == (
            "training  40/40  93 img/s  waiting  3%  loss 0.025  mIoU 0.400  best 0.500  0:40 gone"
        )
        assert '<progress value="40" max="40">' in training["text/html"]
        assert said["text/plain"] == "done\n"

    @pytest.mark.skipif(os.name == "nt", reason="! commands have no terminal on Windows")
    def test_a_command_of_a_notebook_stays_on_its_line(self, outputs):
        text = "".join(output.text for output in outputs[1])  # it may come in pieces
        assert text.count("\n") == 1
        assert "40/40" in frames(text)[-1]


class TestShow:
    PHOTO = np.full((60, 90, 3), (200, 10, 30), np.uint8)
    MASK = np.where(np.arange(90) < 45, 0, 1).astype(np.uint8) * np.ones((60, 1), np.uint8)

    def test_photo_and_classes_stand_side_by_side(self):
        console = terminal()
        draw_result(console, TRIMAP_CLASSES, "cat.jpg", self.PHOTO, self.MASK)
        caption, *rows = lines_of(console)
        assert caption == "cat.jpg: pet 50%, background 50%"
        # 39 columns for 90 pixels: 26 rows of pixels, two to a line
        assert len([row for row in rows if row]) == 13
        assert all("200;10;30" in row for row in rows[:13])  # the photo, and its background
        pet = [round((p + c) / 2) for p, c in zip((200, 10, 30), (230, 159, 0), strict=True)]
        assert any(";".join(map(str, pet)) in row for row in rows)

    def test_a_tall_image_is_no_higher_than_the_terminal(self):
        console = terminal(height=20)
        draw_result(
            console,
            TRIMAP_CLASSES,
            "tall.png",
            np.zeros((900, 20, 3), np.uint8),
            np.zeros((900, 20), np.uint8),
        )
        assert len(lines_of(console)) <= 20

    @pytest.mark.parametrize(
        ("console", "words"),
        [
            (Console(file=io.StringIO()), "this output is none"),
            (terminal(colours="standard"), "has standard colours"),
            (terminal(colours=None), "has no colours"),
            (terminal(colours="windows"), "has windows colours"),
        ],
    )
    def test_where_it_cannot_be_drawn_files_are_named(self, console, words):
        with pytest.raises(ConfigError, match=rf"{words}; accepted are .*--overlay"):
            require_colours(console)

    def test_a_terminal_with_colours_is_accepted(self):
        require_colours(terminal())
        require_colours(terminal(colours="256"))


def test_a_comparison_shows_each_metric_and_difference_with_its_interval():
    def figure(value):
        return {"mean_iou": {"value": value, "interval": [value - 0.01, value + 0.01]}}

    nan = {"value": float("nan"), "interval": [float("nan")] * 2}
    result = {
        "images": 12,
        "left_out": 3,
        "part": "test",
        "runs": [
            {"run": "one", "figures": figure(0.5) | {"iou: pet": nan}},
            {"run": "two", "figures": figure(0.6) | {"iou: pet": nan}},
        ],
        "differences": [{"run": "two", "figures": figure(0.1) | {"iou: pet": nan}}],
    }
    console = Console(file=io.StringIO(), width=120)
    console.print(comparison_table(result))
    text = console.file.getvalue()
    assert "12 test images; 3 not evaluated by all" in text
    for part in (
        "mean IoU",
        "0.5000",
        "0.4900 to 0.5100",
        "+0.1000",
        "+0.0900 to +0.1100",
        "absent",
    ):
        assert part in text
