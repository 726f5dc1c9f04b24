"""How the command line shows things: bars on a terminal, plain lines into a pipe, tables."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text  # a name may hold what rich would take for markup

from unetkit.display import Display
from unetkit.spec import ModelSpec

PLAIN_WIDTH = 120  # columns of tables in a pipe
SIZES_SHOWN = 4


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


def figures_table(result: Mapping[str, Any]) -> Table:
    """The figures of an evaluation: resolutions as columns, summed and averaged over images."""
    title = f"{result['pairs']} {result['part']} pairs, {result['preset']} network"
    table = Table(title=Text(title))
    table.add_column("figure")
    columns = [(r, way) for r in result["figures"] for way in ("summed", "mean_over_images")]
    for resolution, way in columns:
        label = "over all pixels" if way == "summed" else "mean over images"
        table.add_column(f"{resolution} resolution,\n{label}", justify="right")
    flat = [_flatten(result["figures"][r][way]) for r, way in columns]
    for name in flat[0]:
        table.add_row(Text(name), *(_figure(row[name]) for row in flat))
    return table


def _flatten(values: Mapping[str, Any]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in values.items():
        label = name.replace("_", " ").replace("iou", "IoU").replace("dice", "Dice")
        if isinstance(value, Mapping):
            flat |= {f"{label}: {k.replace('_', ' ')}": v for k, v in value.items()}
        else:
            flat[label] = value
    return flat


def _figure(value: float | None) -> str:
    return "absent" if value is None or value != value else f"{value:.4f}"


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
