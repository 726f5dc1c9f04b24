"""Masks that are being drawn: in memory, in journals and in mask files, so that nothing is lost.

A change is in the journal of its image, on the disk, before it is in memory and acknowledged. After
a pause without changes the mask file is written and the journal starts anew. Every change names the
revision that it was drawn on: one that was drawn on another is refused, so that two pages cannot
overwrite each other.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unetkit._shared.files import read_bytes, write_atomically
from unetkit._shared.wording import format_count, printable
from unetkit.data.masks import read_raw_mask
from unetkit.errors import DataError, DataNotFoundError, OutputExistsError, UnetkitError
from unetkit.label.journal import (
    ENDING,
    Change,
    Journal,
    JournalStart,
    apply_runs,
    read_journal,
)
from unetkit.label.mask_files import MaskFile, digest_of, read_mask_file, write_mask_file
from unetkit.label.project import PAIRS_TABLE, ImageEntry, Project, write_pairs
from unetkit.label.tiles import PyramidCache

logger = logging.getLogger(__name__)
JOURNALS = "journals"
PAUSE_SECONDS = 3.0  # without changes of an image, before its mask file is written
LARGEST_DELAY_SECONDS = 60.0  # between a change and the mask file, without a pause
MOST_OPEN_BYTES = 1 << 30  # of masks without changes that stay in memory


class StaleRevisionError(Exception):
    """A change was drawn on another revision of the mask.

    Args:
        revision: The revision of the mask.
    """

    def __init__(self, revision: int) -> None:
        super().__init__(f"the mask has revision {revision}")
        self.revision = revision


@dataclass
class OpenMask:
    """A mask in memory.

    Args:
        entry: Its image.
        file: Its file, with the pixels that are drawn on.
        start: What a journal that begins now has to say.
        journal: Its journal.
        first_change: When the first change came that is not in the file, by `time.monotonic`; None
            if the file has all.
        last_change: When the last change came.
    """

    entry: ImageEntry
    file: MaskFile
    start: JournalStart
    journal: Journal
    first_change: float | None = None
    last_change: float = 0.0

    @property
    def revision(self) -> int:
        """Number of changes so far."""
        return self.start.revision


class DrawnMasks:
    """The masks of a project; for several threads.

    Args:
        project: The images and their masks; its folder `out` must exist.
        images: Decoded images.
        pause_seconds: Time without changes before a mask file is written.
    """

    def __init__(
        self, project: Project, images: PyramidCache, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self.project, self.images = project, images
        self._problems: dict[Path, str] = {}  # why files could not be written
        self._pause = pause_seconds
        self._counts: dict[str, tuple[tuple[int, int], int]] = {}  # by versions of mask files
        self._open: dict[str, OpenMask] = {}
        self._lock = threading.RLock()
        self._ending = threading.Event()
        self._writer = threading.Thread(target=self._write_at_pauses, daemon=True)
        self._writer.start()

    @property
    def problem(self) -> str:
        """Why files could not be written; "" if all could."""
        return "; ".join(self._problems.values())

    @contextmanager
    def opened(self, entry: ImageEntry) -> Iterator[OpenMask]:
        """The mask of an image, which no other thread changes meanwhile.

        Raises:
            DataNotFoundError, DataError: The image or its mask cannot be read, or the mask cannot
                be corrected.
            OutputExistsError: Another program changed the mask file since the last strokes.
        """
        size = self.images.get(entry).size
        with self._lock:
            mask = self._open.pop(entry.id, None) or self._read(entry, size)
            self._open[entry.id] = mask  # the last one
            yield mask
            self._close_others()

    def change(self, entry: ImageEntry, base: int, change: Change) -> int:
        """Applies a change to the mask of an image.

        Args:
            entry: The image.
            base: Revision that the change was drawn on.
            change: The change. One with the key of the last one is that again, and accepted.

        Returns:
            The revision of the mask with the change.

        Raises:
            StaleRevisionError: The mask has another revision.
            DataError: The change has pixels outside the mask, or values that are no class.
            OSError: The journal cannot be written; the mask is as before.
        """
        with self.opened(entry) as mask:
            if base + 1 == mask.revision and change.key.hex() == mask.start.key:
                return mask.revision
            if base != mask.revision:
                raise StaleRevisionError(mask.revision)
            self._require_fitting(mask, change.runs)
            if not mask.journal.path.exists():
                mask.journal.start(mask.start)
            mask.journal.append(change)
            apply_runs(mask.file.pixels, change.runs)
            mask.start = replace(mask.start, revision=base + 1, key=change.key.hex())
            mask.last_change = time.monotonic()
            if mask.first_change is None:
                mask.first_change = mask.last_change
            return mask.revision

    def has_mask(self, entry: ImageEntry) -> bool:
        """Whether an image has a mask, in its file or in memory."""
        mask = self._open.get(entry.id)
        return entry.mask.exists() or (mask is not None and mask.revision > 0)

    def count_labelled(self, entry: ImageEntry) -> int:
        """Number of labelled pixels of the mask file of an image; 0 if it cannot be read."""
        try:
            state = entry.mask.stat()
            version = state.st_mtime_ns, state.st_size
            if self._counts.get(entry.id, (None, 0))[0] != version:
                values = read_raw_mask(entry.mask).values
                count = int(np.count_nonzero(values != self.project.unlabelled))
                self._counts[entry.id] = version, count
        except (UnetkitError, OSError):
            return 0
        return self._counts[entry.id][1]

    def thumbnail(self, entry: ImageEntry) -> bytes:
        """The image in a few pixels, as PNG, which is kept for the next time."""
        file = self.project.state / "thumbnails" / f"{entry.id}.png"
        if file.exists() and file.stat().st_mtime >= entry.path.stat().st_mtime:
            return read_bytes(file)
        content = self.images.get(entry).thumbnail()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda part: part.write_bytes(content))
        return content

    def write_all(self) -> None:
        """Writes every mask file that lacks changes."""
        with self._lock:
            self._write(list(self._open.values()))

    def close(self) -> None:
        """Writes every mask file that lacks changes, and ends."""
        self._ending.set()
        self._writer.join()
        self.write_all()

    def journal_path(self, entry: ImageEntry) -> Path:
        """Path of the journal of an image."""
        return self.project.state / JOURNALS / f"{entry.id}{ENDING}"

    def recover(self) -> list[str]:
        """Opens every image whose journal is newer than its mask file, and writes these.

        Returns:
            Sentences about what was recovered, and about what could not be.
        """
        said = []
        for path in sorted((self.project.state / JOURNALS).glob(f"*{ENDING}")):
            try:
                journal = read_journal(path)
                if not journal.changes:
                    continue
                entry = self.project.entries.get(path.stem)
                if entry is None:
                    image = printable(journal.start.image)
                    raise DataNotFoundError(
                        f"{path} has strokes on {image}, which {self.project.images} does not "
                        "contain; accepted is the folder that was drawn on; restore the image, or "
                        "remove the journal to give the strokes up"
                    )
                with self.opened(entry):
                    strokes = format_count(journal.changes, "change")
                said.append(f"{entry.shown}: {strokes} recovered from the journal")
            except (UnetkitError, OSError) as error:
                said.append(str(error))
        self.write_all()
        return said

    def _read(self, entry: ImageEntry, size: tuple[int, int]) -> OpenMask:
        journal = Journal(self.journal_path(entry))
        file = read_mask_file(entry, self.project, size)
        start = JournalStart(entry.name, *size, base=file.digest)
        if not journal.path.exists():
            return OpenMask(entry, file, start, journal)
        found = read_journal(journal.path)
        mask = OpenMask(entry, file, replace(found.end, base=file.digest), journal)
        if not found.changes:
            if file.digest != found.start.base:  # corrected by another program meanwhile
                mask.start = replace(mask.start, revision=mask.revision + 1, key="")
            mask.journal.start(mask.start)
            return mask
        if (found.start.height, found.start.width) != size:
            raise DataError(
                f"{entry.path} has {size[0]}x{size[1]} pixels, and strokes were drawn on "
                f"{found.start.height}x{found.start.width}; accepted is the image that was drawn "
                f"on; restore it, or remove {journal.path} to give the strokes up"
            )
        if file.digest not in found.digests:
            raise OutputExistsError(
                f"{file.path} was changed by another program while strokes in {journal.path} were "
                "not yet in it; accepted is one of the two; remove the journal to go on with the "
                "file, or restore the file to go on with the strokes"
            )
        for change in found.changes:
            self._require_fitting(mask, change.runs)
            apply_runs(file.pixels, change.runs)
        mask.first_change = mask.last_change = time.monotonic()
        if found.lost:  # nothing can be appended to half a record
            journal.start(replace(found.start, base=file.digest))
            for change in found.changes:
                journal.append(change)
        return mask

    def _require_fitting(self, mask: OpenMask, runs: np.ndarray) -> None:
        ends = runs[:, 0].astype(np.uint64) + runs[:, 1]
        if len(ends) and ends.max() > mask.file.pixels.size:
            raise DataError(
                f"a change has the pixel {ends.max() - 1} of {mask.entry.shown}; accepted are "
                f"pixels up to {mask.file.pixels.size - 1}"
            )
        unknown = runs[~self.project.accepts(runs[:, 2]), 2]
        if len(unknown):
            raise DataError(
                f"a change has the value {unknown[0]}; accepted are "
                f"{self.project.classes.describe()}"
            )

    def _write_at_pauses(self) -> None:
        while not self._ending.wait(min(1.0, self._pause / 3)):
            now = time.monotonic()
            with self._lock:
                due = [
                    mask
                    for mask in self._open.values()
                    if mask.first_change is not None
                    and (
                        now - mask.last_change >= self._pause
                        or now - mask.first_change >= LARGEST_DELAY_SECONDS
                    )
                ]
                self._write(due)

    def _write(self, masks: list[OpenMask]) -> None:
        changed = [mask for mask in masks if mask.first_change is not None]
        has_new = any(not mask.file.digest for mask in changed)
        for mask in changed:
            # Where that fails, the strokes are in the journal, and the next pause tries again.
            with self._noting(mask.file.path):
                self._write_one(mask)
            mask.last_change = time.monotonic()
        if has_new:
            with self._noting(self.project.out / PAIRS_TABLE):
                write_pairs(self.project)

    @contextmanager
    def _noting(self, file: Path) -> Iterator[None]:
        """Keeps what is raised when a file is written as a problem of the store."""
        try:
            yield
            self._problems.pop(file, None)
            return
        except UnetkitError as error:
            self._problems[file] = str(error)
        except OSError as error:
            self._problems[file] = f"{file} cannot be written ({error.strerror or error})"
        logger.warning("%s", self._problems[file])

    def _write_one(self, mask: OpenMask) -> None:
        path = mask.file.path
        if digest_of(path) != mask.file.digest:
            raise OutputExistsError(
                f"{path} was changed by another program while it was drawn on; accepted is the "
                "file as it was; move it away, and the drawn mask is written"
            )
        digest = write_mask_file(mask.file, mask.journal.append_written)
        mask.file = replace(mask.file, digest=digest)
        mask.start = replace(mask.start, base=digest)
        mask.first_change = None
        mask.journal.start(mask.start)

    def _close_others(self) -> None:
        """Forgets masks without changes, the oldest first, while all have too many bytes."""
        total = sum(mask.file.pixels.nbytes for mask in self._open.values())
        for id, mask in list(self._open.items())[:-1]:
            if total > MOST_OPEN_BYTES and mask.first_change is None:
                total -= mask.file.pixels.nbytes
                del self._open[id]
