"""Limits of the service, and the error of a request that exceeds one or cannot be answered."""

from dataclasses import dataclass

MIB = 1 << 20
# Image files that are decoded for clients. Other formats that unetkit reads from files of its user
# (scientific arrays, DICOM, HEIC, JPEG 2000 ...) are left to the commands.
ACCEPTED_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
# Values of the tag Compression of TIFF, each with the decoder that it asks for.
ACCEPTED_COMPRESSIONS = {
    1: "none",
    5: "LZW",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate",
}


@dataclass(frozen=True)
class Limits:
    """What a service accepts; see `unetkit serve --help` for the options.

    Args:
        body_bytes: Largest size of a request body, in bytes.
        pixels: Largest number of pixels of an image.
        seconds: Seconds within which a body must arrive, and then within which its answer must be
            ready.
        waiting: Largest number of requests that wait for a free thread.
        connections: Largest number of open connections.
        held_bytes: Largest size of all request bodies and answers that are in memory, in bytes.
    """

    body_bytes: int = 32 * MIB
    pixels: int = 40_000_000
    seconds: float = 60.0
    waiting: int = 32
    connections: int = 256
    held_bytes: int = 256 * MIB


class RefusedError(Exception):
    """A request that is answered with an error.

    Args:
        status: Status code of HTTP.
        sentence: What is wrong, with the value seen, and what is accepted.
        retry_seconds: Seconds after which the client may try again; None if that is of no use.
    """

    def __init__(self, status: int, sentence: str, retry_seconds: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_seconds = status, sentence, retry_seconds


class HeldBytes:
    """Bytes of bodies and answers in memory, up to a limit; for one event loop.

    Args:
        limit: Largest number of bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.total = limit, 0

    def take(self, count: int) -> None:
        """Counts further bytes.

        Raises:
            RefusedError: There would be more than the limit.
        """
        if self.total + count > self.limit:
            raise RefusedError(
                503,
                f"bodies and answers in memory would have more than {self.limit / MIB:,.0f} MiB "
                "together, the limit of this server; try again",
                retry_seconds=1,
            )
        self.total += count

    def release(self, count: int) -> None:
        """Counts bytes as free again."""
        self.total -= count
