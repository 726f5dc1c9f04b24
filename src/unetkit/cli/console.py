"""How the command line shows things: a line that moves, plain lines into a pipe, tables."""

import html
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text  # a name may hold what rich would take for markup
from rich_pixels import Pixels

from unetkit._shared.display import (
    Display,
    StepReport,
    clock_text,
    describe,
    speed_text,
    warning_line,
)
from unetkit._shared.pace import WAITING_LIMIT, Pace
from unetkit.data.classes import Classes
from unetkit.errors import ConfigError
from unetkit.visualization.overlays import overlay

PLAIN_WIDTH = 120  # columns of tables in a pipe
GAP = 2  # columns between two pictures
SHOWN_OF_HEIGHT = 0.7  # of the terminal's height, at most
LEAST_BAR, MOST_BAR = 8, 40  # columns
BETWEEN = 2  # columns between two fields of a line
TERMINAL_PAUSE, NOTEBOOK_PAUSE = 0.1, 0.5  # seconds between two drawings
SILENCE_SECONDS = 60.0  # the longest in a pipe


@dataclass(frozen=True)
class ProgressLine:
    """How far something is, on one line of whatever width there is.

    Args:
        done: Parts done.
        total: Parts in all.
        fields: What is shown, by name, from left to right; "bar" is the place of the bar.
        ranking: The same names, the most important first.
    """

    done: int
    total: int
    fields: Mapping[str, Text]
    ranking: tuple[str, ...]

    def fitted(self, width: int) -> dict[str, Text]:
        """Fields that fit into so many columns; the least important are left out first.

        Where not even two fit, a percentage stands for the numbers. Room that is left goes to the
        bar.
        """
        fields = {"share": Text(f"{self.done / max(1, self.total):.0%}"), **self.fields}
        known = [name for name in self.ranking if name in fields]
        choices = [known[:count] for count in range(len(known), 1, -1)]
        choices += [["share", *known[1:2]], ["share"]]
        needed = [sum(fields[n].cell_len + BETWEEN for n in names) - BETWEEN for names in choices]
        place = next((i for i, columns in enumerate(needed) if columns <= width), -1)
        chosen, room = choices[place], width - needed[place]
        if "bar" not in chosen and room >= LEAST_BAR + BETWEEN:
            chosen, room = [*chosen, "bar"], room - LEAST_BAR - BETWEEN
        fields["bar"] = Text(" " * min(MOST_BAR, LEAST_BAR + room))
        return {name: text for name, text in fields.items() if name in chosen}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        gap = Segment(" " * BETWEEN)
        for place, (name, text) in enumerate(self.fitted(options.max_width).items()):
            if place:
                yield gap
            if name == "bar":
                bar = ProgressBar(self.total, self.done, text.cell_len)
                drawn = list(console.render(bar, options))
                yield from Segment.adjust_line_length(drawn, text.cell_len)
            else:
                yield from text.render(console)
        yield Segment.line()

    @property
    def texts(self) -> list[str]:
        """All fields, the bar left out."""
        return [text.plain.strip() for name, text in self.fields.items() if name != "bar"]

    def to_html(self) -> str:
        """For notebooks, whose pages break lines where they must."""
        return (
            '<div style="font-family:monospace;white-space:pre-wrap">'
            f'<progress value="{self.done}" max="{self.total}"></progress>'
            f"  {html.escape('  '.join(self.texts))}</div>"
        )


def training_line(report: StepReport, scores: Mapping[str, float]) -> ProgressLine:
    """Where a training stands; what is not known yet is left out.

    Args:
        report: Of the last update.
        scores: Figures of the last look, or none.
    """

    def labelled(label: str, value: str, style: str = "") -> Text:
        return Text.assemble((f"{label} ", "dim"), (value, style))

    def named(value: str, name: str, style: str = "") -> Text:
        return Text.assemble((value, style), (f" {name}", "dim"))

    fields = {
        "name": Text("training"),
        "bar": Text(" " * LEAST_BAR),
        "step": Text(f"{report.step:{len(str(report.steps))}}/{report.steps}"),
    }
    if report.images_per_second is not None:
        fields["speed"] = named(f"{speed_text(report.images_per_second):>3}", "img/s")
    share = report.waiting_share
    waits = share is not None and share > WAITING_LIMIT
    if share is not None:
        fields["waiting"] = labelled("waiting", f"{share:3.0%}", "yellow" if waits else "")
    fields["loss"] = labelled("loss", f"{report.loss:.3f}")
    for key, name, style in (
        ("validation_mean_iou", "mIoU", "green"),
        ("averaged_mean_iou", "averaged", "green"),
        ("best_mean_iou", "best", "bold green"),
    ):
        if key in scores:
            fields[name] = labelled(name, f"{scores[key]:.3f}", style)
    fields["gone"] = named(clock_text(report.seconds_gone), "gone")
    if report.seconds_left is not None and report.step < report.steps:
        fields["left"] = named(clock_text(report.seconds_left), "left", "cyan")
    time_shown = "left" if "left" in fields else "gone"
    rest = ("speed", "waiting", "gone", "averaged", "name")
    first = ("step", time_shown, "mIoU", "loss", "best", *(("waiting",) if waits else ()), "bar")
    ranking = first + tuple(name for name in rest if name not in first)
    return ProgressLine(report.step, report.steps, fields, ranking)


def task_line(name: str, pace: Pace) -> ProgressLine:
    """How far a task is, as timed."""
    fields = {
        "name": Text(name),
        "bar": Text(" " * LEAST_BAR),
        "step": Text(f"{pace.done}/{pace.steps}"),
    }
    if pace.done >= pace.steps:
        fields["time"] = Text(f"{clock_text(pace.seconds_gone)} gone")
    elif pace.seconds_left is not None:
        fields["time"] = Text(f"{clock_text(pace.seconds_left)} left", "cyan")
    return ProgressLine(pace.done, pace.steps, fields, ("step", "bar", "time", "name"))


class ConsoleDisplay(Display):
    """Draws one line that moves on a terminal or in a notebook; into a pipe it prints lines.

    Args:
        console: Where to; by default standard output, or the notebook that this runs in.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = make_console() if console is None else console
        self._drawing: _TerminalDrawing | _NotebookDrawing | None = None
        self._line: Callable[[], ProgressLine] | None = None  # not drawn yet
        self._shown: object = None  # what the line is of
        self._drawn_at = 0.0
        self._scores: Mapping[str, float] = {}
        self._gone = self._printed_gone = 0.0

    def say(self, text: str) -> None:
        # Broken by the terminal, if need be, rather than by us: a command stays one when copied.
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        self.console.print(
            Text(warning_line(text), "yellow"),
            highlight=False,
            soft_wrap=not self.console.is_interactive,
        )

    def task(self, name: str, total: int) -> Callable[[], None]:
        self.finish()
        pace = Pace(total, total + 1)

        def advance() -> None:
            pace.step(1, 0.0)
            if self._shown is pace:
                self._draw(lambda: task_line(name, pace))

        if self._draws:
            self._shown = pace
            self._draw(lambda: task_line(name, pace))
        return advance

    def training_step(self, report: StepReport) -> None:
        if self._draws:
            self._draw_training(report)
            return
        # The next update comes after about as long as this one took.
        soon = 2 * report.seconds_gone - self._gone - self._printed_gone
        if not 0 <= soon < SILENCE_SECONDS:
            self._print(report, self._scores)
        self._gone = report.seconds_gone

    def validated(self, report: StepReport, figures: Mapping[str, float]) -> None:
        self._scores = {k: v for k, v in figures.items() if k.endswith("mean_iou")}
        if self._draws:
            self._draw_training(report, at_once=True)
        else:
            self._print(report, figures)

    def finish(self) -> None:
        if self._drawing is not None:
            if self._line is not None:
                self._drawing.draw(self._line())
            self._drawing.close()
        self._drawing = self._line = self._shown = None
        self._scores, self._drawn_at, self._gone, self._printed_gone = {}, 0.0, 0.0, 0.0

    @property
    def _draws(self) -> bool:
        return self.console.is_interactive or self.console.is_jupyter

    def _print(self, report: StepReport, figures: Mapping[str, float]) -> None:
        self.say(describe(report, figures))
        self._gone = self._printed_gone = report.seconds_gone

    def _draw_training(self, report: StepReport, *, at_once: bool = False) -> None:
        if self._shown != "training":
            self.finish()
            self._shown = "training"
        self._draw(lambda: training_line(report, self._scores), at_once=at_once)

    def _draw(self, line: Callable[[], ProgressLine], *, at_once: bool = False) -> None:
        """Draws a line, or keeps it for later if another was drawn a moment ago."""
        pause = NOTEBOOK_PAUSE if self.console.is_jupyter else TERMINAL_PAUSE
        if not at_once and self._drawing and time.monotonic() - self._drawn_at < pause:
            self._line = line
            return
        if self._drawing is None:
            in_notebook = self.console.is_jupyter
            self._drawing = _NotebookDrawing() if in_notebook else _TerminalDrawing(self.console)
        self._drawing.draw(line())
        self._line, self._drawn_at = None, time.monotonic()


class _TerminalDrawing:
    """One line at the bottom, above which other lines may be printed."""

    def __init__(self, console: Console) -> None:
        # One line, not two: the terminal that a notebook gives its ! commands cannot go up.
        self._live = Live(console=console, auto_refresh=False)

    def draw(self, line: ProgressLine) -> None:
        self._live.update(line)
        self._live.start()
        self._live.refresh()

    def close(self) -> None:
        self._live.stop()


class _NotebookDrawing:
    """One output of a cell that is replaced; rich itself would need ipywidgets for that."""

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, line: ProgressLine) -> None:
        from IPython.display import display

        output = {"text/plain": "  ".join(line.texts), "text/html": line.to_html()}
        if self._handle is None:
            self._handle = display(output, raw=True, display_id=True)
        else:
            self._handle.update(output, raw=True)

    def close(self) -> None:
        """The last line stays."""


def make_console(*, stderr: bool = False) -> Console:
    """A console that is not cut to 80 columns where there is no terminal."""
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console = Console(stderr=stderr, width=PLAIN_WIDTH)
    # FORCE_COLOR may ask for colours in a pipe; a line that moves has no place in one.
    console.is_interactive = console.is_interactive and console.file.isatty()
    return console


def require_colours(console: Console) -> None:
    """Refuses to draw where pictures would come out as noise.

    Raises:
        ConfigError: The output is no terminal, or one of fewer than 256 colours.
    """
    if not console.is_terminal or console.color_system not in ("256", "truecolor"):
        where = f"has {console.color_system or 'no'} colours" if console.is_terminal else "is none"
        raise ConfigError(
            f"--show draws in a terminal, and this output {where}; accepted are terminals of 256 "
            "colours or more; leave it out, and write pictures with --overlay"
        )


def draw_result(
    console: Console, classes: Classes, name: str, photo: np.ndarray, mask: np.ndarray
) -> None:
    """Draws a photo and its classes side by side, two pixels a letter.

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) uint8 class indices.
    """
    height, width = mask.shape
    columns = (console.width - GAP) // 2
    shrink = min(columns / width, SHOWN_OF_HEIGHT * 2 * console.height / height)
    size = max(1, round(width * shrink)), max(2, round(height * shrink))
    sheet = Image.new("RGBA", (2 * size[0] + GAP, size[1]))
    for place, picture in enumerate((photo, overlay(photo, mask, classes))):
        shown = Image.fromarray(picture).resize(size, Image.Resampling.BOX)
        sheet.paste(shown, (place * (size[0] + GAP), 0))
    console.print(Text(f"{name}: {', '.join(_shares(mask, classes))}"))
    console.print(Pixels.from_image(sheet))


def _shares(mask: np.ndarray, classes: Classes) -> list[str]:
    counts = np.bincount(mask.ravel(), minlength=len(classes)) / mask.size
    return [f"{n} {share:.0%}" for n, share in zip(classes.names, counts, strict=True) if share]
