"""Wording of messages that several rooms share, and how text from outside is shown in them."""

import unicodedata
from collections.abc import Sized


def format_count(items: Sized | int, one: str, many: str | None = None) -> str:
    """Returns a count with its noun in singular or plural.

    Args:
        items: The count, or a collection to count.
        one: Words after a count of 1.
        many: Words after any other count; None for `one` with an s.

    >>> format_count(["a"], "mask is", "masks are"), format_count(2, "mask is", "masks are")
    ('1 mask is', '2 masks are')
    >>> format_count(1200, "test pair"), format_count(0, "image")
    ('1,200 test pairs', '0 images')
    """
    count = items if isinstance(items, int) else len(items)
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """Text on one line, with every character that is not visible as its escape sequence.

    Names of files, metadata, annotations, answers of servers and messages of libraries may contain
    orders to a terminal, ends of lines, characters that reverse what follows, and undecodable
    bytes. Spaces of all kinds are kept, ends of lines are not.

    >>> printable("a\\x1b[2Jb\\nc")
    'a\\\\x1b[2Jb\\\\nc'
    """
    if text.isprintable():
        return text
    return "".join(c if is_shown(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def is_shown(character: str) -> bool:
    """Whether a terminal only draws a character, or leaves a space."""
    return character.isprintable() or unicodedata.category(character) == "Zs"
