"""A model file that has been checked, and runs: pixels of a tile in, logits out.

Which library runs it is left to `runtimes`, which tiles it is given to `tiling` and `predictor`.
"""

import copy
import hashlib
import shlex
from functools import reduce
from pathlib import Path

import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.memory_budget import DEFAULT_MEMORY, MIB
from unetkit._shared.threads import usable_cores
from unetkit.errors import DataNotFoundError, ModelFileError, SizeError, UnetkitError
from unetkit.models.built_in import is_built_in
from unetkit.models.int8_card import INT8_KEY, Int8Card, card_from_json
from unetkit.models.known_models import is_known
from unetkit.models.onnx_check import is_checkable, metadata_entries, require_plain
from unetkit.models.onnx_cost import Cost, OnnxCost
from unetkit.models.spec import METADATA_KEY, ModelSpec, spec_from_json
from unetkit.prediction.runtimes import Runtime

OVERHEAD = 64 * MIB  # of Python and its libraries, at least
# Limits of one tile. The largest networks take a million operations per pixel; this is at least a
# hundred times as many, and in all some minutes of an ordinary computer.
MOST_OPERATIONS = 10**13
MOST_PER_PIXEL = 10**8
LEAST_OPERATIONS = 10**10


class Engine:
    """An exported network that any number of threads may call at the same time.

    Args:
        model: Run folder or exported .onnx file.
        threads: Number of threads that one call uses; None for one per core of the process.
        memory: Bytes that the smallest tile may need; more is refused before the file is loaded.
        runtime: Library that runs the network, and where.

    Raises:
        DataNotFoundError: `model` does not exist, or the run folder holds no exported model.
        ModelFileError: The file is not a model that unetkit exported, or its smallest tile would
            take hours.
        SizeError: The smallest tile of the network needs more than `memory`.
        ConfigError: The library cannot use the GPU.
    """

    def __init__(
        self,
        model: str | Path,
        threads: int | None = None,
        memory: int = DEFAULT_MEMORY,
        runtime: Runtime | None = None,
    ) -> None:
        self.runtime = runtime or Runtime()
        self.path = find_model(model)
        self._content = require_plain(self.path)
        self.is_checkable = is_checkable(self.path, self._content)
        self.digest = hashlib.sha256(self._content).hexdigest()
        self.is_known = is_built_in(self.path) or is_known(self.digest)
        self.spec: ModelSpec = spec_from_json(self._metadata(), str(self.path))
        self.card = self._card()
        try:
            self._cost = OnnxCost(self._content)
        except ValueError as error:
            raise self._unknown_need(error) from error
        # A runtime computes with constants while it loads, so this comes first.
        require_fitting(self, self.load_size, memory)
        self._start(threads)

    @property
    def load_size(self) -> tuple[int, int]:
        """(height, width) of the smallest input that the network takes, by its metadata."""
        scale, geometry = self.spec.scale, self.spec.geometry
        if scale.is_native:
            return geometry.smallest_input, geometry.smallest_input
        return geometry.input_size(scale.height), geometry.input_size(scale.width)

    def cost(self, size: tuple[int, int]) -> Cost:
        """Returns memory and work of one run over a tile, computed from the graph.

        Args:
            size: (height, width) of the tile, which the network takes.

        Raises:
            ModelFileError: It cannot be computed.
        """
        try:
            return self._cost.of_tile(*size, self.spec.pixels.channels)
        except ValueError as error:
            raise self._unknown_need(error) from error

    def _unknown_need(self, error: Exception) -> ModelFileError:
        return ModelFileError(
            f"the memory that {self.path} needs cannot be computed ({error}); accepted is a run "
            "folder or an .onnx file that unetkit exported; export it again"
        )

    def _metadata(self) -> str:
        try:
            metadata = metadata_entries(self._content)
            if METADATA_KEY in metadata:
                return str(metadata[METADATA_KEY], "utf-8")
        except ValueError as error:
            raise self._damaged(error) from error
        raise ModelFileError(
            f"{self.path} was not exported by unetkit: its metadata has no entry "
            f"{METADATA_KEY!r}, which describes its input; accepted is a run folder or an "
            ".onnx file from unetkit export"
        )

    def _card(self) -> Int8Card | None:
        """What rounding to 8 bits cost, of a network of whole numbers."""
        entry = metadata_entries(self._content).get(INT8_KEY)
        if entry is None:
            return None
        return card_from_json(entry.decode("utf-8", "replace"), str(self.path))

    def _damaged(self, error: Exception) -> ModelFileError:
        return ModelFileError(
            f"{self.path} is not a model that can be loaded ({_first_line(error)}); accepted "
            "is a run folder or an .onnx file that unetkit exported; export it again"
        )

    def on_threads(self, threads: int) -> "Engine":
        """Returns the same network with a number of threads; its file is not read again."""
        if threads == self._threads:
            return self
        other = copy.copy(self)
        other._start(threads)
        return other

    def _start(self, threads: int | None) -> None:
        self._threads = threads or usable_cores()
        try:
            self._session = self.runtime.start(self._content, threads)
        except UnetkitError:
            raise
        except Exception as error:  # exceptions of the libraries share no base but this
            raise self._damaged(error) from error
        self._require_interface()

    def __call__(self, tile: np.ndarray, is_last: bool = False) -> np.ndarray:
        """Runs the network on a tile.

        Args:
            tile: Pixel values at the network's scale, (h, w, C), of a size that the network takes.
            is_last: Whether to release the memory that is kept for further tiles afterwards.

        Returns:
            Logits, (h', w', K) float32, and (h', w', K + 1) of a network that tells objects apart
            by one more output; h' and w' are smaller by twice the network's margin.

        Raises:
            ModelFileError: The run fails, or its output has another shape than the model's metadata
                describes, or values that are not finite.
        """
        batch = tile[None].astype(np.float32)
        try:
            logits = self._session(batch, is_last)
        except Exception as error:  # exceptions of the libraries share no base but this
            height, width = tile.shape[:2]
            raise ModelFileError(
                f"{self.path} failed on {height}x{width} pixels at the network's scale "
                f"({_first_line(error)}); accepted are tiles that fit into memory; allow less "
                "memory, so that tiles are smaller, or export the model again"
            ) from error
        margin = self.spec.geometry.margin
        height, width = (size - 2 * margin for size in tile.shape[:2])
        if logits.shape != (1, height, width, self.spec.channels):
            raise self._other_interface()
        if not np.isfinite(logits).all():
            raise ModelFileError(
                f"{self.path} answers with values that are not finite, so that no class can be "
                "told; accepted are models with finite weights; train again, or restore the file "
                "from a copy"
            )
        return np.asarray(logits[0], np.float32)

    def _require_interface(self) -> None:
        inputs, outputs = self._session.inputs, self._session.outputs
        spec = self.spec
        if (
            [len(sizes) for sizes in inputs] != [4]
            or [len(sizes) for sizes in outputs] != [4]
            or inputs[0][-1] != spec.pixels.channels
            or outputs[0][-1] != spec.channels
        ):
            raise self._other_interface()

    def _other_interface(self) -> ModelFileError:
        return ModelFileError(
            f"{self.path} has an input or output whose shape differs from its metadata; accepted "
            "are models that unetkit exported; export it again from its run folder"
        )


def require_fitting(engine: Engine, size: tuple[int, int], memory: int) -> Cost:
    """Returns the cost of a tile, which is refused if it takes too much memory or time.

    Args:
        engine: The network; its file need not be loaded yet.
        size: (height, width) of the tile.
        memory: Memory limit in bytes.

    Raises:
        SizeError: The tile needs more memory.
        ModelFileError: The tile would take hours.
    """
    cost = engine.cost(size)
    height, width = size
    if cost.bytes + OVERHEAD > memory:
        raise SizeError(
            f"memory is {memory / MIB:,.0f} MiB; accepted are amounts from "
            f"{-(-(cost.bytes + OVERHEAD) // MIB):,} MiB up, the need of one {height}x{width} tile "
            f"of {engine.path}; allow more memory, or export the model for smaller images"
        )
    most = min(MOST_OPERATIONS, LEAST_OPERATIONS + MOST_PER_PIXEL * height * width)
    if cost.operations > most:
        raise ModelFileError(
            f"{engine.path} multiplies {cost.operations:,} times for one {height}x{width} tile; "
            f"accepted are up to {most:,}; export a smaller network"
        )
    return cost


def find_model(model: str | Path) -> Path:
    """Returns the model file of a run folder, or the file itself.

    Args:
        model: Run folder or .onnx file.

    Raises:
        DataNotFoundError: `model` does not exist, or the run folder holds no model file.
    """
    path = Path(model)
    if path.is_dir():
        if (path / run_folder.MODEL).is_file():
            return path / run_folder.MODEL
        remedy = ""
        if (path / run_folder.WEIGHTS).is_file():
            to = path / run_folder.MODEL
            remedy = f"; run: {shlex.join(['unetkit', 'export', str(path), '--out', str(to)])}"
        elif (path / run_folder.CONFIG).is_file():
            remedy = f"; run: {shlex.join(['unetkit', 'train', '--resume', str(path)])}"
        raise DataNotFoundError(
            f"folder {path} holds no {run_folder.MODEL}; accepted is the folder of a finished run, "
            f"or an .onnx file{remedy}"
        )
    if not path.is_file():
        raise DataNotFoundError(
            f"model {path} does not exist; accepted is a run folder or an .onnx file"
        )
    return path


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns class probabilities, (..., K) float32, from logits of the same shape.

    Loops over the classes: NumPy takes ten times as long to reduce an axis of a few elements.
    """
    classes = range(logits.shape[-1])
    powers = np.exp(logits - reduce(np.maximum, (logits[..., k] for k in classes))[..., None])
    powers /= reduce(np.add, (powers[..., k] for k in classes))[..., None]
    return powers


def scores_from_logits(logits: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns probabilities of the classes, and of the output that tells objects apart, if any.

    Args:
        logits: Output of a network, (..., K) or (..., K + 1) float32.
        num_classes: Number of classes K.

    Returns:
        (..., K) or (..., K + 1) float32: probabilities that sum to 1 over K, and one from 0 to 1.
    """
    probabilities = softmax(logits[..., :num_classes])
    if logits.shape[-1] == num_classes:
        return probabilities
    others = 1 / (1 + np.exp(-logits[..., num_classes:]))
    return np.concatenate([probabilities, others], axis=-1, dtype=np.float32)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
