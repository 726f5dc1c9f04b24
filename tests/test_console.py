"""Pictures in a terminal, and tables of runs side by side."""

import io

import numpy as np
import pytest
from rich.console import Console

from unetkit.classes import TRIMAP_CLASSES
from unetkit.console import comparison_table, draw_result, require_colours
from unetkit.errors import ConfigError


def terminal(*, colours="truecolor", width=80, height=40):
    return Console(
        file=io.StringIO(), force_terminal=True, color_system=colours, width=width, height=height
    )


def lines_of(console):
    return console.file.getvalue().splitlines()


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

    def test_a_tall_picture_is_no_higher_than_the_terminal(self):
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


def test_a_comparison_shows_each_figure_and_difference_with_its_interval():
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
    assert "12 test images; 3 not scored by all" in text
    for part in (
        "mean IoU",
        "0.5000",
        "0.4900 to 0.5100",
        "+0.1000",
        "+0.0900 to +0.1100",
        "absent",
    ):
        assert part in text
