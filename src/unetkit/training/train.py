"""Trains a network on a folder of pairs, into a run folder.

    examine   every pair once (`checks`); complete the configuration (`choices`); write config.toml
    decode    every pair once, into a memory map at the network's scale (`batches`)
    train     updates, validation passes, checkpoints (`trainer`, `validation`)
    export    the best network, compared with Keras, as model.onnx (`export`)

`resume` runs the same steps from the last checkpoint. Test pairs are examined for issues; nothing
is trained or chosen on them.
"""

import contextlib
import gc
import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras

from unetkit._shared import run_folder
from unetkit._shared.display import Display, LoggedDisplay
from unetkit._shared.files import PART, locked, remove, write_text
from unetkit._shared.manifest import (
    data_record,
    read_manifest,
    record_files,
    update_manifest,
    write_manifest,
)
from unetkit._shared.provenance import provenance
from unetkit._shared.wording import format_count
from unetkit.checks.issues import ACCEPTABLE
from unetkit.checks.report import class_fractions
from unetkit.data.splits import split_to_json
from unetkit.errors import DataError, DataNotFoundError, DivergedError, ModelFileError, UnetkitError
from unetkit.models.encoders import IMAGENET, RANDOM, fetch_pretrained, load_pretrained
from unetkit.training import backend
from unetkit.training.backend import OutOfMemoryError, watching_memory
from unetkit.training.batches import LOADER_THREADS, Sampler, build_samplers
from unetkit.training.checkpoints import Checkpoint, checkpoint_files, newest_checkpoint
from unetkit.training.choices import (
    TrainingData,
    check_length,
    choose_network,
    default_preset,
    find_chosen_dataset,
    find_moved_dataset,
    gather_choices,
    prepare,
)
from unetkit.training.config import Choices, RunConfig
from unetkit.training.config_file import config_to_toml, read_config, read_reasons
from unetkit.training.distribution import (
    ALONE,
    Group,
    Replicas,
    broadcast_path,
    choose_devices,
    follow,
    join,
    require_divisible,
)
from unetkit.training.export import export_best, trained_network
from unetkit.training.fine_tuning import read_origin, start_from
from unetkit.training.network import (
    build_network,
    compile_network,
    describe_training,
    freeze,
    halve_batch,
)
from unetkit.training.object_rule import choose_rule
from unetkit.training.temperature import choose_temperature
from unetkit.training.trainer import Trainer
from unetkit.training.validation import draw_border_weights
from unetkit.visualization.tensorboard import TensorBoardLog

# If one of these differs from the first session, a resumed run ends with other bytes.
SAME_BYTES = ("unetkit", "python", "versions", "machine", "device", "threads", "variables")
START_IMAGES = 16  # for the BatchNorm statistics of a network from an exported file


@dataclass(frozen=True)
class Session:
    """Settings of one training session; a resumed run has several sessions.

    Args:
        display: Shows progress and warnings.
        devices: "cpu:0", "gpu:1" and so on; several train copies of the network.
        callbacks: Keras callbacks.
        tensorboard: Whether to write metrics and images for TensorBoard.
        obstacle: Reason why reproducible training, although configured, is not possible; or None.
    """

    display: Display
    devices: Sequence[str]
    callbacks: Sequence[keras.callbacks.Callback] = ()
    tensorboard: bool = False
    obstacle: str | None = None
    group: Group = ALONE

    @property
    def device(self) -> str:
        """The device of everything but updates."""
        return self.devices[0]


def train(
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    preset: str | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    size: int | tuple[int, int] | None = None,
    seed: int | None = None,
    config: str | Path | Mapping[str, Any] | Choices | None = None,
    device: str | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    tensorboard: bool = False,
    display: Display | None = None,
) -> Path:
    """Trains a U-Net on a folder of images and masks.

    Values that are not given are chosen from the preset and the data. Ctrl-C finishes the current
    step and saves a checkpoint; `resume` continues from it. Unless `training.deterministic` is
    false, TensorFlow is set to compute reproducibly in this process.

    Args:
        data: Folder or table of pairs; optional if `config` has one.
        out: Run folder to create; by default runs/DATA-PRESET, with a number if that exists.
        preset: "pretrained" (default), "fast", "notebook" or "paper".
        epochs: Number of passes over the training pairs.
        minutes: Training time in minutes. The number of steps is fixed once, after a tenth of it,
            from the speed until then.
        size: Input size of the network in pixels: a side, or (height, width).
        seed: Seed of the split, the weights and the samples; 0 by default.
        config: Path of a config.toml, or the same keys as nested mappings; any key may be left out.
        device: "cpu", "gpu" or "gpu:1"; by default the first accelerator, else the CPU. "all" for
            all devices of the best kind, with Keras on JAX.
        callbacks: Keras callbacks; an epoch ends with each validation pass. The state of callbacks
            is not part of checkpoints.
        tensorboard: Whether to write metrics and images for TensorBoard.
        display: Shows progress and warnings.

    Returns:
        The run folder; `unetkit._shared.run_folder` lists its files.

    Raises:
        DataNotFoundError, DataError: The data cannot be used.
        ConfigError: An option or key is not accepted, or the device does not exist.
        OutputExistsError: `out` exists and is not empty.
        DivergedError: The loss or the gradient is not finite.
    """
    check_length(epochs, minutes)
    choices = gather_choices(config, data=data, preset=preset, size=size, seed=seed)
    if epochs or minutes:
        training = choices.training.without("steps")
        if training.given.get("decay_from"):  # then these were computed with the steps
            for name in ("decay_from", "warmup", "steps_per_validation"):
                training = training.without(name)
        choices = replace(choices, training=training.updated({"minutes": float(minutes or 0)}))
    dataset = find_chosen_dataset(choices)
    is_deterministic = choices.training.given.get("deterministic", True)
    obstacle = backend.make_repeatable() if is_deterministic else None
    group = join()
    if group.index:
        return follow(group, device)
    devices = choose_devices(device, group)
    run, is_new = run_folder.claim(
        out, f"{dataset.label}-{choices.preset or default_preset(choices)}"
    )
    display = LoggedDisplay(display or Display(), run / run_folder.LOG)
    session = Session(display, devices, callbacks, tensorboard, obstacle, group)
    with _writing(run, display):
        run_folder.require_unused(run)  # another process may have trained there until now
        try:
            _fetch_weights(choices, display)
            pairs, chosen = prepare(dataset, choices, epochs, session.device, display)
            return _train_into(run, pairs, chosen, session)
        except BaseException as error:
            display.finish()
            if not _note_failure(run, error, display):
                run_folder.discard(run, is_new)
            raise


def resume(
    run: str | Path,
    *,
    data: str | Path | None = None,
    device: str | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    tensorboard: bool = False,
    display: Display | None = None,
) -> Path:
    """Resumes an interrupted run from its last checkpoint.

    With `training.deterministic`, on the same machine and versions, it ends with the bytes of a run
    that was never interrupted.

    Args:
        run: Run folder.
        data: Path of the data, if they were moved since the run was started.
        device: Device to train on, as for `train`.
        callbacks: Keras callbacks, as for `train`.
        tensorboard: Whether to write metrics and images for TensorBoard.
        display: Shows progress and warnings.

    Returns:
        The run folder.

    Raises:
        DataNotFoundError: `run` is not a run folder, or the data do not exist.
        DataError: The data differ from those that the run was started with.
        ModelFileError: Every checkpoint is damaged, or written by another version.
        OutputExistsError: Another process trains in this folder.
        DivergedError: The loss or the gradient is not finite.
    """
    run = Path(run)
    if not (run / run_folder.CONFIG).is_file():
        raise DataNotFoundError(
            f"{run} holds no {run_folder.CONFIG}; accepted is the folder of a run that has begun "
            "to train"
        )
    config = read_config(run / run_folder.CONFIG)
    if _recorded(run).get("state") == "finished":
        (display or Display()).say(f"{run} is finished: nothing to resume")
        return run
    obstacle = backend.make_repeatable() if config.training.deterministic else None
    group = join()
    if group.index:
        return follow(group, device)
    devices = choose_devices(device, group)
    if data is not None:
        config = replace(config, data=str(Path(data).resolve()))
    dataset = find_moved_dataset(run, config.data, config.sources)
    display = LoggedDisplay(display or Display(), run / run_folder.LOG)
    session = Session(display, devices, callbacks, tensorboard, obstacle, group)
    with _writing(run, display):
        for leftover in list(run.rglob(f"{PART}*")):
            remove(leftover)
        # They were accepted when the run was started, and its split file may have moved as well.
        split = config.split
        if split.file is not None and not Path(split.file).exists():
            split = replace(split, file=str(run / run_folder.SPLIT))
        sources = replace(config.sources, accept=ACCEPTABLE)
        given = Choices.of(replace(config, split=split, sources=sources))
        pairs, _ = prepare(dataset, given, None, session.device, display, started=run)
        if data is not None:
            _write_split(run, pairs)
        try:
            return _train_into(run, pairs, config, session)
        except BaseException as error:
            display.finish()
            _note_failure(run, error, display)
            raise


def _fetch_weights(choices: Choices, display: Display) -> None:
    """Downloads the weights of an encoder, if necessary: if that fails, before anything else."""
    given = choices.training.given
    if given.get("start") is None:
        weights = given.get("encoder_weights", IMAGENET)
        fetch_pretrained(choose_network(choices).encoder, weights, display)


@contextlib.contextmanager
def _writing(run: Path, display: Display) -> Generator[None, None, None]:
    """Locks a run folder, and removes temporary files at the end, after errors, too."""
    with locked(run / run_folder.LOCK, f"trains in {run}"):
        try:
            yield
        finally:
            shutil.rmtree(run / run_folder.CACHE, ignore_errors=True)
            display.finish()


def _recorded(run: Path) -> dict[str, Any]:
    """The manifest of a run; empty if it is missing or damaged, for example by a power cut."""
    try:
        return read_manifest(run)
    except (DataError, DataNotFoundError):
        return {}


def _note_failure(run: Path, error: BaseException, display: Display) -> bool:
    """Writes into the manifest that a run was stopped, and displays how to continue.

    Returns:
        Whether the run has a checkpoint, so that its folder is to be kept.
    """
    if not checkpoint_files(run / run_folder.CHECKPOINTS):
        return False
    if _recorded(run).get("state") == "training":
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        with contextlib.suppress(DataError, OSError):
            update_manifest(run, state=state)
    if isinstance(error, DivergedError) and (run / run_folder.WEIGHTS).exists():
        display.say(f"kept      the best weights so far; to export them: unetkit export {run}")
    elif not isinstance(error, UnetkitError):
        display.say(f"saved     to continue: unetkit train --resume {run}")
    return True


def _train_into(run: Path, data: TrainingData, config: RunConfig, session: Session) -> Path:
    display = session.display
    samplers = build_samplers(run / run_folder.CACHE, data.split, config, display)
    if config.border_weight.w0:
        draw_border_weights(run, samplers["train"], config)
    with backend.on_device(session.device):
        trainer, notes = None, {}
        if session.obstacle is not None:
            notes["repeatable"] = session.obstacle
        while trainer is None:
            shortage = ""
            try:
                _write_choices(run, data, config)
                replicas = _replicas(run, config, samplers["train"], session)
                trainer = _trainer(run, data, config, samplers, session, replicas)
                _begin(trainer, data, session, notes)
                trainer.fit()
                display.finish()
            except OutOfMemoryError as error:
                shortage = str(error) or "no memory"
            if shortage:  # outside the except clause, whose error references the network
                trainer = None
                gc.collect()
                config, notes["memory"] = halve_batch(config, shortage)
        return _finish(trainer, data, display)


def _write_choices(run: Path, data: TrainingData, config: RunConfig) -> None:
    path = run / run_folder.CONFIG
    reasons = read_reasons(path) if path.exists() else data.reasons
    write_text(path, config_to_toml(config, reasons))
    if not (run / run_folder.SPLIT).exists():
        _write_split(run, data)


def _write_split(run: Path, data: TrainingData) -> None:
    report = data.report
    text = split_to_json(data.split, report.dataset, report.digests(), report.left_out())
    write_text(run / run_folder.SPLIT, text)


def _replicas(run: Path, config: RunConfig, sampler: Sampler, session: Session) -> Replicas | None:
    """Copies of the network on several devices; None for one."""
    if len(session.devices) == 1:
        return None
    require_divisible(config, session.devices)
    broadcast_path(run, session.group)  # the other processes read the run's configuration
    replicas = Replicas(config, session.devices, session.group, sampler)
    session.display.say(replicas.describe())
    return replicas


def _trainer(
    run: Path,
    data: TrainingData,
    config: RunConfig,
    samplers: dict[str, Sampler],
    session: Session,
    replicas: Replicas | None,
) -> Trainer:
    """A trainer in the state of the last checkpoint, or in the initial state."""
    training = config.training
    session.display.waiting("building  the network")
    keras.utils.set_random_seed(training.seed)
    checkpoint, damaged = newest_checkpoint(run / run_folder.CHECKPOINTS)
    model = build_network(config, training.precision, session.device)
    if training.start is not None and checkpoint is None:
        images, _ = samplers["train"].batch(0, START_IMAGES)
        with watching_memory():
            taken = start_from(model, training.start, config, images)
        session.display.say(f"start     {taken}")
    elif checkpoint is None and _starts_pretrained(config):
        weights = training.encoder_weights
        count = load_pretrained(model, config.network.encoder, weights, session.display)
        source = "ImageNet" if weights == IMAGENET else weights
        session.display.say(f"start     {count:,} weights of the encoder are those of {source}")
    if training.freeze:
        frozen = freeze(model, training.freeze)
        session.display.say(f"frozen    {frozen:,} parameters are not trained")
    compile_network(model, training, has_separation=config.objects.channels > 0)
    session.display.say(
        f"network   {config.preset}, {model.count_params():,} parameters, "
        f"{format_count(config.pixels.channels, 'input channel')}, "
        f"{format_count(len(config.classes), 'class', 'classes')}"
    )
    files = [pair.image for pair in data.split.train]
    display = session.display
    trainer = Trainer(run, config, model, samplers, files, display, session.callbacks, replicas)
    if checkpoint is not None:
        damaged += _restore(trainer, checkpoint, run / run_folder.CHECKPOINTS)
    for path in damaged:
        trainer.note("damaged", f"checkpoint {path} is damaged: the previous one is used")
        path.unlink()
    if session.tensorboard:
        trainer.log = TensorBoardLog(run / run_folder.TENSORBOARD, trainer.progress.step)
    return trainer


def _restore(trainer: Trainer, checkpoint: Checkpoint, folder: Path) -> list[Path]:
    """Restores the newest checkpoint that fits; returns the paths of newer ones.

    Raises:
        ModelFileError: No checkpoint fits.
    """
    unfit: list[Path] = []
    while True:
        try:
            trainer.restore(checkpoint)
            return unfit
        except ModelFileError:
            older, damaged = newest_checkpoint(folder, before=checkpoint.path)
            if older is None:
                raise
            unfit += [checkpoint.path, *damaged]
            checkpoint = older


def _starts_pretrained(config: RunConfig) -> bool:
    return config.training.encoder_weights != RANDOM and not config.network.has_own_encoder


def _begin(
    trainer: Trainer, data: TrainingData, session: Session, notes: Mapping[str, str]
) -> None:
    """Displays what is trained, where and how, and writes it into the manifest."""
    display, config, step = session.display, trainer.config, trainer.progress.step
    device = backend.describe_device(session.device)
    display.say(f"device    {device}")
    display.say(describe_training(config, trainer.sampler.cache))
    made = {
        **provenance(),
        "device": device,
        "backend": keras.backend.backend(),
        "threads": {
            "inter_op": backend.inter_op_threads(),
            "intra_op": backend.intra_op_threads(),
            "loader": LOADER_THREADS,
        },
        "variables": backend.variables_that_matter(),
    }
    for code, text in notes.items():
        trainer.note(code, text)
    old = _recorded(trainer.run) if step else {}
    if step:
        of_all = f" of {config.training.steps}" if config.training.steps else ""
        display.say(f"resumed   at step {step}{of_all}")
        changed = [name for name in SAME_BYTES if name in old and old[name] != made[name]]
        if changed:
            trainer.note(
                "surroundings",
                f"changed since the run was started: {', '.join(changed)}; the result may differ "
                f"from that of an uninterrupted run; details: unetkit verify {trainer.run}",
            )
    trainer.sessions = [
        *(old.get("sessions") or []),
        {"command": made["command"], "date": made["date"], "from_step": step},
    ]
    origin = None if config.training.start is None else Path(config.training.start)
    seen_before = old.get("seen_before")
    if seen_before is None:
        seen_before = [] if origin is None else list(read_origin(origin).seen())
    write_manifest(
        trainer.run,
        {
            "state": "training",
            **{name: old.get(name, value) for name, value in made.items()},
            "deterministic": config.training.deterministic and session.obstacle is None,
            "data": data_record(trainer.run),
            "configuration": asdict(config),
            "seen_before": seen_before,
            **trainer.summary(),
            "export_difference": None,
            "parts": class_fractions(data.report),
            "findings": [
                {"level": f.level, "code": f.code, "text": f.text, "remedy": f.remedy}
                for f in data.report.issues
            ],
        },
    )


def _finish(trainer: Trainer, data: TrainingData, display: Display) -> Path:
    """Exports the best network, draws its results, and completes the manifest."""
    run, config = trainer.run, trainer.config
    display.waiting("exporting the network with the best weights")
    model = trained_network(run, config)
    difference = export_best(run, config, model, data.split)
    path = run / run_folder.MODEL
    if config.objects.finds_objects and not config.objects.is_complete:
        display.waiting("choosing  the values by which objects are told apart")
        rule, f1 = choose_rule(config.objects, path, data.split.validation, config.classes)
        config = replace(config, objects=rule)
        _write_choices(run, data, config)
        difference = export_best(run, config, model, data.split)
        display.say(f"objects   {rule.describe()}: F1 {f1:.3f} on the validation pairs")
    temperature = 1.0
    if not config.objects.finds_objects:  # their seeds are limits of probabilities as they are
        display.waiting("calibrating the probabilities")
        temperature = choose_temperature(path, data.split.validation, config.classes)
        difference = export_best(run, config, model, data.split, temperature)
        display.say(f"calibrated  temperature {temperature:g}, fitted on the validation pairs")
    display.say(f"export    {path}: largest difference from Keras {difference:.1g}")
    trainer.recorder.draw(model)
    summary = trainer.summary()
    record_files(run)
    update_manifest(
        run,
        state="finished",
        configuration=asdict(config),
        **summary,
        export_difference=difference,
        temperature=temperature,
    )
    return run
