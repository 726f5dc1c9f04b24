"""What all commands have in common: help in groups, exit codes, displays, JSON, quiet imports.

Exit codes are 0 for done, 1 for a failure, 2 for an error of usage, and 130 for an interrupt. A
reader of the output that has seen enough, as `head` has, ends a command with 1 and no message.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from unetkit._shared.wording import printable
from unetkit.cli.terminal import echo
from unetkit.errors import ConfigError, UnetkitError, did_you_mean

# Commands and options by the heading under which help lists them; others come last.
COMMAND_GROUPS = {
    "To begin": ("demo", "data", "label", "check"),
    "To train": ("train", "runs", "verify"),
    "To evaluate": ("evaluate", "report", "compare"),
    "To use": ("predict", "serve", "info", "export"),
}
OPTION_GROUPS = {
    "Data": (
        *("data", "images", "masks", "field_of_view", "kind", "classes", "ignore", "threshold"),
        *("channel_axis", "skip_bad"),
    ),
    "Split": ("part", "split", "group_by", "test_fraction", "folds", "seed"),
    "Network": ("preset", "size", "start", "freeze"),
    "Length": ("epochs", "minutes", "patience"),
    "Optimization": (
        *("loss", "class_weights", "separation", "border_weight", "border_sigma", "learning_rate"),
        *("batch_size", "accumulation", "clip_norm", "averaging"),
    ),
    "Computation": (
        "model",
        "device",
        "processes",
        "precision",
        "deterministic",
        "memory",
        "margin",
    ),
    "Input and output": (
        *("config", "resume", "out", "overlay", "cutout", "probabilities"),
        *("objects", "table", "pixel_size", "format", "overwrite"),
        *("watch", "as_json", "show", "pictures", "write_split", "tensorboard"),
    ),
    "Access": (
        *("host", "port", "token", "insecure_no_token", "allow_host", "allow_origin"),
        "root_path",
    ),
    "Limits": ("max_body", "max_pixels", "timeout", "queue"),
}
SHOWN_AROUND = 40  # characters of a name before and after what is wrong in it
TRACEBACK = "UNETKIT_TRACEBACK"  # variable of the environment, for reports of faults
FEW_OPTIONS = 6  # are listed without headings


class Command(click.Command):
    """A command whose help has its options in groups, and whose errors name options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = {
            str(parameter.name): row
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option)
            and (row := parameter.get_help_record(ctx)) is not None
        }
        if len(rows) > FEW_OPTIONS:
            _write_groups(formatter, rows, OPTION_GROUPS, "Other options")
        else:
            _write_groups(formatter, rows, {}, "Options")

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UnetkitError as error:
            error.args = tuple(with_options_named(str(line), self.params) for line in error.args)
            raise


def _write_groups(
    formatter: click.HelpFormatter,
    rows: Mapping[str, tuple[str, str]],
    groups: Mapping[str, Sequence[str]],
    rest: str,
) -> None:
    """Writes rows of help under headings; those that no group names come last, under `rest`."""
    grouped = {name for names in groups.values() for name in names}
    others = tuple(name for name in rows if name not in grouped)
    for heading, names in {**groups, rest: others}.items():
        if shown := [rows[name] for name in names if name in rows]:
            with formatter.section(heading):
                formatter.write_dl(shown)


def with_options_named(text: str, parameters: Sequence[click.Parameter]) -> str:
    """A message of the library with the options of a command in place of Python's names.

    Names of several words are replaced anywhere, those of one word, which may be part of a
    sentence, only in front of the value that is refused.

    >>> option = click.Option(["--test-fraction"])
    >>> with_options_named("test_fraction is 2; accepted are fractions", [option])
    '--test-fraction is 2; accepted are fractions'
    """
    for parameter in parameters:
        if not isinstance(parameter, click.Option):
            continue
        option = long_name(parameter)
        for name in {str(parameter.name), option.removeprefix("--").replace("-", "_")}:
            if "_" in name:
                text = re.sub(rf"(?<![-\w./'\"]){name}(?![\w./(\"'])", option, text)
            else:
                text = re.sub(rf"^{name}(?= is |s are | '| \d)", option, text)
    return text


def long_name(parameter: click.Parameter) -> str:
    """The name of an option with two dashes; of an argument its own."""
    return max(parameter.opts, key=len)


class OneOf(click.Choice[str]):
    """One of some words; a mistyped one is refused as the library refuses it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        words = list(map(str, self.choices))
        if value not in words:
            option = "value" if param is None else long_name(param)
            raise ConfigError(
                f"{option} is {value!r}; accepted are {', '.join(words)}"
                f"{did_you_mean(str(value), words)}"
            )
        return str(value)


class Commands(click.Group):
    """Suggests commands for mistyped ones, and turns the library's errors into exit codes."""

    command_class = Command
    group_class = type  # groups within it are of this class, too

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs a command line; what standard output still holds is written before the exit."""
        try:
            try:
                return super().main(*args, **kwargs)
            finally:
                if sys.stdout is not None:  # it may be closed from the start
                    sys.stdout.flush()
        except OSError as error:
            _discard_output()
            if not isinstance(error, BrokenPipeError):
                _print_error(_output_failure(error))
            sys.exit(1)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        room = formatter.width - 6 - max(map(len, found))
        rows = {
            name: (name, command.get_short_help_str(room))
            for name, command in found.items()
            if command is not None
        }
        is_main = ctx.parent is None
        _write_groups(formatter, rows, COMMAND_GROUPS if is_main else {}, "Commands")

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            names = self.list_commands(ctx)
            ctx.fail(
                f"no command {args[0]!r}; accepted are {', '.join(names)}"
                f"{did_you_mean(args[0], names)}"
            )
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _printable_usage():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _printable_usage():
                return super().invoke(ctx)
        except UnetkitError as error:
            _finish(ctx)
            _print_error(*map(str, error.args))
            sys.exit(2 if isinstance(error, ConfigError) else 1)
        except BrokenPipeError:
            raise  # whoever read the output has ended
        except OSError as error:
            if error.filename is None and _output_fails():
                raise
            _finish(ctx)
            name = f" {error.filename}" if error.filename else ""
            _print_error(
                f"the system refused{name}: {error.strerror or error}; free space or change "
                "permissions, and try again"
            )
            sys.exit(1)
        except UnicodeEncodeError as error:  # undecodable bytes of a name are unpaired surrogates
            _finish(ctx)
            end = error.end + SHOWN_AROUND
            _print_error(
                f"a name or text has bytes that are no characters (at {error.start} in "
                f"{str(error.object)[max(0, error.start - SHOWN_AROUND) : end]!r}); accepted are "
                "names in UTF-8; rename the file or folder"
            )
            sys.exit(1)
        except KeyboardInterrupt:
            _finish(ctx)
            _print_error("interrupted")
            sys.exit(130)
        except MemoryError:
            _finish(ctx)
            _print_error(
                "memory ran out; accepted is what fits into the memory, or the limit (ulimit -v), "
                "of this process; close other programs, raise the limit, or choose smaller images"
            )
            sys.exit(1)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except Exception as error:
            if os.environ.get(TRACEBACK):
                raise
            _finish(ctx)
            _print_error(
                f"{type(error).__name__}: {error}; this is a fault of unetkit; report it with what "
                f"the same command prints after export {TRACEBACK}=1"
            )
            sys.exit(1)


@contextmanager
def _printable_usage() -> Iterator[None]:
    """Passes Click's own errors, which quote arguments, through the gate to the terminal."""
    try:
        yield
    except click.ClickException as error:
        error.message = printable(error.message)  # type: ignore[misc]
        raise


def _finish(ctx: click.Context) -> None:
    """Removes a progress bar that an error left on the screen, and shows the cursor again."""
    display = ctx.find_root().obj
    if display is not None:
        display.finish()


def _output_fails() -> bool:
    """Whether it was standard output that could not be written, which an error does not say."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # in a test it may have none
        return False
    try:
        os.write(number, b"\n")
    except OSError:
        return True
    return False


def _output_failure(error: OSError) -> str:
    return (
        f"standard output cannot be written ({error.strerror or error}); free space there, or "
        "send it elsewhere"
    )


def _discard_output() -> None:
    """Discards what standard output still holds: Python would try to write it at the end."""
    with suppress(OSError, ValueError):  # in a test it may have no number
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _print_error(first: str, *others: str) -> None:
    for line in (f"unetkit: error: {first}", *others):
        echo(line, err=True)


def open_display(*, stderr: bool = False) -> Any:
    """A display for the current command, on standard output or standard error."""
    from unetkit.cli.console import ConsoleDisplay, make_console

    display = ConsoleDisplay(make_console(stderr=stderr))
    click.get_current_context().find_root().obj = display
    return display


def library(name: str, display: Any = None) -> Callable[..., Any]:
    """A public function of the package.

    Args:
        name: Name of the function.
        display: Display that shows that libraries are loaded, which takes seconds; None for none.

    Raises:
        MissingExtraError: An extra is not installed.
    """
    import unetkit

    if display is not None:
        display.waiting("loading   the libraries")
    with quiet_stderr():
        function: Callable[..., Any] = getattr(unetkit, name)
    return function


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discards standard error: TensorFlow writes to it from C++ while it loads and converts."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
