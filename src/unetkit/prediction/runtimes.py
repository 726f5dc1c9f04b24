"""Libraries that run a network: ONNX Runtime, which is always there, and OpenVINO.

Both compute in single precision, from the same bytes of a model file, which `engine` has checked.
Answers differ by the order of sums only, within 1e-5 of the range of the logits.

ONNX Runtime allocates feature maps in its memory arena, which is reused from tile to tile. Its
memory patterns are turned off: they would reserve the memory of a run again for each tile size.
OpenVINO keeps memory for each call at the same time, so that each thread has a request of its own.
"""

import os
import threading
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from unetkit._shared.installation import install_command
from unetkit._shared.threads import usable_cores
from unetkit.errors import ConfigError, MissingExtraError, did_you_mean
from unetkit.models.onnx_runtime import onnxruntime

ENGINES = ("onnxruntime", "openvino")
DEVICES = ("cpu", "gpu")
# Providers of ONNX Runtime for GPUs, and options by which they compute in single precision.
GPU_PROVIDERS: dict[str, dict[str, str]] = {
    "CUDAExecutionProvider": {"use_tf32": "0"},
    "ROCMExecutionProvider": {},
    "MIGraphXExecutionProvider": {},
    "DmlExecutionProvider": {},
}

Sizes = list[Any]  # of an array: numbers, and anything else where a size is not fixed


@dataclass(frozen=True)
class Runtime:
    """Which library runs a network, and where.

    Args:
        engine: "onnxruntime" or "openvino".
        device: "cpu" or "gpu".

    Raises:
        ConfigError: One of them is unknown, or the library has no such device here.
        MissingExtraError: OpenVINO is not installed.
    """

    engine: str = "onnxruntime"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, given, accepted in (
            ("engine", self.engine, ENGINES),
            ("device", self.device, DEVICES),
        ):
            if given not in accepted:
                raise ConfigError(
                    f"{name} is {given!r}; accepted are {', '.join(map(repr, accepted))}"
                    f"{did_you_mean(given, accepted)}"
                )
        if self.engine == "openvino":
            devices = _openvino().Core().available_devices
            if not any(device.startswith(self.device.upper()) for device in devices):
                raise ConfigError(
                    f"device is {self.device!r} and OpenVINO finds {', '.join(devices)} here; "
                    "accepted is one of these; for a GPU, install its driver"
                )
        elif self.device == "gpu" and _gpu_provider() is None:
            raise ConfigError(
                f"device is 'gpu' and the installed ONNX Runtime {onnxruntime.__version__} has "
                f"{', '.join(onnxruntime.get_available_providers())} only; accepted is 'cpu'; "
                "for a GPU of NVIDIA: pip uninstall onnxruntime, then pip install onnxruntime-gpu"
            )

    @property
    def version(self) -> str:
        """Version of the library."""
        found = _openvino() if self.engine == "openvino" else onnxruntime
        return str(found.__version__).partition("-")[0]

    def describe(self) -> str:
        """Library, its version and the device, as results name them.

        >>> Runtime().describe().startswith("onnxruntime 1.")
        True
        """
        return f"{self.engine} {self.version}" + (" on a GPU" if self.device == "gpu" else "")

    def start(self, content: bytes, threads: int | None) -> "LoadedNetwork":
        """Loads a network.

        Args:
            content: A model file that has been checked.
            threads: Number of threads that one call uses; None for one per core of the process.

        Raises:
            Exception: The library cannot load it; its own exceptions share no base but this.
        """
        kind = _OpenVino if self.engine == "openvino" else _OnnxRuntime
        return kind(content, threads, self.device)


class LoadedNetwork(Protocol):
    """A loaded network, which any number of threads may call at the same time.

    Attributes:
        inputs: Sizes of each input.
        outputs: Sizes of each output.
    """

    inputs: list[Sizes]
    outputs: list[Sizes]

    def __call__(self, batch: np.ndarray, is_last: bool) -> np.ndarray:
        """Runs the network; after the last call, memory that is kept for further ones is freed."""
        ...


class _OnnxRuntime:
    def __init__(self, content: bytes, threads: int | None, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its errors are raised, and would be logged a second time
        # By default those of the machine, even where the process may use fewer cores.
        cores = usable_cores()
        options.intra_op_num_threads = threads or (cores if cores < (os.cpu_count() or 1) else 0)
        options.enable_mem_pattern = False
        # Threads that spin while they wait for each other take the cores of other processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.load_model_format", "ONNX")
        providers: list[Any] = ["CPUExecutionProvider"]
        wanted = _gpu_provider() if device == "gpu" else None
        if wanted is not None:
            providers.insert(0, (wanted, GPU_PROVIDERS[wanted]))
        self._session = onnxruntime.InferenceSession(content, options, providers=providers)
        if wanted is not None and self._session.get_providers()[0] != wanted:
            raise ConfigError(  # it would go on with the processor, and only log why
                f"device is 'gpu' and {wanted} of ONNX Runtime cannot be used here; accepted is "
                "'cpu'; install the libraries of the GPU that this version of ONNX Runtime needs"
            )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.inputs = [list(one.shape) for one in inputs]
        self.outputs = [list(one.shape) for one in outputs]
        self._name = inputs[0].name if inputs else ""

    def __call__(self, batch: np.ndarray, is_last: bool) -> np.ndarray:
        options = onnxruntime.RunOptions()
        if is_last:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        (found,) = self._session.run(None, {self._name: batch}, options)
        return np.asarray(found)


class _OpenVino:
    def __init__(self, content: bytes, threads: int | None, device: str) -> None:
        openvino = _openvino()
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if device == "cpu":
            cores = usable_cores()
            streams = 1 if threads is None else max(1, cores // threads)
            options |= {
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": streams * (threads or cores),
            }
        core = openvino.Core()
        self._network = core.compile_model(core.read_model(content), device.upper(), options)
        self.inputs = [_sizes(one) for one in self._network.inputs]
        self.outputs = [_sizes(one) for one in self._network.outputs]
        self._requests = threading.local()

    def __call__(self, batch: np.ndarray, is_last: bool) -> np.ndarray:
        request = getattr(self._requests, "own", None)
        if request is None:
            request = self._requests.own = self._network.create_infer_request()
        found = np.array(request.infer([batch])[0])  # a copy: the next call writes over it
        if is_last:
            self._requests.own = None
            self._network.release_memory()
        return found


def _sizes(port: Any) -> Sizes:
    return [None if size.is_dynamic else size.get_length() for size in port.get_partial_shape()]


def _gpu_provider() -> str | None:
    """Provider of ONNX Runtime for a GPU, if the installed one has any."""
    available = onnxruntime.get_available_providers()
    return next((name for name in GPU_PROVIDERS if name in available), None)


def _openvino() -> Any:
    try:
        from unetkit.models.openvino_runtime import openvino
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"engine 'openvino' needs {error.name}, which is not installed; accepted without it is "
            f"'onnxruntime'; {install_command('openvino')}"
        ) from error
    return openvino
