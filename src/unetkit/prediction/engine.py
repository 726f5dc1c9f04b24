"""A model file in ONNX Runtime: the pixels of a tile in, logits out.

Feature maps are kept in ONNX Runtime's arena, whose pages stay warm from tile to tile, but without
its patterns of use: these would reserve all of a run's memory once more for each size of tile.
"""

import copy
import hashlib
from functools import reduce
from pathlib import Path

import numpy as np

from unetkit._shared import run_folder
from unetkit.errors import DataNotFoundError, ModelFileError
from unetkit.models.onnx_check import require_plain
from unetkit.models.onnx_runtime import onnxruntime
from unetkit.models.spec import METADATA_KEY, ModelSpec, spec_from_json


class Engine:
    """An exported network, for any number of threads at once.

    Args:
        model: A run folder or an exported .onnx file.
        threads: That one run works on; None for one a core.

    Raises:
        DataNotFoundError: The path does not exist, or the run was not exported.
        ModelFileError: The file is not a model that unetkit exported.

    Source: ONNX Runtime.
    """

    def __init__(self, model: str | Path, threads: int | None = None) -> None:
        self.path = find_model(model)
        self._content = require_plain(self.path)
        self.digest = hashlib.sha256(self._content).hexdigest()
        self._start(threads)

    def on_threads(self, threads: int) -> "Engine":
        """The same network on another number of threads, whatever has become of its file."""
        other = copy.copy(self)
        other._start(threads)
        return other

    def _start(self, threads: int | None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its errors are raised; its log would say them twice
        options.intra_op_num_threads = threads or 0
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            self._session = onnxruntime.InferenceSession(
                self._content, options, providers=["CPUExecutionProvider"]
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

    def __call__(self, tile: np.ndarray, is_last: bool = False) -> np.ndarray:
        """One run of the network.

        Args:
            tile: (h, w, C) pixel values at the network's scale, of a size that it takes.
            is_last: Whether memory that is kept for further tiles is given back afterwards.

        Returns:
            (h', w', K) float32 logits; h' and w' are smaller by twice the network's margin.

        Raises:
            ModelFileError: It fails, or gives another size.
        """
        batch = tile[None].astype(np.float32)
        options = onnxruntime.RunOptions()
        if is_last:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            (logits,) = self._session.run(None, {self._input: batch}, options)
        except Exception as error:  # ONNX Runtime's exceptions share no base but this
            height, width = tile.shape[:2]
            raise ModelFileError(
                f"{self.path} failed on {height}x{width} pixels at the network's scale "
                f"({_first_line(error)}); accepted are tiles for which memory suffices; allow "
                "less memory, or export the model again"
            ) from error
        margin = self.spec.geometry.margin
        if [size + 2 * margin for size in logits.shape[1:3]] != list(tile.shape[:2]):
            raise self._other_interface()
        return logits[0]

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
        if (path / run_folder.MODEL).is_file():
            return path / run_folder.MODEL
        raise DataNotFoundError(
            f"folder {path} holds no {run_folder.MODEL}; accepted is the folder of a finished run, "
            f"or an .onnx file; check the path, or run: unetkit export {path} --out "
            f"{path / run_folder.MODEL}"
        )
    if not path.is_file():
        raise DataNotFoundError(
            f"model {path} does not exist; accepted is a run folder or an .onnx file; check the "
            "path"
        )
    return path


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities from (..., K) float32 logits.

    Class by class: NumPy reduces an axis of a few numbers ten times as slowly.
    """
    classes = range(logits.shape[-1])
    powers = np.exp(logits - reduce(np.maximum, (logits[..., k] for k in classes))[..., None])
    powers /= reduce(np.add, (powers[..., k] for k in classes))[..., None]
    return powers


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
