"""One network trained on several devices, by one process or several, through Keras on JAX.

Keras splits each batch over the devices, and JAX adds up what they compute, statistics of BatchNorm
included: the losses are those of one device, to rounding. Each process reads its own part of each
batch. The first process is the run: it alone decides, validates and writes, with a network of its
own that is not distributed, so that the files of a run do not depend on the number of processes.
Before each update it tells the others what to do; they follow until it stops.

How processes are started is left to `processes`.
"""

import os
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import keras
import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.display import Display
from unetkit._shared.installation import install_command
from unetkit._shared.wording import format_count
from unetkit.checks.issues import ACCEPTABLE
from unetkit.errors import ConfigError, UnetkitError
from unetkit.training import backend
from unetkit.training.batches import Sampler, build_samplers
from unetkit.training.choices import find_moved_dataset, prepare
from unetkit.training.config import Choices, RunConfig
from unetkit.training.config_file import read_config
from unetkit.training.network import (
    build_network,
    compile_network,
    freeze,
    set_learning_rate,
)
from unetkit.training.processes import COUNT
from unetkit.training.validation import assign, values_of

ALL = "all"
STOP, UPDATE = 0, 1  # what the first process tells the others
PATH_BYTES = 4096
TIMED = 3  # updates that are timed on one device, and distributed
LOST_WORDS = ("gloo", "nccl", "connection closed", "coordination service")
GAIN = 1.1  # times as fast as one, from which several processes or devices are worth it


class LostProcessError(UnetkitError, RuntimeError):
    """Another process of the training has ended."""


@dataclass(frozen=True)
class Group:
    """The processes of a training.

    Args:
        index: Number of this process.
        count: Number of processes.
    """

    index: int = 0
    count: int = 1


ALONE = Group()


def join() -> Group:
    """Joins the processes that the environment names; a group of one where it names none.

    Raises:
        ConfigError: Keras does not run on JAX.
    """
    if COUNT not in os.environ:
        return ALONE
    require_jax(f"{COUNT} is {os.environ[COUNT]}")
    import jax

    if not jax.distributed.is_initialized():
        # Else a process that ends would end the others before they can say so.
        jax.config.update("jax_enable_recoverability", True)
        keras.distribution.initialize()
    return Group(jax.process_index(), jax.process_count())


def require_jax(given: str) -> None:
    """Refuses to train on several devices or processes with another backend than JAX.

    Raises:
        ConfigError: Keras runs on another backend.
    """
    if keras.backend.backend() != "jax":
        raise ConfigError(
            f"{given} with Keras on {keras.backend.backend()}; accepted is Keras on JAX: set "
            f"KERAS_BACKEND=jax, in a new environment: {install_command('jax')}"
        )


def choose_devices(wanted: str | None, group: Group) -> list[str]:
    """Names of the devices to train on, of all processes.

    Args:
        wanted: Name of a device, one that `backend.choose_device` accepts; or "all", for all
            devices of the best kind.
        group: The processes.

    Raises:
        ConfigError: There is no such device, or Keras does not run on JAX.
    """
    if wanted != ALL and group.count == 1:
        return [backend.choose_device(wanted)]
    require_jax("device is 'all'" if wanted == ALL else f"{group.count} processes")
    kind = backend.choose_device(None if wanted == ALL else wanted).partition(":")[0]
    return list(keras.distribution.list_devices(kind))


def require_divisible(config: RunConfig, devices: Sequence[str]) -> None:
    """Refuses a batch that the devices cannot share equally.

    Raises:
        ConfigError: The size of the batch is no multiple of the number of devices.
    """
    size = config.training.batch_size
    if size % len(devices):
        raise ConfigError(
            f"batch_size is {size} on {format_count(len(devices), 'device')}; accepted are "
            f"multiples of {len(devices)}; use another --batch-size"
        )


class Replicas:
    """A network with a copy on each device, which all processes update together.

    Args:
        config: Configuration of the run.
        devices: Names of the devices, of all processes.
        group: The processes.
        sampler: Sampler of whole training batches.
    """

    def __init__(
        self, config: RunConfig, devices: Sequence[str], group: Group, sampler: Sampler
    ) -> None:
        require_divisible(config, devices)
        self.devices, self.group, self._config = devices, group, config
        self._whole = sampler
        self.sampler = replace(sampler, part=(group.index, group.count))
        self._distribution = keras.distribution.DataParallel(
            devices=list(devices), auto_shard_dataset=False
        )
        with self._distribution.scope():
            self.model = compiled_network(config)
        self._seconds: list[float] = []

    def begin(self, model: keras.Model) -> None:
        """Gives all copies the state of the network and the optimizer of the first process."""
        with self._distribution.scope():
            values = self._broadcast([*values_of(model), *_optimizer_values(model)])
            count = len(self.model.variables)
            assign(self.model, values[:count])
            for variable, value in zip(self.model.optimizer.variables, values[count:], strict=True):
                variable.assign(value)

    def update(self, number: int, images: np.ndarray, masks: np.ndarray, rate: float) -> float:
        """Updates all copies, with this process's part of a batch; returns the loss.

        Args:
            number: Number of the batch.
            images: Images, as from `Sampler.batch`.
            masks: Masks, likewise.
            rate: Learning rate.

        Raises:
            LostProcessError: Another process has ended.
        """
        started = time.monotonic()
        self._tell(UPDATE, number, rate)
        loss = self._train(images, masks, rate)
        self._seconds.append(time.monotonic() - started)
        return loss

    def follow(self) -> None:
        """Updates the copies of this process until the first one stops.

        Raises:
            LostProcessError: Another process has ended.
        """
        size = self._config.training.batch_size
        batches, number = None, -1
        while True:
            kind, wanted, rate = self._listen()
            if kind == STOP:
                if batches is not None:
                    batches.close()
                return
            if batches is None or wanted != number + 1:
                batches = self.sampler.batches(size, first_step=wanted)
            number = wanted
            self._train(*next(batches), rate)

    def stop(self) -> None:
        """Tells the other processes that the training is over."""
        self._tell(STOP, 0, 0.0)

    def copy_to(self, model: keras.Model) -> None:
        """Gives a network and its optimizer the state of the copies."""
        assign(model, values_of(self.model))
        pairs = zip(model.optimizer.variables, _optimizer_values(self.model), strict=True)
        for variable, value in pairs:
            variable.assign(value)

    def describe(self) -> str:
        """One line about devices and processes."""
        devices = format_count(len(self.devices), "device")
        processes = format_count(self.group.count, "process", "processes")
        size = self._config.training.batch_size // len(self.devices)
        return f"spread    over {devices} of {processes}, {format_count(size, 'sample')} each"

    def compare(self, model: keras.Model) -> str | None:
        """What an update takes, after some were made, beside one on the first device alone.

        Args:
            model: Network of the first process; its state is lost.

        Returns:
            One line; None before enough updates were made to tell.
        """
        if len(self._seconds) != TIMED + 1:  # the first compiles
            return None
        images, masks = self._whole.batch(0, self._config.training.batch_size)
        alone = []
        for _ in range(TIMED + 1):
            started = time.monotonic()
            float(model.train_on_batch(images, masks, return_dict=True)["loss"])
            alone.append(time.monotonic() - started)
        one, several = median(alone[1:]), median(self._seconds[1:])
        verdict = "" if one > GAIN * several else ": they do not pay here"
        devices = format_count(len(self.devices), "device")
        return (
            f"measured  {1000 * several:.0f} ms a step on {devices}, {1000 * one:.0f} ms on one "
            f"alone{verdict}"
        )

    def _train(self, images: np.ndarray, masks: np.ndarray, rate: float) -> float:
        with self._distribution.scope(), _noticing_lost():
            set_learning_rate(self.model.optimizer, rate)
            logs = self.model.train_on_batch(images, masks, return_dict=True)
            return float(logs["loss"])

    def _tell(self, kind: int, number: int, rate: float) -> None:
        bits = np.float32(rate).view(np.int32)
        self._broadcast(np.array([kind, number, bits], np.int32))

    def _listen(self) -> tuple[int, int, float]:
        kind, number, bits = self._broadcast(np.zeros(3, np.int32))
        return int(kind), int(number), float(np.int32(bits).view(np.float32))

    def _broadcast(self, values: Any) -> Any:
        return broadcast(values, self.group)


def compiled_network(config: RunConfig) -> keras.Model:
    """The network of a run with its optimizer, without trained weights."""
    keras.utils.set_random_seed(config.training.seed)
    model = build_network(config, config.training.precision)
    if config.training.freeze:
        freeze(model, config.training.freeze)
    compile_network(model, config.training, has_separation=config.objects.channels > 0)
    model.optimizer.build(model.trainable_variables)
    return model


def broadcast(values: Any, group: Group) -> Any:
    """Values of the first process, in all processes; an array, or a list of arrays."""
    if group.count == 1:
        return values
    from jax.experimental import multihost_utils

    with _noticing_lost():
        return multihost_utils.broadcast_one_to_all(values)


def broadcast_path(path: Path | None, group: Group) -> Path:
    """The path of the first process; others give None."""
    text = np.zeros(PATH_BYTES, np.uint8)
    if path is not None:
        encoded = os.fsencode(path.resolve())
        text[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    return Path(os.fsdecode(bytes(np.asarray(broadcast(text, group))).rstrip(b"\0")))


def follow(group: Group, wanted: str | None) -> Path:
    """Trains as one of the other processes, until the first one stops; returns the run folder.

    Args:
        group: The processes.
        wanted: Device, as for `choose_devices`.
    """
    run = broadcast_path(None, group)
    config = read_config(run / run_folder.CONFIG)
    dataset = find_moved_dataset(run, config.data, config.sources)
    split = replace(config.split, file=str(run / run_folder.SPLIT))
    sources = replace(config.sources, accept=ACCEPTABLE)
    given = Choices.of(replace(config, split=split, sources=sources))
    devices = choose_devices(wanted, group)
    data, _ = prepare(dataset, given, None, devices[0], Display(), started=run)
    with tempfile.TemporaryDirectory(prefix="unetkit-") as folder:
        samplers = build_samplers(Path(folder), data.split, config, Display())
        replicas = Replicas(config, devices, group, samplers["train"])
        replicas.begin(replicas.model)
        replicas.follow()
    return run


@contextmanager
def _noticing_lost() -> Generator[None, None, None]:
    """Makes the error of a connection to another process one that says so."""
    try:
        yield
    except Exception as error:  # of JAX, whose types do not tell
        if not any(word in str(error).lower() for word in LOST_WORDS):
            raise
        raise LostProcessError(
            "another process of this training has ended; its messages say why; continue from the "
            "last checkpoint with --resume"
        ) from error


def _optimizer_values(model: keras.Model) -> list[np.ndarray]:
    return [np.array(variable.numpy()) for variable in model.optimizer.variables]
