"""What all commands have in common: exit codes for errors, displays, JSON, imports in silence.

Exit codes are 0 for done, 1 for a failure, 2 for an error of usage, and 130 for an interrupt.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from unetkit.errors import ConfigError, UnetkitError, did_you_mean


class Commands(click.Group):
    """Suggests commands for mistyped ones, and turns the library's errors into exit codes."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            names = self.list_commands(ctx)
            ctx.fail(
                f"no command {args[0]!r}; accepted are {', '.join(names)}"
                f"{did_you_mean(args[0], names)}"
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UnetkitError as error:
            _finish(ctx)
            _print_error(str(error))
            sys.exit(2 if isinstance(error, ConfigError) else 1)
        except OSError as error:
            _finish(ctx)
            name = f" {error.filename}" if error.filename else ""
            _print_error(
                f"the system refused{name}: {error.strerror or error}; free space or change "
                "permissions, and try again"
            )
            sys.exit(1)
        except KeyboardInterrupt:
            _finish(ctx)
            _print_error("interrupted")
            sys.exit(130)


def _finish(ctx: click.Context) -> None:
    """Removes a progress bar that an error left on the screen, and shows the cursor again."""
    if ctx.obj is not None:
        ctx.obj.finish()


def _print_error(text: str) -> None:
    click.echo(f"unetkit: error: {text}", err=True)


def open_display(*, stderr: bool = False) -> Any:
    """A display for the current command, on standard output or standard error."""
    from unetkit.cli.console import ConsoleDisplay, make_console

    display = ConsoleDisplay(make_console(stderr=stderr))
    click.get_current_context().find_root().obj = display
    return display


def library(name: str) -> Callable[..., Any]:
    """A public function of the package; raises MissingExtraError if an extra is not installed."""
    import unetkit

    with _quiet_stderr():
        function: Callable[..., Any] = getattr(unetkit, name)
    return function


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Discards standard error: TensorFlow writes to it from C++ while it loads."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def print_json(value: Any) -> None:
    """Prints a value as one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=False))
