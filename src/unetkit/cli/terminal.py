"""The gate to the terminal for plain text, JSON and log records; `console` is that of the display.

Whatever is written there passes `printable`: names of files, metadata, annotations, answers of
servers and messages of libraries come from outside, and a terminal obeys what it is sent. Nothing
else in this room writes to the standard streams.
"""

import json
import logging
from typing import Any

import click

from unetkit._shared.wording import is_shown, printable


def echo(text: str, *, err: bool = False) -> None:
    """Prints one line of text to standard output or standard error."""
    click.echo(printable(text), err=err)


def print_json(value: Any) -> None:
    """Prints a value as one line of JSON, with all that is not printable in escapes of JSON."""
    text = json.dumps(value, ensure_ascii=False)
    click.echo("".join(c if is_shown(c) else _json_escape(c) for c in text))


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def gate_logs() -> None:
    """Makes log records, and warnings of libraries, printable where no handler takes them."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_PrintableFormatter("%(levelname)s: %(message)s"))
    logging.captureWarnings(True)
