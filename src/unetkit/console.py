"""How the command line shows things: bars on a terminal, plain lines into a pipe, tables."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text  # a name may hold what rich would take for markup
from rich_pixels import Pixels

from unetkit.bootstrap import flatten
from unetkit.classes import Classes
from unetkit.display import Display
from unetkit.errors import ConfigError
from unetkit.metrics import figure_name
from unetkit.outputs import overlay
from unetkit.spec import ModelSpec

PLAIN_WIDTH = 120  # columns of tables in a pipe
SIZES_SHOWN = 4
GAP = 2  # columns between two pictures
SHOWN_OF_HEIGHT = 0.7  # of the terminal's height, at most


class ConsoleDisplay(Display):
    """Draws one bar at a time on a terminal; without one it prints a line for each event."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._training: Any = None
        self._started = 0.0

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def task(self, name: str, total: int) -> Callable[[], None]:
        self.finish()
        if not self.console.is_terminal:
            return lambda: None
        progress = self._start(TextColumn("{task.completed}/{task.total}"))
        task = progress.add_task(name, total=total)
        return lambda: progress.advance(task)

    def training_step(self, step: int, total: int, images: int, loss: float) -> None:
        if step == 1:
            self.finish()
            self._started = time.monotonic()
            if self.console.is_terminal:
                progress = self._start(
                    MofNCompleteColumn(),
                    TextColumn("{task.fields[speed]}"),
                    TextColumn("{task.fields[loss]}"),
                    TextColumn("{task.fields[miou]}"),
                )
                self._training = progress.add_task(
                    "training", total=total, speed="", loss="", miou=""
                )
        elif self._progress is not None:
            seconds = time.monotonic() - self._started
            self._progress.update(
                self._training,
                completed=step,
                speed=f"{(step - 1) * images / seconds:.0f} img/s",
                loss=f"loss {loss:.3f}",
            )

    def validated(self, step: int, total: int, figures: Mapping[str, float]) -> None:
        iou, best = figures["validation_mean_iou"], figures["best_mean_iou"]
        if self._progress is not None:
            self._progress.update(self._training, miou=f"mIoU {iou:.3f} (best {best:.3f})")
            return
        seconds = time.monotonic() - self._started
        left = seconds / step * (total - step)
        self.say(
            f"step {step}/{total}: loss {figures['loss']:.3f}, validation loss "
            f"{figures['validation_loss']:.3f}, accuracy {figures['validation_accuracy']:.3f}, "
            f"mIoU {iou:.3f} (best {best:.3f}); "
            f"{_minutes(seconds)} gone, {_minutes(left)} left"
        )

    def finish(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _start(self, *columns: Any) -> Progress:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            *columns,
            TimeRemainingColumn(),
            console=self.console,
        )
        self._progress.start()
        return self._progress


def make_console(*, stderr: bool = False) -> Console:
    """A console that is not cut to 80 columns where there is no terminal."""
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console = Console(stderr=stderr, width=PLAIN_WIDTH)
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


def figures_table(result: Mapping[str, Any]) -> Table:
    """The figures of an evaluation: resolutions as columns, summed and averaged over images."""
    title = f"{result['pairs']} {result['part']} pairs, {result['preset']} network"
    table = Table(title=Text(title))
    table.add_column("figure")
    columns = [(r, way) for r in result["figures"] for way in ("summed", "mean_over_images")]
    for resolution, way in columns:
        label = "over all pixels" if way == "summed" else "mean over images"
        table.add_column(f"{resolution} resolution,\n{label}", justify="right")
    flat = [flatten(result["figures"][r][way]) for r, way in columns]
    for path in flat[0]:
        table.add_row(Text(figure_name(path)), *(_figure(row[path]) for row in flat))
    return table


def _figure(value: float | None) -> str:
    return "absent" if value is None or value != value else f"{value:.4f}"


def comparison_table(result: Mapping[str, Any]) -> Table:
    """Runs as columns, figures as rows; of later runs also the difference from the first."""
    first, *others = result["runs"]
    left_out = f"; {result['left_out']} not scored by all" if result["left_out"] else ""
    table = Table(title=Text(f"{result['images']} {result['part']} images{left_out}"))
    table.add_column("over all pixels,\nmasks' resolution")
    table.add_column(Text(first["run"]), justify="right")
    for run in others:
        table.add_column(Text(run["run"]), justify="right")
        table.add_column(Text(f"{run['run']}\nminus {first['run']}"), justify="right")
    for name, found in first["figures"].items():
        cells = [_with_interval(found)]
        for run, row in zip(others, result["differences"], strict=True):
            cells += [
                _with_interval(run["figures"][name]),
                _with_interval(row["figures"][name], "+"),
            ]
        table.add_row(Text(figure_name(name.split(": "))), *cells)
    return table


def _with_interval(found: Mapping[str, Any], sign: str = "") -> str:
    value, (low, high) = found["value"], found["interval"]
    if value != value:
        return "absent"
    return f"{value:{sign}.4f}\n{low:{sign}.4f} to {high:{sign}.4f}"


def holdings_table(report: Mapping[str, Any]) -> Table:
    """What a data set holds, a fact a row."""
    table = Table(title=Text(f"{report['data']}: {report['usable']} of {report['pairs']} pairs"))
    table.title_justify = "left"
    table.add_column("what")
    table.add_column("figures")
    images = report["images"]
    shown = images["sizes"][:SIZES_SHOWN]
    sizes = ", ".join("{}x{} ({})".format(*row["size"], row["images"]) for row in shown)
    others = images["num_sizes"] - len(shown)
    rows = [
        ("masks in", report["masks"]),
        ("sizes", sizes + (f" and {others} other sizes" if others else "")),
        ("images", f"{_tally(images['formats'])}; {_tally(images['dtypes'])}"),
        ("channels", _tally(images["channels"])),
        ("pixel values", images["levels"] or "not certain"),
        ("mask kind", report["kind"] or "not certain"),
    ]
    for row in report["classes"]:
        shares = f"{row['pixels']:.2%} of the pixels, in {row['images']:.1%} of the images"
        name = row["name"] if row["value"] in (row["name"], "") else f"{row['value']} {row['name']}"
        rows.append((f"  {name}", shares))
    for row in report["objects"]:
        least, middle, most = row["per_image"]
        low, median, high = row["area"]
        rows.append(
            (
                row["what"],
                f"{row['count']}, {least} to {most} an image (median {middle:g}); of {low:.0f} to "
                f"{high:.0f} pixels (5 % to 95 %, median {median:.0f})",
            )
        )
    if report["split"]:
        rows.append(("split", ", ".join(f"{n} {part}" for part, n in report["split"].items())))
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    return table


def _tally(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def findings_table(report: Mapping[str, Any]) -> Table | Text:
    """What was found, and what to do."""
    if not report["findings"]:
        return Text("nothing was found that should be mended")
    table = Table(show_lines=True)
    table.add_column("level")
    table.add_column("what was found")
    table.add_column("what to do")
    styles = {"error": "bold red", "warning": "yellow", "note": ""}
    for finding in report["findings"]:
        table.add_row(
            Text(finding["level"], style=styles[finding["level"]]),
            Text(finding["text"]),
            Text(finding["remedy"]),
        )
    return table


def describe_model(spec: ModelSpec, path: str, size: int) -> Table:
    """What a model is, a fact a row."""
    geometry = spec.geometry
    table = Table(show_header=False, box=None)
    sizes = f"{geometry.smallest_input} + {geometry.stride} k"
    for name, fact in (
        ("file", f"{path} ({size / 1e6:.1f} MB)"),
        ("preset", spec.preset),
        ("parameters", f"{spec.parameters:,}"),
        ("pixels", spec.pixels.describe()),
        ("classes", ", ".join(f"{i} {name}" for i, name in enumerate(spec.classes.names))),
        ("scale", spec.scale.describe()),
        (
            "normalization",
            f"levels to 0 and 255, times {spec.normalization.multiply:.6g}, "
            f"plus {spec.normalization.add:g} (inside the file)",
        ),
        ("masks", f"{spec.classes.kind}: {spec.classes.describe()}"),
        ("network sizes", f"{sizes}, stride {geometry.stride}, margin {geometry.margin}"),
        (
            "reach",
            f"{geometry.reach_before} pixels up and left, {geometry.reach_after} down and right",
        ),
    ):
        table.add_row(name, Text(fact))
    return table


def layers_table(spec: ModelSpec) -> Table:
    """The network's summary: a layer a row."""
    table = Table()
    table.add_column("layer")
    table.add_column("type")
    table.add_column("output shape")
    table.add_column("parameters", justify="right")
    for layer in spec.layers:
        shape = ", ".join("?" if n is None else str(n) for n in layer.output_shape)
        table.add_row(Text(layer.name), Text(layer.kind), f"({shape})", f"{layer.parameters:,}")
    table.add_section()
    table.add_row("total", "", "", f"{spec.parameters:,}")
    return table


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
