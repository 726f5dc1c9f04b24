"""The framework under Keras: its device, its threads, its repeatability, its word for no memory.

TensorFlow runs operations that do not wait for each other on several threads, and sums whatever
comes first, first: the same training ends in other bytes. With one such thread, and its own
deterministic kernels, the bytes are the same again (benchmarks/repeatability.py has the price). On
GPUs XLA, which computes for JAX, has to be told so, too. Both listen only before they compute.
"""

import contextlib
import os
from collections.abc import Generator
from typing import Any

import keras

from unetkit.errors import ConfigError

CPU = "cpu"
VARIABLES = (
    "TF_ENABLE_ONEDNN_OPTS",
    "ONEDNN_MAX_CPU_ISA",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "OMP_NUM_THREADS",
    "XLA_FLAGS",
    "TF_XLA_FLAGS",
)
DETERMINISTIC_XLA = "--xla_gpu_deterministic_ops=true"
# What frameworks say when memory ends, but for MemoryError: the names of their errors' types, and
# the words in those that serve for everything.
OUT_OF_MEMORY_TYPES = ("ResourceExhaustedError", "OutOfMemoryError")
OUT_OF_MEMORY_WORDS = ("RESOURCE_EXHAUSTED", "out of memory", "not enough memory")


def make_repeatable() -> str | None:
    """Makes everything that follows give the same bytes each time on this machine.

    Returns:
        What stands against it, as a sentence; None if nothing does.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        flags = os.environ.get("XLA_FLAGS", "").split()
        if DETERMINISTIC_XLA not in flags and _jax_has_computed():
            return (
                "JAX has computed before in this process: the same bytes cannot be promised on "
                "GPUs; start training in a process of its own, or set "
                f"XLA_FLAGS={DETERMINISTIC_XLA}"
            )
        os.environ["XLA_FLAGS"] = " ".join(dict.fromkeys([*flags, DETERMINISTIC_XLA]))
        return None
    if backend != "tensorflow":
        return (
            f"the Keras backend is {backend}, for which the same bytes are not promised; set "
            "KERAS_BACKEND=tensorflow where they matter"
        )
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # it has computed already
        if inter_op_threads() != 1:
            return (
                "TensorFlow has computed before in this process, with several threads: the same "
                "bytes cannot be promised; start training in a process of its own, or set "
                "TF_NUM_INTEROP_THREADS=1"
            )
    return None


def _jax_has_computed() -> bool:
    from jax._src import xla_bridge  # nothing public tells without starting it

    return bool(getattr(xla_bridge, "backends_are_initialized", lambda: False)())


def inter_op_threads() -> int:
    """Threads for operations that do not wait for each other; 0 where the framework decides."""
    if keras.backend.backend() != "tensorflow":
        return 0
    import tensorflow as tf

    number: int = tf.config.threading.get_inter_op_parallelism_threads()
    if number == 0:
        with contextlib.suppress(ValueError):
            number = int(os.environ.get("TF_NUM_INTEROP_THREADS", "0"))
    return number


def intra_op_threads() -> int:
    """Threads within an operation; 0 where the framework decides."""
    if keras.backend.backend() != "tensorflow":
        return 0
    import tensorflow as tf

    number: int = tf.config.threading.get_intra_op_parallelism_threads()
    return number


def variables_that_matter() -> dict[str, str]:
    """Environment variables that are set and change what a framework computes, to the last bit."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def choose_device(wanted: str | None) -> str:
    """The device to train on: the first accelerator there is, else the processor.

    Args:
        wanted: "cpu", "gpu", "tpu", or one of several as in "gpu:1"; None for the best there is.

    Raises:
        ConfigError: What is wanted is not there.
    """
    devices = [*_devices("gpu"), *_devices("tpu"), *(_devices(CPU) or ["cpu:0"])]
    if wanted is None:
        return devices[0]
    fitting = [name for name in devices if name == wanted or name.partition(":")[0] == wanted]
    if not fitting:
        raise ConfigError(
            f"device {wanted!r} is not there for Keras on {keras.backend.backend()}; accepted are "
            f"{', '.join(devices)}; name one of them, or install what drives the other"
        )
    return fitting[0]


def _devices(kind: str) -> list[str]:
    """Devices of a kind, as "gpu:0"."""
    if keras.backend.backend() == "torch":  # for which Keras lists none
        import torch

        return [f"gpu:{i}" for i in range(torch.cuda.device_count())] if kind == "gpu" else []
    try:
        return list(keras.distribution.list_devices(kind))
    except RuntimeError:  # JAX knows no such kind on this machine
        return []


def describe_device(device: str) -> str:
    """The device, and what computes on it."""
    model = f"{os.cpu_count()} cores" if device.startswith(CPU) else _model_of(device)
    framework = f"Keras {keras.__version__} on {keras.backend.backend()}"
    return f"{device} ({model}), {framework}" if model else f"{device}, {framework}"


def _model_of(device: str) -> str:
    """What the maker calls an accelerator; nothing where the framework does not say."""
    kind, _, number = device.partition(":")
    if keras.backend.backend() == "jax":
        import jax

        return str(jax.devices(kind)[int(number)].device_kind)
    if keras.backend.backend() == "torch":
        import torch

        return str(torch.cuda.get_device_name(int(number)))
    import tensorflow as tf

    details = tf.config.experimental.get_device_details(
        tf.config.list_physical_devices(kind.upper())[int(number)]
    )
    return str(details.get("device_name", ""))


def fastest_precision(device: str) -> str:
    """The Keras dtype policy that trains fastest without harm: mixed on accelerators only."""
    if device.startswith("tpu"):
        return "mixed_bfloat16"
    return "mixed_float16" if device.startswith("gpu") else "float32"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of a framework says that memory did not suffice."""
    if isinstance(error, MemoryError) or type(error).__name__ in OUT_OF_MEMORY_TYPES:
        return True
    is_framework = type(error).__module__.startswith(("tensorflow", "jax", "torch"))
    return (isinstance(error, RuntimeError) or is_framework) and any(
        words in str(error) for words in OUT_OF_MEMORY_WORDS
    )


class OutOfMemoryError(Exception):
    """Something did not fit into memory; nothing is lost, and a smaller batch may fit."""


@contextlib.contextmanager
def watching_memory() -> Generator[None, None, None]:
    """Gives every framework's way to say that memory ended one name.

    Raises:
        OutOfMemoryError: It did.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(str(error)) from error
        raise


def on_device(device: str) -> Any:
    """A context in which Keras computes on this device."""
    return keras.device(device)
