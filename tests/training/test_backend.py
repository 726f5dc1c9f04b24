"""The framework's device, threads and errors."""

import keras
import numpy as np
import pytest

from tests.commands import python
from unetkit.errors import ConfigError
from unetkit.training import backend


def test_the_processor_is_there_and_named():
    assert backend.choose_device("cpu").startswith("cpu")
    assert backend.choose_device(None)
    assert "Keras" in backend.describe_device("cpu:0")
    assert "cores" in backend.describe_device("cpu:0")


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ConfigError, match=r"device 'gpu:7' does not exist .*accepted are .*cpu:0"):
        backend.choose_device("gpu:7")
    with pytest.raises(ConfigError, match="device 'tpu' does not exist"):
        backend.choose_device("tpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 avx512_vnni", True),
        ("flags\t\t: fpu amx_tile amx_bf16", True),
        ("flags\t\t: fpu avx512f avx512_vnni", False),
        ("flags\t\t: fpu not_avx512_bf16_at_all", False),
    ],
)
def test_a_processor_says_whether_it_has_instructions_for_bfloat16(tmp_path, flags, expected):
    description = tmp_path / "cpuinfo"
    description.write_text(f"processor\t: 0\n{flags}\nbugs\t\t: none\n")
    assert backend.cpu_has_bfloat16(description) is expected
    assert not backend.cpu_has_bfloat16(tmp_path / "none")


def test_the_fastest_precision_is_that_of_the_device(monkeypatch):
    for has_it in (True, False):
        monkeypatch.setattr(backend, "cpu_has_bfloat16", lambda has_it=has_it: has_it)
        is_half = has_it and keras.backend.backend() == "tensorflow"
        expected = "mixed_bfloat16" if is_half else "float32"
        assert backend.fastest_precision("cpu:0") == expected
    assert backend.fastest_precision("gpu:0") == "mixed_float16"
    assert backend.fastest_precision("tpu:0") == "mixed_bfloat16"


class ResourceExhaustedError(Exception):
    """As TensorFlow names it."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (ResourceExhaustedError("OOM when allocating"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_distinguished_from_other_errors(error, expected):
    assert backend.is_out_of_memory(error) is expected


def test_the_flag_of_xla_is_added_to_existing_ones(monkeypatch):
    monkeypatch.setattr(backend.keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(backend, "_jax_has_computed", lambda: False)
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=dump")
    for _ in range(2):
        assert backend.make_repeatable() is None
        assert backend.variables_that_matter()["XLA_FLAGS"] == (
            "--xla_dump_to=dump --xla_gpu_deterministic_ops=true"
        )


def test_jax_that_was_used_before_is_not_reproducible(monkeypatch):
    monkeypatch.setattr(backend.keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(backend, "_jax_has_computed", lambda: True)
    monkeypatch.setenv("XLA_FLAGS", "")
    assert "JAX was used before in this process" in backend.make_repeatable()
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    assert backend.make_repeatable() is None


def test_of_other_frameworks_the_same_bytes_are_not_promised(monkeypatch):
    monkeypatch.setattr(backend.keras.backend, "backend", lambda: "torch")
    assert "the Keras backend is torch" in backend.make_repeatable()


def in_a_process(code):
    done = python(code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_fresh_process_becomes_repeatable():
    code = """
from unetkit.training import backend
print(backend.make_repeatable(), backend.inter_op_threads())
print(backend.make_repeatable())
"""
    assert in_a_process(code) == "None 1\nNone"


def test_a_process_that_has_computed_is_not_reproducible(monkeypatch):
    monkeypatch.delenv("TF_NUM_INTEROP_THREADS", raising=False)
    code = """
import keras
keras.ops.zeros(3)
from unetkit.training import backend
print(backend.make_repeatable())
"""
    assert "TensorFlow was used before in this process" in in_a_process(code)
    assert "TF_NUM_INTEROP_THREADS=1" in in_a_process(code)


def test_the_environment_can_make_it_so_from_the_start(monkeypatch):
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "1")
    code = """
import keras
keras.ops.zeros(3)
from unetkit.training import backend
print(backend.make_repeatable(), backend.inter_op_threads())
"""
    assert in_a_process(code) == "None 1"


def test_weights_made_on_the_processor_have_gradients():
    with backend.on_device(backend.choose_device("cpu")):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        before = model.get_weights()
        model.compile("sgd", "mse")
        model.train_on_batch(np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))
    assert any((one != other).any() for one, other in zip(before, model.get_weights(), strict=True))


def test_a_comparison_is_not_made_in_half_the_digits():
    def is_reduced():
        if keras.backend.backend() == "jax":
            import jax

            return jax.config.jax_default_matmul_precision != "highest"
        if keras.backend.backend() == "torch":
            import torch

            return torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
        import tensorflow as tf

        return tf.config.experimental.tensor_float_32_execution_enabled()

    assert is_reduced()  # as the frameworks come
    with backend.full_precision():
        assert not is_reduced()
    assert is_reduced()
