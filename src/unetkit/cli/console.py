"""Display of the command line: a progress line in terminals and notebooks, plain lines in pipes.

Tables are in `tables`.
"""

import html
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, Segment
from rich.text import Text
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
from unetkit._shared.wording import printable
from unetkit.data.classes import Classes
from unetkit.errors import ConfigError
from unetkit.visualization.overlays import lay_over

PLAIN_WIDTH = 120  # columns of tables in a pipe
GAP = 2  # columns between two images
LARGEST_HEIGHT = 0.7  # fraction of the terminal's height for an image
LEAST_BAR, MOST_BAR = 8, 40  # columns
SPACE = 2  # columns between two fields of a line
TERMINAL_PAUSE, NOTEBOOK_PAUSE = 0.1, 0.5  # seconds between two drawings
WAITING_PAUSE = 0.25  # seconds between two drawings of a line that only shows the time
LONGEST_PAUSE = 60.0  # seconds between two lines in a pipe


@dataclass(frozen=True)
class ProgressLine:
    """Progress on one line, which adapts to the available width.

    Args:
        done: Number of finished parts.
        total: Number of all parts.
        fields: Texts by name, from left to right; "bar" is the place of the progress bar.
        ranking: Names of the fields, the most important first.
    """

    done: int
    total: int
    fields: Mapping[str, Text]
    ranking: tuple[str, ...]

    def fitted(self, width: int) -> dict[str, Text]:
        """Fields that fit into a number of columns, without the least important ones.

        If fewer than two fields fit, a percentage replaces the numbers. The bar gets the remaining
        columns.
        """
        fields = {"percent": Text(f"{self.done / max(1, self.total):.0%}"), **self.fields}
        known = [name for name in self.ranking if name in fields]
        choices = [known[:count] for count in range(len(known), 1, -1)]
        choices += [["percent", *known[1:2]], ["percent"]]
        needed = [sum(fields[n].cell_len + SPACE for n in names) - SPACE for names in choices]
        place = next((i for i, columns in enumerate(needed) if columns <= width), -1)
        chosen, room = choices[place], width - needed[place]
        if "bar" not in chosen and room >= LEAST_BAR + SPACE:
            chosen, room = [*chosen, "bar"], room - LEAST_BAR - SPACE
        fields["bar"] = Text(" " * min(MOST_BAR, LEAST_BAR + room))
        return {name: text for name, text in fields.items() if name in chosen}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        gap = Segment(" " * SPACE)
        for place, (name, text) in enumerate(self.fitted(options.max_width).items()):
            if place:
                yield gap
            if name == "bar":
                drawn = list(console.render(self._bar(console, text.cell_len), options))
                yield from Segment.adjust_line_length(drawn, text.cell_len)
            else:
                yield from text.render(console)
        yield Segment.line()

    def _bar(self, console: Console, width: int) -> ProgressBar | Text:
        """A bar of so many columns; without colours, what is left has other characters."""
        if not console.no_color and console.color_system is not None:
            return ProgressBar(self.total, self.done, width)
        done = round(width * min(1.0, self.done / max(1, self.total)))
        full, left = ("#", ".") if console.options.ascii_only else ("━", "┄")
        return Text(full * done + left * (width - done), end="")

    @property
    def texts(self) -> list[str]:
        """Texts of all fields but the bar."""
        return [text.plain.strip() for name, text in self.fields.items() if name != "bar"]

    def to_html(self) -> str:
        """HTML for notebooks, which break long lines."""
        return (
            '<div style="font-family:monospace;white-space:pre-wrap">'
            f'<progress value="{self.done}" max="{self.total}"></progress>'
            f"  {html.escape('  '.join(self.texts))}</div>"
        )


def training_line(report: StepReport, scores: Mapping[str, float]) -> ProgressLine:
    """Progress line of a training, without unknown values.

    Args:
        report: Progress after the last update.
        scores: Metrics of the last validation pass; empty before the first.
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
    done, total = report.step, report.steps
    if not report.steps:  # known after a tenth of the time
        fields["step"] = Text(f"{report.step}")
        done = round(report.seconds_gone)
        total = done + round(report.seconds_left or 0)
    if report.images_per_second is not None:
        fields["speed"] = named(f"{speed_text(report.images_per_second):>3}", "img/s")
    fraction = report.waiting_share
    waits = fraction is not None and fraction > WAITING_LIMIT
    if fraction is not None:
        fields["waiting"] = labelled("waiting", f"{fraction:3.0%}", "yellow" if waits else "")
    fields["loss"] = labelled("loss", f"{report.loss:.3f}")
    for key, name, style in (
        ("validation_mean_iou", "mIoU", "green"),
        ("averaged_mean_iou", "averaged", "green"),
        ("best_mean_iou", "best", "bold green"),
    ):
        if key in scores:
            fields[name] = labelled(name, f"{scores[key]:.3f}", style)
    fields["gone"] = named(clock_text(report.seconds_gone), "gone")
    if report.seconds_left is not None and done < total:
        fields["left"] = named(clock_text(report.seconds_left), "left", "cyan")
    time_shown = "left" if "left" in fields else "gone"
    rest = ("speed", "waiting", "gone", "averaged", "name")
    first = ("step", time_shown, "mIoU", "loss", "best", *(("waiting",) if waits else ()), "bar")
    ranking = first + tuple(name for name in rest if name not in first)
    return ProgressLine(done, total, fields, ranking)


def task_line(name: str, pace: Pace) -> ProgressLine:
    """Progress line of a task."""
    fields = {
        "name": shown(name),
        "bar": Text(" " * LEAST_BAR),
        "step": Text(f"{pace.done}/{pace.steps}"),
    }
    if pace.done >= pace.steps:
        fields["time"] = Text(f"{clock_text(pace.seconds_gone)} gone")
    elif pace.seconds_left is not None:
        fields["time"] = Text(f"{clock_text(pace.seconds_left)} left", "cyan")
    return ProgressLine(pace.done, pace.steps, fields, ("step", "bar", "time", "name"))


class ConsoleDisplay(Display):
    """A display with a progress line in a terminal or notebook, and plain lines in a pipe.

    Args:
        console: Console to draw on; by default standard output, or the current notebook.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = make_console() if console is None else console
        self._drawing: _TerminalDrawing | _NotebookDrawing | None = None
        self._waiting: _WaitingLine | None = None
        self._line: Callable[[], ProgressLine] | None = None  # waits to be drawn
        self._shown: object = None  # owner of the line
        self._drawn_at = 0.0
        self._scores: Mapping[str, float] = {}
        self._gone = self._printed_gone = 0.0

    def say(self, text: str) -> None:
        # Long lines are left to the terminal to break, so that a command can be copied.
        with self._waiting.away() if self._waiting else nullcontext():
            self.console.print(shown(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        with self._waiting.away() if self._waiting else nullcontext():
            self.console.print(
                shown(warning_line(text), "yellow"), soft_wrap=not self.console.is_interactive
            )

    def waiting(self, text: str) -> None:
        self.finish()
        if self.console.is_interactive:
            self._waiting = _WaitingLine(self.console, text)
        elif not self.console.stderr:  # beside JSON, only what matters is said
            self.say(text)

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
        # The next update will probably take as long as this one.
        soon = 2 * report.seconds_gone - self._gone - self._printed_gone
        if not 0 <= soon < LONGEST_PAUSE:
            self._print(report, self._scores)
        self._gone = report.seconds_gone

    def validated(self, report: StepReport, metrics: Mapping[str, float]) -> None:
        self._scores = {k: v for k, v in metrics.items() if k.endswith("mean_iou")}
        if self._draws:
            self._draw_training(report, at_once=True)
        else:
            self._print(report, metrics)

    def finish(self) -> None:
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None
        if self._drawing is not None:
            if self._line is not None:
                self._drawing.draw(self._line())
            self._drawing.close()
        self._drawing = self._line = self._shown = None
        self._scores, self._drawn_at, self._gone, self._printed_gone = {}, 0.0, 0.0, 0.0

    @property
    def _draws(self) -> bool:
        return self.console.is_interactive or self.console.is_jupyter

    def _print(self, report: StepReport, metrics: Mapping[str, float]) -> None:
        self.say(describe(report, metrics))
        self._gone = self._printed_gone = report.seconds_gone

    def _draw_training(self, report: StepReport, *, at_once: bool = False) -> None:
        if self._shown != "training":
            self.finish()
            self._shown = "training"
        self._draw(lambda: training_line(report, self._scores), at_once=at_once)

    def _draw(self, line: Callable[[], ProgressLine], *, at_once: bool = False) -> None:
        """Draws a line, or keeps it for later if one was drawn shortly before."""
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
    """A line at the bottom of a terminal, with other lines printed above it."""

    def __init__(self, console: Console) -> None:
        # One line, not two: the terminal of a notebook's ! commands cannot move the cursor up.
        self._live = Live(console=console, auto_refresh=False)

    def draw(self, line: ProgressLine) -> None:
        self._live.update(line)
        self._live.start()
        self._live.refresh()

    def close(self) -> None:
        self._live.stop()


class _WaitingLine:
    """A line with the time since its start, drawn by a thread, as nothing else draws meanwhile.

    It is erased at the end. `rich.live.Live` would move the cursor up for that, which the terminal
    of a notebook's ! commands cannot.
    """

    def __init__(self, console: Console, text: str) -> None:
        self._console, self._text, self._started = console, text, time.monotonic()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._draw()
        self._thread = threading.Thread(target=self._draw_often, daemon=True)
        self._thread.start()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Erases the line while another one is printed."""
        with self._lock:
            self._erase()
            yield
            self._draw()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._erase()

    def _draw_often(self) -> None:
        while not self._ended.wait(WAITING_PAUSE):
            with self._lock:
                self._erase()
                self._draw()

    def _draw(self) -> None:
        seconds = time.monotonic() - self._started
        line = Text.assemble(printable(self._text), "  ", (clock_text(seconds), "cyan"))
        line.truncate(self._console.width - 1)
        self._console.print(line, end="")

    def _erase(self) -> None:
        self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))


class _NotebookDrawing:
    """An output of a notebook cell that is replaced, which rich needs ipywidgets for."""

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
        """Leaves the last line in the notebook."""


def shown(text: str, style: str = "") -> Text:
    """Text that may come from outside, on one line, without markup and control characters."""
    return Text(printable(text), style)


class GatedConsole(Console):
    """A console that writes no control characters but its own.

    What `shown` has not made printable before the layout is escaped here, except ends of lines.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Renders anything to segments, whose text is printable."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            if control or text.isprintable():
                yield segment
            else:
                yield Segment("\n".join(map(printable, text.split("\n"))), style)


def make_console(*, stderr: bool = False) -> Console:
    """A console, which is wider than 80 columns if the output is no terminal."""
    console = GatedConsole(stderr=stderr)
    if not console.is_terminal:
        console = GatedConsole(stderr=stderr, width=PLAIN_WIDTH)
    # FORCE_COLOR may enable colours in a pipe, but never a progress line.
    console.is_interactive = console.is_interactive and console.file.isatty()
    return console


def require_colours(console: Console) -> None:
    """Checks that a console can draw images.

    Raises:
        ConfigError: The output is no terminal, or has fewer than 256 colours.
    """
    if not console.is_terminal or console.color_system not in ("256", "truecolor"):
        where = f"has {console.color_system or 'no'} colours" if console.is_terminal else "is none"
        raise ConfigError(
            f"--show draws in a terminal, and this output {where}; accepted are terminals with 256 "
            "colours or more; to write images instead, use --overlay"
        )


def draw_result(
    console: Console, classes: Classes, name: str, photo: np.ndarray, mask: np.ndarray
) -> None:
    """Draws an image and its classes side by side, with two pixels per character.

    Args:
        console: Console to draw on.
        classes: Classes of the mask.
        name: Name to print above the image.
        photo: Image, (H, W, 3) uint8.
        mask: Class indices, (H, W) uint8.
    """
    height, width = mask.shape
    columns = (console.width - GAP) // 2
    shrink = min(columns / width, LARGEST_HEIGHT * 2 * console.height / height)
    size = max(1, round(width * shrink)), max(2, round(height * shrink))
    sheet = Image.new("RGBA", (2 * size[0] + GAP, size[1]))
    for place, image in enumerate((photo, lay_over(photo, mask, classes))):
        small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
        sheet.paste(small, (place * (size[0] + GAP), 0))
    console.print(shown(f"{name}: {', '.join(_fractions(mask, classes))}"))
    console.print(Pixels.from_image(sheet))


def _fractions(mask: np.ndarray, classes: Classes) -> list[str]:
    counts = np.bincount(mask.ravel(), minlength=len(classes)) / mask.size
    return [f"{n} {part:.0%}" for n, part in zip(classes.names, counts, strict=True) if part]
