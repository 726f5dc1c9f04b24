"""From a model file and pictures to masks, through ONNX Runtime.

No training framework is imported here: what only predicts starts in a second and installs small.
A picture goes through the model's stored scale policy; the probabilities come back at the
picture's own size, and only then is the most probable class taken.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from unetkit import runfolder
from unetkit.errors import (
    DataError,
    DataNotFoundError,
    ModelFileError,
    OutputExistsError,
    SizeError,
)
from unetkit.modelfile import require_plain
from unetkit.outputs import cutout, overlay, palette_picture, write_picture, write_probabilities
from unetkit.pictures import IMAGE_SUFFIXES, count_pictures, read_image, read_picture, sniff
from unetkit.pixels import DTYPES
from unetkit.runtime import onnxruntime
from unetkit.scale import image_to_network, scores_from_network
from unetkit.spec import METADATA_KEY, ModelSpec, spec_from_json
from unetkit.tiling import Span, apply_tiles, choose_tiles, cut, read_tile, smallest_tile

# Of three layers of 32 channels, as the `notebook` preset has them at once, 400 MB.
TILE_PIXELS = 1 << 20
STANDARD_INPUT = "standard input"


class Predictor:
    """A trained network, ready to segment pictures of any size.

    Args:
        model: A run folder or an exported .onnx file.
        threads: Threads of the network; None for one a core.
        tile_pixels: That the network is shown at once, at the most; a million by default. Of
            `native` models, larger pictures go through it in tiles, and the answer is the same.

    Raises:
        DataNotFoundError: The path does not exist, or the run was not exported.
        ModelFileError: The file is not a model that unetkit exported.
        SizeError: `tile_pixels` are fewer than the smallest tile has.

    Source of the engine: ONNX Runtime.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        threads: int | None = None,
        tile_pixels: int | None = None,
    ) -> None:
        self.path = find_model(model)
        content = require_plain(self.path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its errors are raised; its log would say them twice
        options.intra_op_num_threads = threads or 0
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base but this
            raise ModelFileError(
                f"{self.path} is not a model that can be loaded ({_first_line(error)}); accepted "
                "is a run folder or an .onnx file that unetkit exported; check the path, or export "
                "it again"
            ) from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise ModelFileError(
                f"{self.path} was not exported by unetkit: it does not say how pictures reach it; "
                "accepted is a run folder or an .onnx file from unetkit export; export one"
            )
        self.spec: ModelSpec = spec_from_json(metadata[METADATA_KEY], str(self.path))
        self._require_interface()
        least = smallest_tile(self.spec.geometry) ** 2
        if tile_pixels is not None and tile_pixels < least:
            raise SizeError(
                f"tile_pixels is {tile_pixels}; accepted are numbers from {least} up, the smallest "
                f"tile of {self.path}; allow more"
            )
        self._tile_pixels = max(tile_pixels or TILE_PIXELS, least)

    def __call__(self, image: np.ndarray | str | Path) -> np.ndarray:
        """Segments one picture.

        Args:
            image: A file of one picture, or (H, W, C) or (H, W) pixel values: uint8, uint16 or
                float32, as the model's pictures have them.

        Returns:
            (H, W) uint8 class indices, at the picture's size.

        Raises:
            DataNotFoundError, DataError: The file cannot be read, or a pixel is no finite number.
            SizeError: The array has another type, or channels that the model does not take.
        """
        return self.probabilities(image).argmax(-1).astype(np.uint8)

    def probabilities(self, image: np.ndarray | str | Path) -> np.ndarray:
        """Probability of each class for each pixel, (H, W, K) float32; arguments as in a call."""
        pixels = self._pixels(image)
        scores = self.network_probabilities(pixels)
        return scores_from_network(scores, self.spec.scale, pixels.shape[:2])

    def network_probabilities(self, image: np.ndarray | str | Path) -> np.ndarray:
        """Probabilities at the network's scale, letterbox bars included, (h, w, K) float32."""
        shown = image_to_network(self._pixels(image), self.spec.scale)
        return _softmax(self._logits(shown))

    def _logits(self, shown: np.ndarray) -> np.ndarray:
        """Runs the network on a picture of any size, in tiles where it is large.

        Args:
            shown: (h, w, C) pixels at the network's scale.

        Returns:
            (h, w, K) float32, as one run over the whole picture would give them.
        """
        size, geometry = (shown.shape[0], shown.shape[1]), self.spec.geometry
        if self.spec.scale.is_native:
            tiling = choose_tiles(size, geometry, self._tile_pixels)
        else:  # all pictures are of one size, and the file takes no other
            tiling = cut(size, geometry)
        logits = np.empty((*size, len(self.spec.classes)), np.float32)

        def read(rows: Span, columns: Span) -> np.ndarray:
            return read_tile(shown, rows, columns)

        def write(rows: Span, columns: Span, answer: np.ndarray) -> None:
            logits[slice(*rows.kept), slice(*columns.kept)] = answer

        apply_tiles(tiling, read, self._run, write)
        return logits

    def _run(self, tile: np.ndarray) -> np.ndarray:
        """One run of the network, over (h, w, C) pixels of a size that it takes."""
        batch = tile[None].astype(np.float32)
        try:
            (logits,) = self._session.run(None, {self._input: batch})
        except Exception as error:  # ONNX Runtime's exceptions share no base but this
            height, width = tile.shape[:2]
            raise ModelFileError(
                f"{self.path} failed on {height}x{width} pixels at the network's scale "
                f"({_first_line(error)}); accepted are tiles for which memory suffices; allow "
                "fewer tile_pixels, or export the model again"
            ) from error
        margin = self.spec.geometry.margin
        if [size + 2 * margin for size in logits.shape[1:3]] != list(tile.shape[:2]):
            raise self._other_interface()
        return logits[0]

    def _pixels(self, image: np.ndarray | str | Path) -> np.ndarray:
        format = self.spec.pixels
        if not isinstance(image, np.ndarray):
            self.require_one_picture(Path(image))
            return read_image(image, format)
        pixels = image[..., None] if image.ndim == 2 else image
        refusal = SizeError(
            f"image is {image.shape} {image.dtype}; accepted is (H, W, {format.channels}) "
            f"{format.dtype} of at least one pixel; convert it"
        )
        if pixels.ndim != 3 or str(pixels.dtype) not in DTYPES or 0 in pixels.shape:
            raise refusal
        if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
            raise DataError(
                f"image {image.shape} has pixels that are no finite numbers; accepted are finite "
                "numbers; fill such pixels before"
            )
        try:
            return format.accept(pixels, "image")
        except DataError as error:
            raise refusal from error

    def require_one_picture(self, image: Path) -> None:
        """Refuses pages that would be read as channels, though they are none to this model.

        Raises:
            DataError: A file has some.
        """
        if sniff(image) == "TIFF" and not _is_one_picture(image, self.spec):
            raise DataError(
                f"{image} holds {count_pictures(image, self.spec.pixels.channel_axis)} pictures; "
                "accepted is a file of one; predict all of its pages with predict_files, or pass "
                "one as an array"
            )

    def _require_interface(self) -> None:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        spec = self.spec
        if (
            len(inputs) != 1
            or len(outputs) != 1
            or [len(inputs[0].shape), len(outputs[0].shape)] != [4, 4]
            or inputs[0].shape[-1] != spec.pixels.channels
            or outputs[0].shape[-1] != len(spec.classes)
        ):
            raise self._other_interface()
        self._input = inputs[0].name

    def _other_interface(self) -> ModelFileError:
        return ModelFileError(
            f"{self.path} takes and gives other arrays than its metadata says; accepted are "
            "models that unetkit exported; export it again from its run folder"
        )


def find_model(model: str | Path) -> Path:
    """The model file that a run folder or a path names.

    Raises:
        DataNotFoundError: There is none.
    """
    path = Path(model)
    if path.is_dir():
        if (path / runfolder.MODEL).is_file():
            return path / runfolder.MODEL
        raise DataNotFoundError(
            f"folder {path} holds no {runfolder.MODEL}; accepted is the folder of a finished run, "
            f"or an .onnx file; check the path, or run: unetkit export {path} --out "
            f"{path / runfolder.MODEL}"
        )
    if not path.is_file():
        raise DataNotFoundError(
            f"model {path} does not exist; accepted is a run folder or an .onnx file; check the "
            "path"
        )
    return path


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def find_images(inputs: Iterable[str | Path]) -> list[Path]:
    """Expands files, folders and glob patterns to image files.

    Raises:
        DataNotFoundError: One of them names no image.
    """
    found: list[Path] = []
    for item in inputs:
        path = Path(item)
        if path.is_dir():
            matches = sorted(p for p in path.iterdir() if _is_image(p))
        elif path.exists():
            matches = [path]
        elif any(sign in str(item) for sign in "*?["):
            anchor = Path(path.anchor)
            pattern = str(path.relative_to(anchor)) if path.anchor else str(path)
            matches = sorted(p for p in anchor.glob(pattern) if _is_image(p))
        else:
            matches = []
        if not matches:
            raise DataNotFoundError(
                f"{item} names no image; accepted are image files, a folder of them, or a pattern "
                f"such as 'photos/*.jpg' ({', '.join(IMAGE_SUFFIXES)}); check the path"
            )
        found += matches
    return list(dict.fromkeys(found))


def _is_image(path: Path) -> bool:
    return (
        path.is_file() and not path.name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES
    )


KINDS = {  # kind of output: how its file's name ends
    "mask": ".png",
    "overlay": "_overlay.png",
    "cutout": "_cutout.png",
    "probabilities": "_probabilities.npz",
}


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    out: str | Path,
    *,
    kinds: Sequence[str] = ("mask",),
    overwrite: bool = False,
    on_done: Callable[[], object] = lambda: None,
    on_result: Callable[[str, np.ndarray, np.ndarray], object] | None = None,
) -> list[Path]:
    """Segments files and writes what is asked for, named after each image.

    A file of several pictures gives results NAME_p000, NAME_p001 and so on. Nothing is written
    before all names are known to be free.

    Args:
        kinds: Of "mask" (class indices, PNG with a palette), "overlay" (classes over the photo),
            "cutout" (the photo, its background transparent), "probabilities" (NPZ).
        overwrite: Whether results that exist already may be replaced. Images never are.
        on_done: Called after each file.
        on_result: Called with the name, the photo, (H, W, 3) uint8, and the mask of each picture.

    Returns:
        The files written.

    Raises:
        OutputExistsError: A result exists, two images share a name, or a result would replace an
            image.
        DataError: An image cannot be read, or a cut-out is asked of a model without background.
    """
    out = Path(out)
    classes = predictor.spec.classes
    if "cutout" in kinds and classes.background is None:
        raise DataError(
            f"{predictor.path} has no background class; a cut-out needs one; ask for an overlay"
        )
    plan = _plan_outputs(_pictures_of(images, predictor.spec), out, kinds, overwrite)
    written = []
    for (image, page), files in plan.items():
        pixels = read_image(image, predictor.spec.pixels, page)
        photo = predictor.spec.pixels.photo(pixels)
        probabilities = predictor.probabilities(pixels)
        mask = probabilities.argmax(-1).astype(np.uint8)
        out.mkdir(parents=True, exist_ok=True)
        for kind, file in files.items():
            if kind == "mask":
                write_picture(file, palette_picture(mask, classes))
            elif kind == "overlay":
                write_picture(file, Image.fromarray(overlay(photo, mask, classes)))
            elif kind == "cutout":
                alpha = 1 - probabilities[..., classes.background]
                write_picture(file, cutout(photo, alpha))
            else:
                write_probabilities(file, probabilities, classes)
            written.append(file)
        if on_result is not None:
            on_result(image.name if page is None else f"{image.name}, page {page}", photo, mask)
        if not page:
            on_done()
    return written


def predict_stream(predictor: Predictor, content: bytes, kind: str = "mask") -> bytes:
    """Segments the content of one image file, such as what comes through a pipe.

    Args:
        content: Of a file of one picture.
        kind: As for `predict_files`.

    Returns:
        The content of the result's file: PNG, or NPZ of probabilities.

    Raises:
        DataError: It is no image that can be read, or holds several pictures.
    """
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image")
        image.write_bytes(content)
        try:
            predictor.require_one_picture(image)
            (file,) = predict_files(predictor, [image], Path(folder, "results"), kinds=[kind])
        except DataError as error:
            raise DataError(str(error).replace(str(image), STANDARD_INPUT)) from error
        return file.read_bytes()


def _pictures_of(images: Sequence[Path], spec: ModelSpec) -> dict[tuple[Path, int | None], str]:
    """Each picture as a file and a page, None for the only one, and the name of its results."""
    pictures: dict[tuple[Path, int | None], str] = {}
    for image in images:
        if _is_one_picture(image, spec):
            pictures[image, None] = image.stem
        else:
            count = count_pictures(image, spec.pixels.channel_axis)
            pictures |= {(image, page): f"{image.stem}_p{page:03d}" for page in range(count)}
    return pictures


def _is_one_picture(image: Path, spec: ModelSpec) -> bool:
    """Whether a file holds one picture, or is a TIFF with a grey page for each of its channels.

    Models of grey and colour know no such pages, unless they say that channels come first: a grey
    page is a picture that they take.
    """
    format = spec.pixels
    count = count_pictures(image, format.channel_axis)
    if count == 1:
        return True
    is_photo = format.channels in (1, 3) and format.channel_axis != "first"
    if is_photo or count != format.channels or sniff(image) != "TIFF":
        return False
    return read_picture(image, 0, format.channel_axis).bands.shape[2] == 1


def _plan_outputs(
    pictures: Mapping[tuple[Path, int | None], str],
    out: Path,
    kinds: Sequence[str],
    overwrite: bool,
) -> dict[tuple[Path, int | None], dict[str, Path]]:
    if out.exists() and not out.is_dir():
        raise OutputExistsError(
            f"output {out} is a file; accepted is a folder; name another with --out"
        )
    sources = {image.resolve() for image, _ in pictures}
    folders = {image.parent for image in sources}
    if overwrite and out.resolve() in folders:
        raise OutputExistsError(
            f"output {out} is a folder of the images, where --overwrite might replace other "
            "pictures; accepted is another folder; name one with --out"
        )
    plan = {
        picture: {kind: out / (name + KINDS[kind]) for kind in kinds}
        for picture, name in pictures.items()
    }
    owners: dict[Path, Path] = {}
    for (image, _), files in plan.items():
        for file in files.values():
            if file in owners:
                raise OutputExistsError(
                    f"{owners[file]} and {image} would both be written to {file}; accepted are "
                    "images of different names; predict them into two folders"
                )
            if file.resolve() in sources:
                raise OutputExistsError(
                    f"{file} is one of the images; results never replace images; name another "
                    "folder with --out"
                )
            if file.exists() and not overwrite:
                raise OutputExistsError(
                    f"{file} exists already; accepted is a folder without earlier results; name "
                    "another with --out, or allow it with --overwrite"
                )
            owners[file] = image
    return plan


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
