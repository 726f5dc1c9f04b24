"""Masks of the frames of a video, each in a PNG of its own, until all are finished.

An interrupted run goes on with the masks that it has. A file beside them, the plan, holds what they
belong to: video, model and options. When all are there, their folder is moved to the place of the
result as a whole.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unetkit._shared.files import list_leftovers, open_input, remove, write_text
from unetkit._shared.records import convert, read_json, refusing
from unetkit._version import __version__
from unetkit.data.classes import Classes
from unetkit.errors import DataError, OutputExistsError
from unetkit.io.encoding import write_png

PLAN_NAME = "plan.json"
FRAMES, FINISHED = "frames", "result"  # folders in the store
PNG_END = b"IEND\xae\x42\x60\x82"  # its last chunk, and the checksum
FRAME_NAME = re.compile(r"\d{7}\.png")
PLAN_REMEDY = "accepted are plans of this version; remove the folder"


@dataclass(frozen=True)
class MaskStore:
    """Finished masks of a video.

    Args:
        folder: Folder of the plan, the masks, and results that are being written.
        classes: Classes of the model.
        metadata: How masks were predicted; stored in each.
        has_palette: Whether masks have a palette.
    """

    folder: Path
    classes: Classes
    metadata: Mapping[str, Any]
    has_palette: bool

    @property
    def frames(self) -> Path:
        """Folder of the masks of frames."""
        return self.folder / FRAMES

    @property
    def finished(self) -> Path:
        """Folder for results while they are written."""
        return self.folder / FINISHED

    def read(self, number: int) -> np.ndarray:
        """Returns the mask of a frame, (H, W) uint8 class indices.

        Raises:
            DataError: It was damaged or removed meanwhile.
        """
        try:
            with open_input(self._file(number)) as file, Image.open(file, formats=["PNG"]) as image:
                return np.array(image)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(
                f"{self._file(number)} is missing or damaged ({error}); accepted are complete "
                "masks; remove it and run the same command again"
            ) from error

    def write(self, number: int, labels: np.ndarray) -> None:
        """Writes the mask of a frame, (H, W) uint8 class indices, as a whole."""
        palette = self.classes.colours if self.has_palette else None
        write_png(self._file(number), labels, self.metadata, palette=palette, is_flat=True)

    def export(self, number: int, folder: Path, table: np.ndarray) -> None:
        """Writes the mask of a frame into another folder, in other values.

        Args:
            number: Number of the frame.
            folder: Folder to write to.
            table: What stands for each class index, (256, C) uint8 or uint16.

        Raises:
            DataError: The mask was damaged or removed meanwhile.
        """
        values = table[self.read(number)]
        pixels = values[..., 0] if values.shape[2] == 1 else values
        write_png(folder / self._file(number).name, pixels, self.metadata, is_flat=True)

    def numbers(self) -> frozenset[int]:
        """Numbers of the frames whose masks are complete; a crash of the system may cut some."""
        names = [path for path in self.frames.iterdir() if FRAME_NAME.fullmatch(path.name)]
        return frozenset(int(path.stem) for path in names if _ends_as_png(path))

    def remove(self) -> None:
        """Removes the folder with all that is left in it, the plan last."""
        for folder in (self.frames, self.finished):
            if folder.exists():
                shutil.rmtree(folder)
        shutil.rmtree(self.folder)

    def _file(self, number: int) -> Path:
        return self.frames / f"{number:07d}.png"


def open_mask_store(
    folder: Path,
    classes: Classes,
    metadata: Mapping[str, Any],
    has_palette: bool,
    belongs_to: Mapping[str, Any],
    overwrite: bool = False,
) -> MaskStore:
    """Creates a store, or opens the one that an interrupted run left.

    Args:
        folder: Folder of the store.
        classes: Classes of the model.
        metadata: How masks are predicted.
        has_palette: Whether masks have a palette.
        belongs_to: Whatever determines the masks: video, model, options.
        overwrite: Whether to remove masks that belong to something else.

    Raises:
        OutputExistsError: `folder` holds masks of another video, model, version or option, or is
            another folder.
    """
    store = MaskStore(folder, classes, metadata, has_palette)
    plan = folder / PLAN_NAME
    wanted = {**belongs_to, "palette": has_palette, "unetkit": __version__}
    if plan.exists():
        with refusing(plan, PLAN_REMEDY, OutputExistsError):
            begun = convert(read_json(plan), dict[str, Any])
        others = [name for name, value in wanted.items() if begun.get(name) != value]
        if others and not overwrite:
            raise OutputExistsError(
                f"{folder} holds masks of another run ({', '.join(others)} differ); accepted are "
                "those of the same model, video and options; finish that run, remove the folder, "
                "or replace it with --overwrite"
            )
        if others:
            store.remove()
    elif folder.exists() and any(folder.iterdir()):
        raise OutputExistsError(
            f"{folder} exists and holds no {PLAN_NAME}; accepted is a new folder, or the masks of "
            "an interrupted run; move it elsewhere"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(plan, json.dumps(wanted))
    with suppress(FileNotFoundError):
        shutil.rmtree(store.finished)
    store.frames.mkdir(exist_ok=True)
    for leftover in list_leftovers(store.frames):
        remove(leftover)
    store.finished.mkdir()
    return store


def _ends_as_png(file: Path) -> bool:
    with open_input(file) as opened:
        length = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, length - len(PNG_END)))
        return opened.read() == PNG_END


def is_mask_folder(folder: Path) -> bool:
    """Whether a folder holds masks of frames and nothing else, so that it may be replaced."""
    return folder.is_dir() and all(FRAME_NAME.fullmatch(path.name) for path in folder.iterdir())
