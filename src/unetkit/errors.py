"""The exceptions that unetkit raises on purpose.

    UnetkitError
    ├── ConfigError (ValueError)             an option, a key or a value of a configuration
    ├── DataError (ValueError)               what a folder, picture, mask or list of pairs holds
    ├── DataNotFoundError (FileNotFoundError)
    ├── DivergedError (ArithmeticError)       a loss or gradient that is no finite number
    ├── ModelFileError (ValueError)          a file that is not a unetkit model, or is damaged
    ├── MissingExtraError (ImportError)      a part that the bare install leaves out
    ├── OutputExistsError (FileExistsError)  something stands where the result would go
    └── SizeError (ValueError)               an array's shape, or a size that a network cannot take

Every message has three parts, parted by semicolons: what is wrong, with the file or the name and
the value seen; what is accepted; what to do. The library raises; only the command line prints.
"""

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ONLY_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class UnetkitError(Exception):
    """Base of all errors that a caller may want to catch."""


class ConfigError(UnetkitError, ValueError):
    """An option, a key or a value of a configuration is not accepted."""


class DataError(UnetkitError, ValueError):
    """A folder, picture or mask does not hold what it should."""


class DataNotFoundError(UnetkitError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class DivergedError(UnetkitError, ArithmeticError):
    """Training came to a loss or a gradient that is not finite."""


class ModelFileError(UnetkitError, ValueError):
    """A file is not a unetkit model, or it is damaged."""


class MissingExtraError(UnetkitError, ImportError):
    """A library that belongs to an optional extra is not installed."""


class OutputExistsError(UnetkitError, FileExistsError):
    """Something already stands where a result would be written."""


class SizeError(UnetkitError, ValueError):
    """An array has the wrong shape, or a network cannot take an image of this size."""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Ending of an error message that suggests the option nearest to a mistyped word.

    Returns:
        Text that begins with a semicolon; empty if no option resembles the word.

    >>> did_you_mean("fats", ["fast", "paper"])
    "; did you mean 'fast'?"
    >>> did_you_mean("xyz", ["fast", "paper"])
    ''
    """
    near = difflib.get_close_matches(word, sorted(options), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


@contextmanager
def full_disk_named(file: Path) -> Iterator[None]:
    """Adds the file to what the system says of a full disk: writing through a handle names none."""
    try:
        yield
    except OSError as error:
        if is_full_disk(error) and error.filename is None:
            error.filename = str(file)
        raise


def is_full_disk(error: OSError) -> bool:
    """Whether the system has no room for more, which it says only of writing."""
    return error.errno in ONLY_WRITING
