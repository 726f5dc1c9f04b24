"""The framework under Keras: its devices, threads, reproducibility and out-of-memory errors.

TensorFlow runs independent operations on several threads and adds their results in the order in
which they finish, so that the same training ends with other bytes. With one such thread and its
deterministic kernels, the bytes are the same (benchmarks/repeatability.py measures the cost). On
GPUs, XLA, which compiles for JAX, needs a flag. Both settings must precede the first computation.
"""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import keras

from unetkit._shared.installation import install_command
from unetkit._shared.wording import format_count
from unetkit.errors import ConfigError

CPU = "cpu"
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}  # names of instruction sets, as Linux lists them
ENVIRONMENT_VARIABLES = (
    "TF_ENABLE_ONEDNN_OPTS",
    "ONEDNN_MAX_CPU_ISA",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "OMP_NUM_THREADS",
    "XLA_FLAGS",
    "TF_XLA_FLAGS",
)
DETERMINISTIC_XLA = "--xla_gpu_deterministic_ops=true"
# Errors of frameworks for a lack of memory, beside MemoryError: names of types, and words in errors
# of general types.
OUT_OF_MEMORY_TYPES = ("ResourceExhaustedError", "OutOfMemoryError")
OUT_OF_MEMORY_WORDS = ("RESOURCE_EXHAUSTED", "out of memory", "not enough memory")


def make_repeatable() -> str | None:
    """Sets the framework to compute reproducibly, to the byte, on this machine.

    Returns:
        The reason if that is not possible, else None.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        flags = os.environ.get("XLA_FLAGS", "").split()
        if DETERMINISTIC_XLA not in flags and _jax_has_computed():
            return (
                "JAX was used before in this process, so training on GPUs is not reproducible to "
                f"the byte; train in a new process, or set XLA_FLAGS={DETERMINISTIC_XLA}"
            )
        os.environ["XLA_FLAGS"] = " ".join(dict.fromkeys([*flags, DETERMINISTIC_XLA]))
        return None
    if backend != "tensorflow":
        return (
            f"the Keras backend is {backend}, so training is not reproducible to the byte; set "
            "KERAS_BACKEND=tensorflow if it should be"
        )
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # it was used already
        if inter_op_threads() != 1:
            return (
                "TensorFlow was used before in this process with several threads, so training is "
                "not reproducible to the byte; train in a new process, or set "
                "TF_NUM_INTEROP_THREADS=1"
            )
    return None


def _jax_has_computed() -> bool:
    from jax._src import xla_bridge  # no public function tells this without starting JAX

    return bool(getattr(xla_bridge, "backends_are_initialized", lambda: False)())


def inter_op_threads() -> int:
    """Number of threads for independent operations; 0 if the framework decides."""
    if keras.backend.backend() != "tensorflow":
        return 0
    import tensorflow as tf

    number: int = tf.config.threading.get_inter_op_parallelism_threads()
    if number == 0:
        with contextlib.suppress(ValueError):
            number = int(os.environ.get("TF_NUM_INTEROP_THREADS", "0"))
    return number


def intra_op_threads() -> int:
    """Number of threads within an operation; 0 if the framework decides."""
    if keras.backend.backend() != "tensorflow":
        return 0
    import tensorflow as tf

    number: int = tf.config.threading.get_intra_op_parallelism_threads()
    return number


def variables_that_matter() -> dict[str, str]:
    """Values of the environment variables that may change results and are set."""
    return {name: os.environ[name] for name in ENVIRONMENT_VARIABLES if name in os.environ}


def choose_device(wanted: str | None) -> str:
    """Name of the device to train on.

    Args:
        wanted: "cpu", "gpu", "tpu", or one of several as in "gpu:1"; None for the first
            accelerator, else the CPU.

    Raises:
        ConfigError: The device does not exist.
    """
    devices = [*_devices("gpu"), *_devices("tpu"), *(_devices(CPU) or ["cpu:0"])]
    if wanted is None:
        return devices[0]
    fitting = [name for name in devices if name == wanted or name.partition(":")[0] == wanted]
    if not fitting:
        advice = ""
        if wanted.startswith("gpu"):
            advice = f"; for an NVIDIA GPU, in a new environment: {install_command('gpu')}"
        raise ConfigError(
            f"device {wanted!r} does not exist for Keras on {keras.backend.backend()}; accepted "
            f"are {', '.join(devices)}{advice}"
        )
    return fitting[0]


def _devices(kind: str) -> list[str]:
    """Names of the devices of a kind, such as "gpu:0"."""
    if keras.backend.backend() == "torch":  # Keras lists none for it
        import torch

        return [f"gpu:{i}" for i in range(torch.cuda.device_count())] if kind == "gpu" else []
    try:
        return list(keras.distribution.list_devices(kind))
    except RuntimeError:  # JAX has no such kind on this machine
        return []


def describe_device(device: str) -> str:
    """One line about the device and the framework."""
    model = (
        format_count(os.cpu_count() or 1, "core") if device.startswith(CPU) else _model_of(device)
    )
    framework = f"Keras {keras.__version__} on {keras.backend.backend()}"
    return f"{device} ({model}), {framework}" if model else f"{device}, {framework}"


def _model_of(device: str) -> str:
    """Model name of an accelerator; empty if the framework does not have it."""
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
    """The fastest Keras dtype policy that trains as well.

    On CPUs, it is mixed precision if TensorFlow's kernels use instructions for bfloat16; without
    these, bfloat16 is emulated and slow.
    """
    if device.startswith(CPU):
        is_fast = keras.backend.backend() == "tensorflow" and cpu_has_bfloat16()
        return "mixed_bfloat16" if is_fast else "float32"
    return "mixed_float16" if device.startswith("gpu") else "mixed_bfloat16"


def cpu_has_bfloat16(description: str | Path = "/proc/cpuinfo") -> bool:
    """Whether the processor has instructions for products of bfloat16 numbers.

    Args:
        description: File of Linux about the processor; elsewhere there is none, and the answer is
            no.
    """
    try:
        flags = Path(description).read_text().split()
    except (OSError, UnicodeDecodeError):
        return False
    return not BFLOAT16_FLAGS.isdisjoint(flags)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of a framework means a lack of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ in OUT_OF_MEMORY_TYPES:
        return True
    is_framework = type(error).__module__.startswith(("tensorflow", "jax", "torch"))
    return (isinstance(error, RuntimeError) or is_framework) and any(
        words in str(error) for words in OUT_OF_MEMORY_WORDS
    )


class OutOfMemoryError(Exception):
    """A computation did not fit into memory; a smaller batch may."""


@contextlib.contextmanager
def watching_memory() -> Generator[None, None, None]:
    """Turns the out-of-memory errors of all frameworks into one.

    Raises:
        OutOfMemoryError: The framework ran out of memory.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(str(error)) from error
        raise


def on_device(device: str) -> Any:
    """A context in which Keras computes on a device."""
    if keras.backend.backend() == "torch" and device.startswith(CPU):
        # Keras moves each new weight to the device; from "cpu" to "cpu:0", PyTorch makes a copy,
        # which is no parameter: it would have no gradient.
        device = CPU
    return keras.device(device)


@contextlib.contextmanager
def full_precision() -> Generator[None, None, None]:
    """A context in which GPUs multiply in single precision.

    By default, frameworks may round factors to the 11 bits of TF32: a network would then differ
    from an exported one by much more than the order of additions explains.
    """
    name = keras.backend.backend()
    if name == "jax":
        import jax

        with jax.default_matmul_precision("highest"):  # of convolutions, too
            yield
    elif name == "torch":
        import torch

        flags = torch.backends.cuda.matmul, torch.backends.cudnn
        kept = [flag.allow_tf32 for flag in flags]
        try:
            for flag in flags:
                flag.allow_tf32 = False
            yield
        finally:
            for flag, value in zip(flags, kept, strict=True):
                flag.allow_tf32 = value
    else:
        import tensorflow as tf

        is_allowed = tf.config.experimental.tensor_float_32_execution_enabled()
        try:
            tf.config.experimental.enable_tensor_float_32_execution(False)
            yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(is_allowed)
