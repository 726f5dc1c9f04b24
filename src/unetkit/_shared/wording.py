"""Wording of messages that several rooms share."""

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
