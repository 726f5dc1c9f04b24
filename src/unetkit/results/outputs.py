"""What is written of a predicted image, and how: masks, overlays, cut-outs, uncertainty and others.

`OUTPUTS` describes each kind of output once: how its pixels of a window follow from the labels, the
probabilities and the photo of that window. `WRITERS` holds one function per file type. An image in
memory is a single window, an image larger than memory is read in many; both are written here. A new
kind of output is one entry of `OUTPUTS`; a new file type is one entry of `WRITERS`.

How labels and probabilities are computed is left to `predictor` and `large_images`, which results
are wanted and where they go to `files`.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.files import write_atomically
from unetkit._version import __version__
from unetkit.errors import ConfigError, DataError, full_disk_named
from unetkit.io.encoding import (
    JPEG_LARGEST_COMMENT,
    JPEG_LARGEST_SIDE,
    write_jpeg,
    write_npz,
    write_png,
)
from unetkit.io.ome_zarr_writer import create_ome_zarr, write_block, write_ome_zarr
from unetkit.io.pyramid import Read
from unetkit.io.tiff.writer import write_tiff_pyramid
from unetkit.io.zarr_reader import require_zarr
from unetkit.models.built_in import PURPOSE, is_built_in
from unetkit.models.spec import ModelSpec
from unetkit.prediction.predictor import NODATA_LABEL, Predictor
from unetkit.prediction.sources import WHOLE_PIXELS
from unetkit.prediction.tiling import Tiling
from unetkit.results.areas import MEAN_DIGITS, write_areas
from unetkit.results.masks import mask_table
from unetkit.results.matting import CutOut, pixel_side
from unetkit.results.polygons import POLYGONS
from unetkit.results.predicted_image import PredictedImage, ResultOptions
from unetkit.visualization.overlays import lay_over, opacity

FORMAT_SUFFIXES = {"png": ".png", "tiff": ".tif", "zarr": ".ome.zarr"}  # of files, for each format
OUTPUT_FORMATS = ("auto", *FORMAT_SUFFIXES)
MASK, CUTOUT = "mask", "cutout"
UNCERTAINTY, DISAGREEMENT = "uncertainty", "disagreement"
# Of pixels of uncertainty, in 16 bits: that of 1, and of no data.
UNCERTAIN, NO_UNCERTAINTY = (1 << 16) - 2, (1 << 16) - 1
WHOLE_FORMAT = "png"  # written from an image in memory; all other formats are written by windows

# Memory of a block of pixels while it is computed, and of one pixel: an overlay's intermediate
# arrays, or logits, exponentials and probabilities of each class.
WINDOW_BYTES = 1 << 25
PIXEL_BYTES = 40
CLASS_BYTES = 12
OTHER_METADATA = 1 << 14  # bytes at most, beside the names of the classes
COUNTED_ROWS = 64  # counted at once: `numpy.bincount` takes 8 bytes for each pixel


def _no_pixels(window: PredictedImage) -> np.ndarray:
    raise TypeError("the output has no pixels")


@dataclass(frozen=True)
class Output:
    """One kind of output.

    Args:
        name_end: End of the file name, before the suffix.
        pixels: Returns its pixels of a window, (h, w, C) of `dtype`.
        channels: Number of channels C; None for one per class.
        dtype: Type of its pixels.
        nodata: Pixel value, in all channels, that stands for no data; None for none.
        is_exact: Whether pixels are numbers or names of colours, which are never interpolated.
        is_labels: Whether pixels are class indices.
        has_palette: Whether files show these in the colours of the classes.
        needs_probabilities: Whether `pixels` uses the probabilities of the window.
        needs_background: Whether the model must have a background class.
        needs_objects: Whether the model must tell objects apart.
        needs_several: Whether several predictions are necessary, of models or orientations.
        suffixes: File suffix for each format.
        write: Writes it to a file, if it has no pixels.
    """

    name_end: str
    pixels: Callable[[PredictedImage], np.ndarray] = _no_pixels
    channels: int | None = None
    dtype: str = "uint8"
    nodata: float | None = None
    is_exact: bool = False
    is_labels: bool = False
    has_palette: bool = False
    needs_probabilities: bool = False
    needs_background: bool = False
    needs_objects: bool = False
    needs_several: bool = False
    suffixes: Mapping[str, str] = field(default_factory=lambda: FORMAT_SUFFIXES)
    write: Callable[[Path, PredictedImage], None] | None = None

    def ending(self, format: str) -> str:
        """End of the names of its files in this format."""
        return f"{self.name_end}{self.suffixes[format]}"

    def of_options(self, kind: str, options: ResultOptions) -> "Output":
        """The output as it is asked for; masks depend on the image, too, see `_of_mask`.

        Args:
            kind: Its key in `OUTPUTS`.
            options: How results are written.
        """
        if kind == "overlay" and options.overlay == "jpeg":
            return replace(self, suffixes={**self.suffixes, WHOLE_FORMAT: ".jpg"})
        if kind == "probabilities" and options.probabilities != self.dtype:
            dtype = options.probabilities
            nodata = None if dtype == "uint8" else self.nodata
            return replace(
                self,
                pixels=lambda window: _as_type(window.probabilities, dtype),
                dtype=dtype,
                nodata=nodata,
            )
        return self


def _as_type(probabilities: np.ndarray, dtype: str) -> np.ndarray:
    """Probabilities as "float16", or as "uint8" from 0 to 255, where nan is 0."""
    if dtype == "float16":
        return probabilities.astype(np.float16)
    return np.rint(255 * np.nan_to_num(probabilities)).astype(np.uint8)


def _uncertainty_pixels(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 in 16 bits, (h, w, 1)."""
    levels = np.rint(np.nan_to_num(values) * np.float32(UNCERTAIN)).astype(np.uint16)
    levels[np.isnan(values)] = NO_UNCERTAINTY
    return levels[..., None]


def _copy_table(file: Path, image: PredictedImage) -> None:
    if image.objects is None:
        raise TypeError("an output uses objects but does not declare that it needs them")
    table = image.objects.table
    write_atomically(file, lambda part: shutil.copyfile(table, part))


OUTPUTS = {
    MASK: Output("", lambda window: window.labels[..., None], 1, is_exact=True),  # see `_of_mask`
    "overlay": Output(
        "_overlay", lambda window: lay_over(window.photo, window.labels, window.classes), 3
    ),
    # See `_of_cutout`.
    CUTOUT: Output("_cutout", channels=4, needs_probabilities=True, needs_background=True),
    "probabilities": Output(
        "_probabilities",
        lambda window: window.probabilities,
        None,
        "float32",
        float("nan"),
        needs_probabilities=True,
        suffixes={**FORMAT_SUFFIXES, "png": ".npz"},
    ),
    UNCERTAINTY: Output(
        "_uncertainty",
        lambda window: _uncertainty_pixels(window.uncertainty),
        1,
        "uint16",
        NO_UNCERTAINTY,
        needs_probabilities=True,
    ),
    DISAGREEMENT: Output(
        "_disagreement",
        lambda window: _uncertainty_pixels(window.disagreement),
        1,
        "uint16",
        NO_UNCERTAINTY,
        needs_probabilities=True,
        needs_several=True,
    ),
    "objects": Output(
        "_objects",
        lambda window: window.object_numbers[..., None],
        1,
        "uint32",
        is_exact=True,
        needs_probabilities=True,
        needs_background=True,
        needs_objects=True,
        suffixes={**FORMAT_SUFFIXES, "png": ".tif"},
    ),
    "table": Output(
        "_objects",
        write=_copy_table,
        needs_probabilities=True,
        needs_background=True,
        needs_objects=True,
        suffixes=dict.fromkeys(FORMAT_SUFFIXES, ".csv"),
    ),
    "areas": Output("_areas", write=write_areas, suffixes=dict.fromkeys(FORMAT_SUFFIXES, ".csv")),
    **{
        kind: Output(name_end, write=write, suffixes=dict.fromkeys(FORMAT_SUFFIXES, suffix))
        for kind, (name_end, suffix, write) in POLYGONS.items()
    },
}


def needs_objects(kinds: Iterable[str], spec: ModelSpec) -> bool:
    """Whether objects have to be found: polygons are those of objects where a model has them."""
    return any(
        OUTPUTS[kind].needs_objects or (spec.objects.finds_objects and kind in POLYGONS)
        for kind in kinds
    )


def needs_probabilities(kinds: Iterable[str], spec: ModelSpec) -> bool:
    """Whether labels alone are too little for these kinds of output."""
    kinds = list(kinds)
    return needs_objects(kinds, spec) or any(OUTPUTS[kind].needs_probabilities for kind in kinds)


def default_outputs(spec: ModelSpec) -> tuple[str, ...]:
    """Kinds of output that are written unless others are asked for."""
    return ("mask", "objects", "table") if spec.objects.finds_objects else ("mask",)


def metadata_of(predictor: Predictor, tiling: Tiling) -> dict[str, Any]:
    """How a prediction was made, as it is stored in every file."""
    built_in = {"built_in": PURPOSE} if is_built_in(predictor.path) else {}
    return {
        "unetkit": __version__,
        "model": predictor.digest,
        **({} if len(predictor.digests) == 1 else {"models": list(predictor.digests)}),
        **({} if predictor.tta is None else {"tta": predictor.tta}),
        **built_in,
        "preset": predictor.spec.preset,
        "classes": list(predictor.spec.classes.names),
        "engine": predictor.runtime.describe(),
        "exact": tiling.is_exact,
        "tiles": tiling.describe(),
    }


def write_output(kind: str, file: Path, image: PredictedImage) -> np.ndarray | float | None:
    """Writes one output of an image.

    Args:
        kind: Key of `OUTPUTS`.
        file: File or, for OME-Zarr, folder to write or replace; its suffix determines the type.
        image: The predicted image.

    Returns:
        What `figure_of` returns.
    """
    output, sums = _counted(kind, image)
    if output.write is not None:
        output.write(file, image)
    else:
        WRITERS[file.suffix.lower()](file, output, image)
    return figure_of(kind, sums)


def has_blocks(kind: str, file: Path) -> bool:
    """Whether an output can be written in blocks, by several processes."""
    return OUTPUTS[kind].write is None and file.suffix.lower() == ".zarr"


def create_output(kind: str, folder: Path, image: PredictedImage) -> None:
    """Creates the folder of an output, whose blocks are then written by `write_output_block`.

    Args:
        kind: Key of `OUTPUTS`.
        folder: The new folder.
        image: The predicted image.
    """
    output, _ = _counted(kind, image)
    create_ome_zarr(
        folder,
        _shape(output, image),
        output.dtype,
        name=folder.name,
        **_zarr_options(output, image),
    )


def write_output_block(
    kind: str, folder: Path, image: PredictedImage, block: tuple[slice, slice], levels: int
) -> np.ndarray:
    """Writes one block of an output.

    Args:
        kind: Key of `OUTPUTS`.
        folder: What `create_output` made.
        image: The predicted image.
        block: Rows and columns of the block.
        levels: Number of overviews in which it is whole chunks.

    Returns:
        What was counted, for `figure_of`; the counts of all blocks add up.
    """
    output, sums = _counted(kind, image)
    with full_disk_named(folder):
        write_block(folder, *block, levels, _read_blocks(output, image))
    return sums


def figure_of(kind: str, sums: np.ndarray) -> np.ndarray | float | None:
    """What was counted of an output.

    Args:
        kind: Key of `OUTPUTS`.
        sums: What was counted in all of its pixels.

    Returns:
        (K,) int64, number of pixels of each class, for masks; mean over the pixels with data, for
        uncertainty and disagreement, None if no pixel has data; else None.
    """
    if kind == MASK:
        return sums
    if kind in (UNCERTAINTY, DISAGREEMENT):
        total, number = (int(one) for one in sums)
        return round(total / UNCERTAIN / number, MEAN_DIGITS) if number else None
    return None


def _counted(kind: str, image: PredictedImage) -> tuple[Output, np.ndarray]:
    """The output of an image, and what is counted while its pixels are computed, int64."""
    output = OUTPUTS[kind].of_options(kind, image.options)
    if kind == CUTOUT:
        return _of_cutout(image), np.zeros(0, np.int64)
    if kind == "objects" and image.objects is not None:
        return replace(output, dtype=image.objects.dtype), np.zeros(0, np.int64)
    if kind == MASK:
        output, sums = _of_mask(image), np.zeros(len(image.classes), np.int64)
    elif kind in (UNCERTAINTY, DISAGREEMENT):
        sums = np.zeros(2, np.int64)  # of values, and of pixels with data
    else:
        return output, np.zeros(0, np.int64)
    compute = output.pixels

    def counted(window: PredictedImage) -> np.ndarray:
        pixels = compute(window)
        if kind == MASK:
            for top in range(0, len(window.labels), COUNTED_ROWS):
                labels = window.labels[top : top + COUNTED_ROWS].ravel()
                sums[:] += np.bincount(labels, minlength=len(sums))[: len(sums)]
        else:
            known = pixels != NO_UNCERTAINTY
            sums[0] += int(pixels.sum(dtype=np.int64, where=known))
            sums[1] += int(np.count_nonzero(known))
        return pixels

    return replace(output, pixels=counted), sums


def _of_mask(image: PredictedImage) -> Output:
    """Masks in the style that is asked for."""
    style = image.options.mask
    table, nodata = mask_table(style, image.classes, NODATA_LABEL, has_gaps=image.has_gaps)
    return replace(
        OUTPUTS[MASK],
        pixels=lambda window: table.take(window.labels, axis=0),
        channels=table.shape[1],
        dtype=table.dtype.name,
        nodata=nodata,
        is_labels=style in ("index", "palette"),
        has_palette=style == "palette",
    )


def _of_cutout(image: PredictedImage) -> Output:
    """Cut-outs, whose opacity depends on pixels around a window, too."""
    scale = image.spec.scale
    cut_out = CutOut(
        _PixelsOf(image, 3, lambda window: window.photo),
        _PixelsOf(image, 1, lambda window: opacity(window.probabilities, window.classes)),
        pixel_side(scale, image.size),
        is_small=not scale.is_native,
        missing=image.source.missing,
    )
    return replace(OUTPUTS[CUTOUT], pixels=lambda window: cut_out.read(*window.spans))


class _PixelsOf:
    """Windows of what is computed of a predicted image, in 8 bits.

    Args:
        image: The image.
        channels: Number of channels.
        compute: Returns the pixels of a window of the image.
    """

    def __init__(
        self, image: PredictedImage, channels: int, compute: Callable[[PredictedImage], np.ndarray]
    ) -> None:
        self.shape, self.dtype = (*image.size, channels), np.dtype(np.uint8)
        self._image, self._compute = image, compute

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        return self._compute(self._image.window(rows, columns))


def _write_png(file: Path, output: Output, image: PredictedImage) -> None:
    pixels = output.pixels(image)
    if output.channels == 1:
        pixels = pixels[..., 0]
    palette = image.classes.colours if output.has_palette else None
    write_png(file, pixels, image.metadata, palette=palette, is_flat=output.is_exact)


def _write_jpeg(file: Path, output: Output, image: PredictedImage) -> None:
    write_jpeg(file, output.pixels(image), image.metadata)


def _write_npz(file: Path, output: Output, image: PredictedImage) -> None:
    arrays = {
        "probabilities": output.pixels(image),
        "classes": np.array(image.classes.names),
        "metadata": np.array(json.dumps(image.metadata)),
    }
    write_npz(file, arrays)


def _write_tiff(file: Path, output: Output, image: PredictedImage) -> None:
    classes = image.classes
    write_tiff_pyramid(
        file,
        _shape(output, image),
        output.dtype,
        _read_blocks(output, image),
        nearest=output.is_exact,
        palette=classes.colours if output.has_palette else None,
        names=classes.names if output.channels is None else None,
        metadata=image.metadata,
        geotags=image.source.geotags,
        nodata=output.nodata if image.has_gaps else None,
    )


def _write_zarr(file: Path, output: Output, image: PredictedImage) -> None:
    write_ome_zarr(
        file,
        _shape(output, image),
        output.dtype,
        _read_blocks(output, image),
        overwrite=True,
        **_zarr_options(output, image),
    )


def _zarr_options(output: Output, image: PredictedImage) -> dict[str, Any]:
    classes = image.classes
    return {
        "nearest": output.is_exact,
        "names": classes.names if output.is_labels or output.channels is None else None,
        "colours": classes.colours if output.is_labels else None,
        "metadata": image.metadata,
    }


Writer = Callable[[Path, Output, PredictedImage], None]
WRITERS: dict[str, Writer] = {  # by the file's last suffix
    ".png": _write_png,
    ".jpg": _write_jpeg,
    ".npz": _write_npz,
    **dict.fromkeys((".tif", ".tiff"), _write_tiff),
    ".zarr": _write_zarr,
}


def _shape(output: Output, image: PredictedImage) -> tuple[int, int, int]:
    return (*image.size, output.channels or len(image.classes))


def _read_blocks(output: Output, image: PredictedImage) -> Read:
    """Reads an output's pixels, computed in blocks of columns that take at most `WINDOW_BYTES`."""
    classes, channels = len(image.classes), _shape(output, image)[2]
    most_pixels = WINDOW_BYTES // max(PIXEL_BYTES, CLASS_BYTES * classes)

    def read(rows: slice, columns: slice) -> np.ndarray:
        height, width = rows.stop - rows.start, columns.stop - columns.start
        pixels = np.empty((height, width, channels), output.dtype)
        step = max(1, most_pixels // height)
        for left in range(0, width, step):
            block = slice(columns.start + left, columns.start + min(left + step, width))
            pixels[:, left : left + step] = output.pixels(image.window(rows, block))
        return pixels

    return read


def require_outputs(
    predictor: Predictor, kinds: Sequence[str], format: str, options: ResultOptions
) -> None:
    """Checks kinds, format and options of outputs.

    Args:
        predictor: The model.
        kinds: Kinds of output, keys of `OUTPUTS`.
        format: Format of the files, one of `OUTPUT_FORMATS`.
        options: How they are written.

    Raises:
        ConfigError: A kind or the format is unknown.
        DataError: A kind needs a background class, or objects, which the model does not have.
    """
    for name, given, accepted in (
        ("kind", kinds, tuple(OUTPUTS)),
        ("format", [format], OUTPUT_FORMATS),
    ):
        for one in given:
            if one not in accepted:
                raise ConfigError(
                    f"{name} is {one!r}; accepted are {', '.join(map(repr, accepted))}"
                )
    if format == "zarr":
        require_zarr()
    if "overlay" in kinds and options.overlay == "jpeg":
        size = len(json.dumps(predictor.spec.classes.names))
        if size > JPEG_LARGEST_COMMENT - OTHER_METADATA:
            raise ConfigError(
                f"overlay is 'jpeg' and the names of the classes of {predictor.path} take {size:,} "
                f"bytes; accepted are up to {JPEG_LARGEST_COMMENT - OTHER_METADATA:,} in the "
                "comment of a JPEG; use png"
            )

    if any(OUTPUTS[kind].needs_several for kind in kinds):
        predictor.require_several()
    if MASK in kinds:
        mask_table(options.mask, predictor.spec.classes, NODATA_LABEL)
    if not predictor.spec.objects.finds_objects:
        for kind in kinds:
            if OUTPUTS[kind].needs_objects:
                raise DataError(
                    f"{predictor.path} was not trained to tell objects apart, which the output "
                    f"{kind!r} needs; accepted are the other outputs, such as 'mask'; train on "
                    "masks of instances: unetkit train DATA --separation border"
                )
    if predictor.spec.classes.background is None:
        for kind in kinds:
            if OUTPUTS[kind].needs_background:
                raise DataError(
                    f"{predictor.path} has no background class, which the output {kind!r} needs; "
                    "accepted are the other outputs, such as 'overlay'"
                )


def require_jpeg_size(image: Path, size: tuple[int, int]) -> None:
    """Refuses an overlay as JPEG of an image that is too long.

    Args:
        image: Image file, for the message.
        size: (height, width) of the image.

    Raises:
        ConfigError: A side is longer than a JPEG may have.
    """
    if max(size) > JPEG_LARGEST_SIDE:
        raise ConfigError(
            f"overlay is 'jpeg' and {image} has {size[0]}x{size[1]} pixels; accepted are sides of "
            f"up to {JPEG_LARGEST_SIDE:,} pixels as JPEG; use png"
        )


def choose_output_format(image: Path, size: tuple[int, int], is_map: bool, format: str) -> str:
    """Returns the format of an image's outputs.

    Args:
        image: Image file, for the message.
        size: (height, width) of the image.
        is_map: Whether it has a georeference, or a value for pixels without data.
        format: Format that is asked for, one of `OUTPUT_FORMATS`.

    Raises:
        ConfigError: `format` is "png", and the image has more than `WHOLE_PIXELS` pixels.
    """
    is_large = math.prod(size) > WHOLE_PIXELS
    if is_large and format == "png":
        raise ConfigError(
            f"format is 'png' and {image} has {size[0]}x{size[1]} pixels; accepted are up to "
            f"{WHOLE_PIXELS:,} pixels as PNG; use tiff or zarr"
        )
    if format == "auto":
        return "tiff" if is_large or is_map else "png"
    return format
