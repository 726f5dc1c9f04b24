"""Tables for the terminal: metrics, issues, models, runs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from rich import box
from rich.table import Column, Table
from rich.text import Text

from unetkit._shared.wording import format_count
from unetkit.cli.console import shown
from unetkit.evaluation.tables import metric_table
from unetkit.metrics.confusion import metric_name
from unetkit.models.int8_card import Int8Card
from unetkit.models.spec import ModelSpec

SIZES_SHOWN = 4


def metrics_table(result: Mapping[str, Any]) -> Table:
    """Metrics of an evaluation, over all pixels and averaged over images, at each resolution."""
    of_part = "" if result["part"] == "all" else f"{result['part']} "
    pairs = format_count(result["pairs"], f"{of_part}pair")
    title = f"{pairs}, {result['preset']} network"
    found = metric_table(result, lambda cell: _figure(cell[0]))
    table = Table("metric", title=shown(title))
    for resolution, way in found.columns:
        table.add_column(f"{resolution},\n{way}", justify="right")
    for name, cells in found.rows:
        table.add_row(shown(name), *(_figure(value) for value, _ in cells))
    return table


def metrics_to_quote(result: Mapping[str, Any]) -> list[str]:
    """Lines with the metrics to quote and their intervals, the most important first."""
    rows = [
        (metric_name((row["metric"],)), _figure(row["value"]), _interval(row["interval"]))
        for row in result["headline"]
    ]
    width = max(len(name) for name, _, _ in rows)
    images = format_count(result["pairs"], "image")
    coverage = f"; 95 % intervals over {images}" if result["intervals"] else ""
    lines = [f"to quote, over all pixels at the masks' resolution{coverage}:"]
    return lines + [f"  {name:{width}}  {value}{bounds}" for name, value, bounds in rows]


def _interval(pair: Sequence[float] | None) -> str:
    if not pair or pair[0] is None or pair[0] != pair[0]:
        return ""
    return f"  {pair[0]:.4f} to {pair[1]:.4f}"


def _figure(value: float | None) -> str:
    return "absent" if value is None or value != value else f"{value:.4f}"


def comparison_table(result: Mapping[str, Any]) -> Table:
    """Metrics of runs, and their differences from the first run."""
    first, *others = result["runs"]
    left_out = f"; {result['left_out']} not evaluated by all" if result["left_out"] else ""
    title = shown(f"{format_count(result['images'], result['part'] + ' image')}{left_out}")
    table = Table("over all pixels,\nmasks' resolution", title=title)
    table.add_column(shown(first["run"]), justify="right")
    for run in others:
        table.add_column(shown(run["run"]), justify="right")
        table.add_column(
            Text.assemble(shown(run["run"]), "\nminus ", shown(first["run"])), justify="right"
        )
    for name, found in first["figures"].items():
        cells = [_with_interval(found)]
        for run, row in zip(others, result["differences"], strict=True):
            figures, differences = run["figures"], row["figures"]
            cells += [_with_interval(figures[name]), _with_interval(differences[name], "+")]
        table.add_row(shown(metric_name(name.split(": "))), *cells)
    return table


def _with_interval(found: Mapping[str, Any], sign: str = "") -> str:
    value, (low, high) = found["value"], found["interval"]
    if value != value:
        return "absent"
    return f"{value:{sign}.4f}\n{low:{sign}.4f} to {high:{sign}.4f}"


def dataset_table(report: Mapping[str, Any]) -> Table:
    """Content of a data set, one row per fact."""
    title = shown(
        f"{report['data']}: {report['usable']} of {format_count(report['pairs'], 'pair')}"
    )
    table = Table("what", "value", title=title, title_justify="left")
    images = report["images"]
    listed = images["sizes"][:SIZES_SHOWN]
    sizes = ", ".join("{}x{} ({})".format(*row["size"], row["images"]) for row in listed)
    others = images["num_sizes"] - len(listed)
    rows = [
        ("masks in", report["masks"]),
        ("sizes", sizes + (f" and {format_count(others, 'other size')}" if others else "")),
        ("images", "; ".join(filter(None, map(_tally, (images["formats"], images["dtypes"]))))),
        ("channels", _tally(images["channels"])),
        ("pixel values", images["levels"] or "uncertain"),
        ("mask kind", report["kind"] or "uncertain"),
    ]
    for row in report["classes"]:
        fractions = f"{row['pixels']:.2%} of the pixels, in {row['images']:.1%} of the images"
        name = row["name"] if row["value"] in (row["name"], "") else f"{row['value']} {row['name']}"
        rows.append((f"  {name}", fractions))
    for row in report["objects"]:
        least, middle, most = row["per_image"]
        low, median, high = row["area"]
        text = (
            f"{row['count']}, {least} to {most} per image (median {middle:g}); of {low:.0f} to "
            f"{high:.0f} pixels (5 % to 95 %, median {median:.0f})"
        )
        rows.append((row["what"], text))
    if report["split"]:
        rows.append(("split", ", ".join(f"{n} {part}" for part, n in report["split"].items())))
    for name, text in rows:
        if text:  # nothing is known of images that cannot be read
            table.add_row(shown(name), shown(text))
    return table


def _tally(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def issues_table(report: Mapping[str, Any]) -> Table | Text:
    """Issues of a data set, and what to do."""
    if not report["findings"]:
        return shown("no issues found")
    texts = (Column(name, overflow="fold") for name in ("issue", "what to do"))  # never cut
    table = Table("level", Column("code", no_wrap=True), *texts, show_lines=True)
    styles = {"error": "bold red", "warning": "yellow", "note": ""}
    for issue in report["findings"]:
        level = shown(issue["level"], styles[issue["level"]])
        table.add_row(level, shown(issue["code"]), shown(issue["text"]), shown(issue["remedy"]))
    return table


NOT_CHECKABLE = "not checkable (earlier versions and other programs store no SHA-256)"


def describe_model(
    spec: ModelSpec, path: str, size: int, is_checkable: bool, card: Int8Card | None = None
) -> Table:
    """Description of a model, one row per fact."""
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
            f"pixel values scaled to 0 to 255, times {spec.normalization.multiply:.6g}, "
            f"plus {spec.normalization.add:g} (inside the file)",
        ),
        ("masks", f"{spec.classes.kind}: {spec.classes.describe()}"),
        ("network sizes", f"{sizes}, stride {geometry.stride}, margin {geometry.margin}"),
        (
            "receptive field",
            f"{geometry.reach_before} pixels up and left, {geometry.reach_after} down and right",
        ),
        ("int8", f"rounded from {card.original[:12]}: {card.describe()}" if card else None),
        ("SHA-256", "verified" if is_checkable else NOT_CHECKABLE),
    ):
        if fact is None:
            continue
        table.add_row(name, shown(fact))
    return table


def layers_table(spec: ModelSpec) -> Table:
    """Summary of a network, one row per layer."""
    table = Table("layer", "type", "output shape", Column("parameters", justify="right"))
    for layer in spec.layers:
        shape = ", ".join("?" if n is None else str(n) for n in layer.output_shape)
        table.add_row(shown(layer.name), shown(layer.kind), f"({shape})", f"{layer.parameters:,}")
    table.add_section()
    table.add_row("total", "", "", f"{spec.parameters:,}")
    return table


SHOWN_DIFFERENCES = 10


def verification_table(result: Mapping[str, Any]) -> Table:
    """Differences between a run and a new training, one row per fact."""
    table = Table(show_header=False, box=None)
    table.add_row("run", shown(f"{result['run']}: {result['state']}"))
    data = result["data"]
    where = f"{format_count(data['pairs'], 'pair')} in {data['path']}"
    if data["problem"]:
        table.add_row("data", shown(data["problem"]))
    elif data["same"]:
        table.add_row("data", shown(f"{where}: unchanged"))
    else:
        rows = _differences(data)
        table.add_row("data", shown(f"{where}: {format_count(rows, 'difference')}"))
        for text in rows[:SHOWN_DIFFERENCES]:
            table.add_row("", shown(text))
        if len(rows) > SHOWN_DIFFERENCES:
            table.add_row("", f"... and {len(rows) - SHOWN_DIFFERENCES} more; --json lists all")
    other = [row for row in result["environment"] if not row["same"]]
    here = {row["what"]: row["now"] for row in result["environment"]}
    if not any(row["effect"] for row in other):
        machine = (
            f"{here['processor']}, {format_count(int(here['cores']), 'core')}, {here['device']}"
        )
        text = f"versions, machine, threads and device unchanged: {machine}"
        table.add_row("environment", shown(text))
    for row in other:
        then, now = ("none" if row[when] is None else row[when] for when in ("then", "now"))
        note = "" if row["effect"] else " (without effect)"
        table.add_row("environment", shown(f"{row['what']}: {then} then, {now} now{note}"))
    whole = [row["name"] for row in result["files"] if not row["problem"]]
    table.add_row("files", shown(f"undamaged: {', '.join(whole)}"))
    unknown = [row["name"] for row in result["files"] if row["checkable"] is False]
    if unknown:
        table.add_row("", shown(f"{NOT_CHECKABLE}: {', '.join(unknown)}"))
    for row in result["files"]:
        if row["problem"]:
            table.add_row("", shown(f"{row['name']}: {row['problem']}"))
    return table


def _differences(data: Mapping[str, Any]) -> list[str]:
    """One line per file or pair that has changed."""
    return [
        *(f"changed  {row['file']} ({row['part']})" for row in data["changed"]),
        *(f"missing  {row['name']} ({row['part']}): {row['why']}" for row in data["missing"]),
        *(f"new      {row['file']}" for row in data["new"]),
        *(f"moved    {row['name']}: {row['then']} then, {row['now']} now" for row in data["moved"]),
    ]


def runs_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Runs, one per row, in at most 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("run", "preset", "data"):
        table.add_column(name, overflow="fold")
    table.add_column("state", no_wrap=True)
    for name in ("steps", "min", "best\nval.\nmIoU", "test\nmIoU"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        scores = [row["mean_iou"] for row in run["evaluations"] if row["part"] == "test"]
        table.add_row(
            shown(run["run"]),
            shown(run["preset"] or "?"),
            shown(PurePath(run["data"] or "?").name),
            _state(run),
            "?" if run["steps"] is None else str(run["steps"]),
            "" if run["minutes"] is None else f"{run['minutes']:.1f}",
            "" if run["best_mean_iou"] is None else f"{run['best_mean_iou']:.3f}",
            "\n".join("absent" if score is None else f"{score:.3f}" for score in scores),
        )
    return table


def _state(run: Mapping[str, Any]) -> Text:
    """State of a run, with its step unless it is complete, and the last change of its files."""
    lines = [run["state"] or "unknown"]
    if run["steps_done"] is not None and run["steps_done"] != run["steps"]:
        lines.append(f"at step {run['steps_done']}")
    if run["state"] == "training" and run["last_change"]:
        lines.append(f"seen {_ago(run['last_change'])}")  # long ago if its process was killed
    style = "" if run["state"] == "finished" else "yellow"
    return Text("\n", style).join(shown(line, style) for line in lines)


def problems_of(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Problems of runs and their evaluations, one line each."""
    lines = []
    for run in runs:
        problems = [run["problem"], *(row["problem"] for row in run["evaluations"])]
        lines += [problem for problem in problems if problem]
    return lines


def _ago(moment: str) -> str:
    """A past time as an approximate duration.

    >>> _ago("2000-01-01T00:00:00+00:00").endswith("d ago")
    True
    """
    seconds = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
