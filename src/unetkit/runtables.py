"""Runs as tables for a terminal: what of one is as it was, and how all of them went."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text  # a name may hold what rich would take for markup

SHOWN_DIFFERENCES = 10


def verification_table(result: Mapping[str, Any]) -> Table:
    """What of a run is as it was, and what is not, a fact a row."""
    table = Table(show_header=False, box=None)
    table.add_row("run", _shown(f"{result['run']}: {result['state']}"))
    data = result["data"]
    where = f"{data['pairs']} pairs in {data['path']}"
    if data["problem"]:
        table.add_row("data", _shown(data["problem"]))
    elif data["same"]:
        table.add_row("data", _shown(f"{where}: as they were"))
    else:
        rows = _differences(data)
        table.add_row("data", _shown(f"{where}: {len(rows)} not as they were"))
        for text in rows[:SHOWN_DIFFERENCES]:
            table.add_row("", _shown(text))
        if len(rows) > SHOWN_DIFFERENCES:
            table.add_row("", f"... and {len(rows) - SHOWN_DIFFERENCES} more; --json lists all")
    other = [row for row in result["environment"] if not row["same"]]
    here = {row["what"]: row["now"] for row in result["environment"]}
    if not any(row["effect"] for row in other):
        machine = f"{here['processor']}, {here['cores']} cores, {here['device']}"
        text = f"versions, machine, threads and device as they were: {machine}"
        table.add_row("environment", _shown(text))
    for row in other:
        then, now = ("none" if row[when] is None else row[when] for when in ("then", "now"))
        note = "" if row["effect"] else " (of no effect)"
        table.add_row("environment", _shown(f"{row['what']}: {then} then, {now} now{note}"))
    whole = [row["name"] for row in result["files"] if not row["problem"]]
    table.add_row("files", _shown(f"as they should be: {', '.join(whole)}"))
    for row in result["files"]:
        if row["problem"]:
            table.add_row("", _shown(f"{row['name']}: {row['problem']}"))
    return table


def _differences(data: Mapping[str, Any]) -> list[str]:
    """A line for each file or pair that is not as it was."""
    return [
        *(f"changed  {row['file']} ({row['part']})" for row in data["changed"]),
        *(f"missing  {row['name']} ({row['part']}): {row['why']}" for row in data["missing"]),
        *(f"new      {row['file']}" for row in data["new"]),
        *(f"moved    {row['name']}: {row['then']} then, {row['now']} now" for row in data["moved"]),
    ]


def runs_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """A run a row; fits a terminal of 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold")
    table.add_column("preset", overflow="fold")
    table.add_column("data", overflow="fold")
    table.add_column("state", no_wrap=True)
    for name in ("steps", "min", "best\nval.\nmIoU", "test\nmIoU"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        scores = [row["mean_iou"] for row in run["evaluations"] if row["part"] == "test"]
        table.add_row(
            _shown(run["run"]),
            _shown(run["preset"] or "?"),
            _shown(PurePath(run["data"] or "?").name),
            _state(run),
            "?" if run["steps"] is None else str(run["steps"]),
            "" if run["minutes"] is None else f"{run['minutes']:.1f}",
            "" if run["best_mean_iou"] is None else f"{run['best_mean_iou']:.3f}",
            "\n".join("absent" if score is None else f"{score:.3f}" for score in scores),
        )
    return table


def _state(run: Mapping[str, Any]) -> Text:
    """How a run stands; of one that stopped early where, of one that trains since when."""
    lines = [run["state"] or "unknown"]
    if run["steps_done"] is not None and run["steps_done"] != run["steps"]:
        lines.append(f"at step {run['steps_done']}")
    if run["state"] == "training" and run["last_change"]:
        lines.append(f"seen {_ago(run['last_change'])}")  # long ago: it died
    return Text("\n".join(lines), style="" if run["state"] == "finished" else "yellow")


def problems_of(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with runs and their evaluations, a line each."""
    lines = []
    for run in runs:
        problems = [run["problem"], *(row["problem"] for row in run["evaluations"])]
        lines += [printable(problem) for problem in problems if problem]
    return lines


def _ago(moment: str) -> str:
    """How long ago something was, roughly.

    >>> _ago("2000-01-01T00:00:00+00:00").endswith("d ago")
    True
    """
    seconds = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def printable(text: str) -> str:
    """Text from a file, without what a terminal would take for an order.

    >>> printable("a\\x1b[2Jb")
    'a\ufffd[2Jb'
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _shown(text: str) -> Text:
    return Text(printable(text))
