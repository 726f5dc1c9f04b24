"""The exceptions that unetkit raises on purpose.

    UnetkitError
    ├── ConfigError (ValueError)             an option, or a key or value of a configuration
    ├── DataError (ValueError)               the content of a folder, image, mask or list of pairs
    ├── DataNotFoundError (FileNotFoundError)
    ├── DivergedError (ArithmeticError)      a loss or gradient that is not finite
    ├── ModelFileError (ValueError)          a file that is not a unetkit model, or is damaged
    ├── MissingExtraError (ImportError)      a library that the bare install does not include
    ├── OutputExistsError (FileExistsError)  an existing file or folder in place of a result
    └── SizeError (ValueError)               an array's shape, or an invalid image size

A message says what is wrong, with the file or name and the value seen; then, after semicolons, what
is accepted and what to do, unless the first part makes that obvious. The library raises errors;
only the command line prints them.
"""

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

LEAST_PART = 3  # letters of a part of a name that suggest the name
FULL_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class UnetkitError(Exception):
    """Base of all errors that a caller may want to catch.

    Args:
        lines: The message; more than one where it lists several failures.
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class ConfigError(UnetkitError, ValueError):
    """An option, a key or a value of a configuration is not accepted."""


class DataError(UnetkitError, ValueError):
    """The content of a folder, image, mask or list of pairs is not accepted."""


class DataNotFoundError(UnetkitError, FileNotFoundError):
    """A given file or folder does not exist."""


class DivergedError(UnetkitError, ArithmeticError):
    """Training reached a loss or gradient that is not finite."""


class ModelFileError(UnetkitError, ValueError):
    """A file is not a unetkit model, or is damaged."""


class MissingExtraError(UnetkitError, ImportError):
    """A library that belongs to an optional extra is not installed."""


class OutputExistsError(UnetkitError, FileExistsError):
    """A file or folder exists in place of a result."""


class SizeError(UnetkitError, ValueError):
    """An array has a wrong shape, or an image has a size that is not valid for a network."""


def without_remedy(error: UnetkitError) -> str:
    """Returns what an error says is wrong, without what is accepted and what to do.

    For commands that cannot do what the message advises.

    >>> without_remedy(DataError("a.png is empty; accepted are PNGs; replace it"))
    'a.png is empty'
    """
    return str(error).partition("; ")[0]


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Ending of an error message that suggests the option nearest to a mistyped word.

    Returns:
        Text that begins with a semicolon; empty if no option resembles the word or contains it.

    >>> did_you_mean("fats", ["fast", "paper"])
    "; did you mean 'fast'?"
    >>> did_you_mean("pets", ["cells", "oxford-pets", "synthetic-pets"])
    "; did you mean 'oxford-pets' or 'synthetic-pets'?"
    >>> did_you_mean("xyz", ["fast", "paper"])
    ''
    """
    options = sorted(options)
    near = difflib.get_close_matches(word, options, n=1)
    if not near and len(word) >= LEAST_PART:
        near = [option for option in options if word.lower() in option.lower()]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


@contextmanager
def full_disk_named(file: Path) -> Iterator[None]:
    """Adds the file name to errors of a full disk, which lack it when writing to an open file."""
    try:
        yield
    except OSError as error:
        if is_full_disk(error) and error.filename is None:
            error.filename = str(file)
        raise


def is_full_disk(error: OSError) -> bool:
    """Whether an error means that the disk is full."""
    return error.errno in FULL_DISK_ERRORS
