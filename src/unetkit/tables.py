"""Figures, findings and models as tables for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text  # a name may hold what rich would take for markup

from unetkit.bootstrap import flatten
from unetkit.metrics import figure_name
from unetkit.spec import ModelSpec

SIZES_SHOWN = 4


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
