"""Unpack streams of a TIFF whose check value is verified, wherever they end.

Codecs that are given the expected number of bytes stop there, and may then not read the check value
that follows. Here a stream must end where its rows end: what is cut off, goes on, or is followed by
other bytes is damaged. Three zeros may follow, as writers align strips to four bytes.
"""

import lzma
import zlib
from typing import Any

import imagecodecs

LZMA_MEMORY = 1 << 28  # bytes, for the dictionary that a stream asks for
ALIGNMENT = 4  # bytes


def inflate(packed: bytes, most: int, size: int = 0) -> bytes:
    """Unpacks a zlib stream and verifies its Adler-32.

    Args:
        packed: The stream.
        most: Largest number of bytes that it may hold.
        size: Expected number of bytes, if known: such streams are unpacked faster.

    Raises:
        OSError: The stream is cut off, holds more, or is followed by other bytes.
        zlib.error: It is damaged.

    Source: RFC 1950, section 2.2: the last four bytes are the Adler-32 of the unpacked data.
    """
    if size:
        try:
            unpacked = bytes(imagecodecs.deflate_decode(packed, out=size))
        except imagecodecs.DeflateError:  # of another size, or damaged
            pass
        else:
            # libdeflate ignores what follows the stream.
            if packed[-4:] == zlib.adler32(unpacked).to_bytes(4, "big"):
                return unpacked
    inflater = zlib.decompressobj()
    unpacked = inflater.decompress(packed, most + 1)
    if not inflater.eof:  # the check value is read when more is asked for
        unpacked += inflater.decompress(inflater.unconsumed_tail, 1)
    require_end(inflater, len(unpacked), most)
    return unpacked


def unpack_lzma(packed: bytes, most: int) -> bytes:
    """Unpacks an LZMA stream and verifies its check value, where it has one.

    Args:
        packed: The stream.
        most: Largest number of bytes that it may hold.

    Raises:
        OSError: The stream is cut off, holds more, or is followed by other bytes.
        lzma.LZMAError: It is damaged.
    """
    unpacker = lzma.LZMADecompressor(memlimit=LZMA_MEMORY)
    unpacked = unpacker.decompress(packed, most + 1)
    if not unpacker.eof and not unpacker.needs_input:
        unpacked += unpacker.decompress(b"", 1)
    require_end(unpacker, len(unpacked), most)
    return unpacked


def require_end(unpacker: Any, size: int, most: int) -> None:
    """Refuses a stream that does not end with its data.

    Args:
        unpacker: Decompressor of `zlib` or `lzma` that was given the whole stream.
        size: Number of bytes that were unpacked.
        most: Largest number of bytes that the stream may hold.

    Raises:
        OSError: The stream is cut off, holds more, or is followed by other bytes.
    """
    if size > most:
        raise OSError(f"its data go on beyond {most:,} bytes")
    if not unpacker.eof:
        raise OSError(f"its data are cut off after {size:,} bytes")
    require_padding(unpacker.unused_data)


def require_padding(rest: bytes) -> None:
    """Refuses bytes after a stream other than zeros up to the next multiple of four.

    Raises:
        OSError: There are other bytes, or more.
    """
    if len(rest) >= ALIGNMENT or rest.strip(b"\0"):
        raise OSError(f"{len(rest):,} bytes follow the end of its data")
