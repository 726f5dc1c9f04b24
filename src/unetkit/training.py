"""From a folder of pairs to a trained run folder.

    look      every pair once (`checking`); choose what was not asked for; write config.toml
    decode    every pair once, into a memory map at the network's scale
    train     updates, looks at the validation part, checkpoints (`trainer`, `recorder`)
    export    the best network, checked, as model.onnx

`resume` takes the same way, and goes on from the last checkpoint. The test part is looked at, for
what is wrong with it; nothing is learnt or chosen from it.
"""

import contextlib
import gc
import itertools
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from unetkit import backend, runfolder
from unetkit.augment import NO_AUGMENTATION
from unetkit.checking import Examination, examine
from unetkit.checkpoints import checkpoint_files, newest_checkpoint
from unetkit.config import (
    RunConfig,
    TrainingConfig,
    check_keys,
    choose_config,
    choose_network,
    choose_sources,
    choose_split,
    config_from_file,
    config_to_toml,
    decided_classes,
    read_config,
    with_preset,
)
from unetkit.display import Display, LoggedDisplay
from unetkit.errors import ConfigError, DataError, DataNotFoundError, OutputExistsError
from unetkit.exporting import (
    CHECK_IMAGES,
    export_onnx,
    model_spec,
    seen_pictures,
    trained_network,
)
from unetkit.finding import SHOWN, Dataset, find_dataset
from unetkit.finetuning import freeze, read_origin, start_from
from unetkit.loading import LOADER_THREADS, Cache, Sampler, build_cache
from unetkit.losses import balanced_weights, combined_loss
from unetkit.manifest import (
    PairRecord,
    data_digest,
    data_record,
    read_manifest,
    update_manifest,
    write_manifest,
)
from unetkit.model import build_unet
from unetkit.optimizers import build_optimizer
from unetkit.outputs import write_text
from unetkit.overview import class_shares
from unetkit.pictures import read_image
from unetkit.provenance import provenance
from unetkit.results import loss_text
from unetkit.scale import IGNORE
from unetkit.splits import Split, split_to_json
from unetkit.tensorboard import TensorBoardLog
from unetkit.trainer import OutOfMemoryError, Trainer

WARM_UP_STEPS = 3  # the first steps also trace the graph and fill caches
CALIBRATION_SECONDS = 6.0
START_IMAGES = 16  # that the statistics of a network from an exported file are taken on
AUTO = "auto"  # in an option: left to the data or the device


@dataclass(frozen=True)
class Session:
    """With what a run is trained this time; nothing of it changes what is computed.

    Args:
        display: Shows progress.
        device: "cpu", "gpu", "gpu:1"; None for the best there is.
        callbacks: Keras callbacks; an epoch is what lies between two looks at the validation part.
        tensorboard: Whether figures and pictures are written for TensorBoard, too.
    """

    display: Display = field(default_factory=Display)
    device: str | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    tensorboard: bool = False


def train(
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    preset: str | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    size: int | tuple[int, int] | None = None,
    seed: int | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    device: str | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    tensorboard: bool = False,
    display: Display | None = None,
) -> Path:
    """Trains a U-Net on a folder of images and masks.

    What is not asked for is chosen from the preset and the data. Ctrl-C finishes the step and
    saves; `resume` goes on from there. Unless `training.deterministic` is false, TensorFlow is
    told to compute repeatably in this process.

    Args:
        data: Folder or table of pairs; may be left out where `config` names it.
        out: Run folder to make; by default runs/DATA-PRESET, with a number if that exists.
        preset: "fast" (default), "notebook" or "paper".
        epochs: Passes over the training part.
        minutes: Time for training, which a short calibration turns into a fixed number of steps.
        size: Pixels of what the network sees: a side, or (height, width).
        seed: Of the split, the weights and the samples; 0 by default.
        config: A run's config.toml, or the same keys as nested mappings; any may be left out.
        device: "cpu", "gpu", "gpu:1"; by default the best there is.
        callbacks: Keras callbacks; an epoch is what lies between two looks at the validation part.
        tensorboard: Whether figures and pictures are written for TensorBoard, too.
        display: Shows progress.

    Returns:
        The run folder; `unetkit.runfolder` says what it holds.

    Raises:
        DataNotFoundError, DataError: The data cannot be used.
        ConfigError: An option or key is not accepted, or the device is not there.
        OutputExistsError: `out` is in use.
        DivergedError: The loss or the gradient is no finite number.
    """
    session = Session(display or Display(), device, callbacks, tensorboard)
    check_length(epochs, minutes)
    overrides = overrides_from(config, data, preset, size, seed)
    if epochs or minutes:
        overrides.get("training", {}).pop("steps", None)
    dataset = find_dataset(overrides["data"], choose_sources(overrides))
    session = _prepare(session, overrides)
    run, is_new = _claim(out, dataset, overrides)
    session = replace(session, display=LoggedDisplay(session.display, run / runfolder.LOG))
    try:
        found, chosen = _look(dataset, overrides, epochs, session)
        return _train_into(run, found, chosen, minutes, session)
    except BaseException as error:
        session.display.finish()
        shutil.rmtree(run / runfolder.CACHE, ignore_errors=True)
        if not _is_kept(run, error, session.display):
            _discard(run, is_new)
        raise
    finally:
        shutil.rmtree(run / runfolder.CACHE, ignore_errors=True)
        session.display.finish()


def resume(
    run: str | Path,
    *,
    device: str | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    tensorboard: bool = False,
    display: Display | None = None,
) -> Path:
    """Goes on with a run that was interrupted, from its last checkpoint.

    With `training.deterministic` it ends with the bytes of a run that was never interrupted, on the
    same machine and versions.

    Args:
        run: Run folder.
        device: As for `train`, like callbacks, tensorboard and display.

    Returns:
        The run folder.

    Raises:
        DataNotFoundError: `run` is no run folder, or the data are gone.
        DataError: The data are not those that the run began with.
        ModelFileError: Every checkpoint is damaged, or of another version.
    """
    run = Path(run)
    session = Session(display or Display(), device, callbacks, tensorboard)
    if not (run / runfolder.CONFIG).is_file():
        raise DataNotFoundError(
            f"{run} holds no {runfolder.CONFIG}; accepted is the folder of a run that has begun to "
            "train; check the path, or train anew"
        )
    config = config_from_file(run / runfolder.CONFIG)
    # A run that was killed while it began may lack the manifest, and the split.
    if (run / runfolder.MANIFEST).exists() and read_manifest(run)["state"] == "finished":
        session.display.say(f"{run} is finished: nothing is left to do")
        return run
    overrides = asdict(config)
    session = _prepare(session, overrides)
    session = replace(session, display=LoggedDisplay(session.display, run / runfolder.LOG))
    for leftover in run.rglob(".part-*"):
        leftover.unlink()
    dataset = find_dataset(config.data, config.sources)
    try:
        found, _ = _look(dataset, overrides, None, session)
        _require_same_data(run, found)
        return _train_into(run, found, config, None, session)
    except BaseException as error:
        session.display.finish()
        _is_kept(run, error, session.display)
        raise
    finally:
        shutil.rmtree(run / runfolder.CACHE, ignore_errors=True)
        session.display.finish()


def _prepare(session: Session, overrides: Mapping[str, Any]) -> Session:
    """Settles how the framework computes, before it computes anything."""
    if overrides.get("training", {}).get("deterministic", True):
        obstacle = backend.make_repeatable()
        if obstacle is not None:
            session.display.warn(obstacle)
    return replace(session, device=backend.choose_device(session.device))


def _is_kept(run: Path, error: BaseException, display: Display) -> bool:
    """Whether a run that was stopped can go on; says how, and notes that it was stopped."""
    if not checkpoint_files(run / runfolder.CHECKPOINTS):
        return False
    state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    with contextlib.suppress(DataError, DataNotFoundError, OSError):
        update_manifest(run, state=state)
    display.say(f"saved     go on with: unetkit train --resume {run}")
    return True


def check_length(epochs: int | None, minutes: float | None) -> None:
    """Refuses what is no length of a training.

    Raises:
        ConfigError: Both are given, or one is not above 0.
    """
    if epochs is not None and minutes is not None:
        raise ConfigError(
            f"epochs is {epochs} and minutes {minutes:g}; accepted is one of them; leave one out"
        )
    for name, value in (("epochs", epochs), ("minutes", minutes)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(
                f"{name} is {value:g}; accepted are positive numbers; use a larger one"
            )


def overrides_from(
    config: str | Path | Mapping[str, Any] | None,
    data: str | Path | None,
    preset: str | None,
    size: int | tuple[int, int] | None,
    seed: int | None,
) -> dict[str, Any]:
    """What was asked for, in the shape of a configuration file; arguments win over the file."""
    if config is None or isinstance(config, Mapping):
        values = dict(config or {})
        check_keys(values, "the options")
    else:
        values = read_config(config)
    values = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    if data is not None:
        values["data"] = str(data)
    if preset is not None:
        values = with_preset(values, preset)
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        values.setdefault("scale", {}).update(height=height, width=width)
    if seed is not None:
        values.setdefault("split", {})["seed"] = seed
        values.setdefault("training", {})["seed"] = seed
    if "data" not in values:
        raise ConfigError("no data is named; accepted is a folder of images and masks; name one")
    start = values.get("training", {}).get("start")
    if start is not None:
        values = _as_origin(values, Path(start))
    choose_network(values)  # a mistyped preset shows before the data are read
    return values


def _as_origin(values: dict[str, Any], start: Path) -> dict[str, Any]:
    """The same keys; what they leave open of the network and its input is as the start has it."""
    origin = read_origin(start)
    if values.get("preset", origin.preset) != origin.preset:
        return values
    taken = {
        "network": asdict(origin.network),
        "normalization": asdict(origin.normalization),
        "scale": asdict(origin.scale),
    }
    return {**taken, "preset": origin.preset, **values}


def _claim(
    out: str | Path | None, dataset: Dataset, overrides: Mapping[str, Any]
) -> tuple[Path, bool]:
    """Makes the run folder, so that no other run takes it; and whether it was not there before."""
    if out is None:
        stem = f"{dataset.label}-{overrides.get('preset', 'fast')}"
        for number in itertools.count(1):
            run = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
            with contextlib.suppress(FileExistsError):
                run.mkdir(parents=True)
                return run, True
    run = Path(out or "")
    try:
        run.mkdir(parents=True)
    except FileExistsError as error:
        if not run.is_dir() or any(run.iterdir()):
            raise OutputExistsError(
                f"run folder {run} exists and is not empty; accepted is a new or an empty folder; "
                "name another with --out"
            ) from error
        return run, False
    return run, True


def _discard(run: Path, is_new: bool) -> None:
    """Removes what a failed run has written, as far as the system lets go of it: none is of use."""
    if is_new:
        shutil.rmtree(run, ignore_errors=True)
        return
    for path in run.iterdir():
        with contextlib.suppress(OSError):
            path.unlink()


def _look(
    dataset: Dataset, overrides: Mapping[str, Any], epochs: int | None, session: Session
) -> tuple[Examination, RunConfig]:
    """Examines the pairs, completes the configuration, and says so."""
    display = session.display
    found = examine(
        dataset,
        choose_sources(overrides),
        choose_split(overrides),
        decided_classes(overrides),
        display,
    )
    check_sound(found, skip_bad=choose_sources(overrides).skip_bad)
    for finding in found.findings:
        if finding.level != "note":
            display.warn(f"{finding.level:9} {finding.text}; {finding.remedy}")
    # No error is left: all three are known.
    split, classes, pixels = found.split, found.classes, found.format
    if split is None or classes is None or pixels is None:
        raise DataError(
            f"{dataset.source} holds no pair that can be used; accepted are pairs of image and "
            f"mask; run: unetkit check {dataset.source}"
        )
    train = {pair.name for pair in split.train}
    chosen = choose_config(
        dataset,
        [look.size for look in found.good if look.pair.name in train],
        classes,
        pixels,
        _with_automatic(overrides, found, session.device or backend.CPU),
        epochs=epochs,
    )
    counts = ", ".join(f"{len(pairs)} {name}" for name, pairs in split.parts.items())
    how = chosen.split.file or ("as the data say" if dataset.parts else f"seed {chosen.split.seed}")
    display.say(f"data      {dataset.source}: {len(dataset.pairs)} pairs; {counts} ({how})")
    display.say(f"masks     {chosen.classes.kind}: {chosen.classes.describe()}")
    display.say(f"images    {chosen.pixels.describe()}")
    display.say(f"scale     {chosen.scale.describe()}")
    return found, chosen


def _with_automatic(
    overrides: Mapping[str, Any], found: Examination, device: str
) -> dict[str, Any]:
    """The same keys, with numbers or names where "auto" leaves them to the data or the device."""
    training = dict(overrides.get("training", {}))
    if training.get("class_weights") == AUTO:
        shares = class_shares(found)["train"]["classes"]
        training["class_weights"] = balanced_weights(np.array(list(shares.values())))
    if training.get("precision") == AUTO:
        training["precision"] = backend.fastest_precision(device)
    return {**overrides, "training": training}


def check_sound(found: Examination, *, skip_bad: bool) -> None:
    """Stops a training before it starts, where something would spoil it.

    Raises:
        DataError: Something would.
    """
    errors = [e for e in found.errors if not (skip_bad and e.removable)]
    if not errors:
        return
    lines = [f"{error.text}; {error.remedy}" for error in errors[:SHOWN]]
    if len(errors) > SHOWN:
        lines.append(f"... and {len(errors) - SHOWN} more")
    advice = f"all findings: unetkit check {found.dataset.source}"
    if all(error.removable for error in errors):
        advice += "; to go on without these files: --skip-bad"
    raise DataError("\n".join([*lines, advice]))


def _train_into(
    run: Path, found: Examination, config: RunConfig, minutes: float | None, session: Session
) -> Path:
    started = time.monotonic()
    display = session.display
    split = found.split or Split((), (), ())
    on_done = display.task("decoding", len(split.train + split.validation))
    caches = {
        name: build_cache(
            run / runfolder.CACHE / name,
            pairs,
            config.classes,
            config.pixels,
            config.scale,
            on_done,
        )
        for name, pairs in (("train", split.train), ("validation", split.validation))
    }
    display.finish()
    _require_truth(caches)
    samplers = _samplers(config, caches)
    with backend.on_device(session.device or backend.CPU):
        trainer, look_seconds = None, 0.0
        while trainer is None:
            try:
                if minutes is not None:
                    config, look_seconds = _calibrate(config, samplers, minutes, display)
                    minutes = None
                _write_choices(run, found, config)
                trainer = _trainer(run, found, config, samplers, session, look_seconds)
                _begin(trainer, found, session)
                trainer.fit()
                display.finish()
            except OutOfMemoryError as error:
                config, trainer = _halved(config, error, display), None
        return _finish(trainer, found, time.monotonic() - started, display)


def _write_choices(run: Path, found: Examination, config: RunConfig) -> None:
    write_text(run / runfolder.CONFIG, config_to_toml(config))
    split = found.split or Split((), (), ())
    if not (run / runfolder.SPLIT).exists():
        write_text(
            run / runfolder.SPLIT,
            split_to_json(split, found.dataset, found.digests(), found.left_out()),
        )


def _trainer(
    run: Path,
    found: Examination,
    config: RunConfig,
    samplers: dict[str, Sampler],
    session: Session,
    look_seconds: float,
) -> Trainer:
    """A trainer that stands where the last checkpoint left off, or at the beginning."""
    training = config.training
    keras.utils.set_random_seed(training.seed)
    checkpoint, damaged = newest_checkpoint(run / runfolder.CHECKPOINTS)
    model = _build(config)
    if training.start is not None and checkpoint is None:
        images, _ = samplers["train"].batch(0, START_IMAGES)
        session.display.say(f"start     {start_from(model, training.start, config, images)}")
    if training.freeze:
        frozen = freeze(model, training.freeze)
        session.display.say(f"frozen    {frozen:,} parameters stay as they are")
    _compile(model, training)
    session.display.say(
        f"network   {config.preset}, {model.count_params():,} parameters, "
        f"channels in: {config.pixels.channels}, classes out: {len(config.classes)}"
    )
    split = found.split or Split((), (), ())
    files = [pair.image for pair in split.train]
    trainer = Trainer(
        run, config, model, samplers, files, session.display, session.callbacks, look_seconds
    )
    for path in damaged:
        session.display.warn(f"checkpoint {path} is damaged: the one before it is used")
    if checkpoint is not None:
        trainer.restore(checkpoint)
        for path in damaged:
            path.unlink()
    if session.tensorboard:
        trainer.log = TensorBoardLog(run / runfolder.TENSORBOARD, trainer.progress.step)
    return trainer


def _begin(trainer: Trainer, found: Examination, session: Session) -> None:
    """Says what is trained, where and how, and writes it into the manifest."""
    display, config, step = session.display, trainer.config, trainer.progress.step
    device = backend.describe_device(session.device or backend.CPU)
    display.say(f"device    {device}")
    display.say(_describe_training(config, trainer.sampler.cache))
    made = provenance()
    this = {"command": made["command"], "date": made["date"], "from_step": step}
    earlier: list[Any] = []
    seen_before: list[str] = []
    if step:
        display.say(f"resumed   at step {step} of {config.training.steps}")
        old = read_manifest(trainer.run)
        earlier, seen_before = old["sessions"], old["seen_before"]
    elif config.training.start is not None:
        seen_before = list(read_origin(Path(config.training.start)).seen())
    write_manifest(
        trainer.run,
        {
            "state": "training",
            **made,
            "device": device,
            "backend": keras.backend.backend(),
            "threads": {
                "inter_op": backend.inter_op_threads(),
                "intra_op": backend.intra_op_threads(),
                "loader": LOADER_THREADS,
            },
            "variables": backend.variables_that_matter(),
            "deterministic": config.training.deterministic,
            "data": data_record(trainer.run),
            "configuration": asdict(config),
            "sessions": [*earlier, this],
            "seen_before": seen_before,
            **trainer.summary(),
            "export_difference": None,
            "parts": class_shares(found),
            "findings": [
                {"level": f.level, "code": f.code, "text": f.text, "remedy": f.remedy}
                for f in found.findings
            ],
        },
    )


def _data_digest(found: Examination) -> str:
    split, digests = found.split or Split((), (), ()), found.digests()
    return data_digest(
        PairRecord(part, pair.name, **digests[pair.name])  # type: ignore[arg-type]
        for part, pairs in split.parts.items()
        for pair in pairs
    )


def _require_same_data(run: Path, found: Examination) -> None:
    """Refuses to go on with other data than the run began with.

    Raises:
        DataError: They differ.
    """
    if (run / runfolder.SPLIT).exists() and _data_digest(found) != data_record(run)["sha256"]:
        raise DataError(
            f"{found.dataset.source} no longer holds what {run} began to train on; accepted are "
            f"the same files in the same parts; run: unetkit verify {run}, restore what it names, "
            "or train anew"
        )


def _halved(config: RunConfig, error: OutOfMemoryError, display: Display) -> RunConfig:
    """Half the samples at once, and twice as many batches an update.

    Raises:
        ConfigError: Fewer there cannot be.
    """
    training = config.training
    if training.batch_size % 2:
        raise ConfigError(
            f"a batch of {training.batch_size} samples of {config.scale.height}x"
            f"{config.scale.width} does not fit into memory ({str(error)[:200]}); accepted are "
            "batches that fit, halved as long as they are even; use a smaller --size, or another "
            "--batch-size"
        ) from error
    half = replace(
        training, batch_size=training.batch_size // 2, accumulation=2 * training.accumulation
    )
    display.warn(
        f"memory does not suffice for {training.batch_size} samples at once: going on with "
        f"{half.batch_size} and {half.accumulation} batches an update, which follows the same "
        "samples"
    )
    gc.collect()
    return replace(config, training=half)


def _finish(trainer: Trainer, found: Examination, seconds: float, display: Display) -> Path:
    """Exports and draws the best network, and closes the manifest."""
    run, config = trainer.run, trainer.config
    model = trained_network(run, config)
    difference = None
    if keras.backend.backend() == "tensorflow":
        difference = _export_best(run, config, model, found)
        path = run / runfolder.MODEL
        display.say(f"export    {path}: largest difference from Keras {difference:.1g}")
    else:
        display.say("export    left out: ONNX files are made with KERAS_BACKEND=tensorflow")
    trainer.recorder.draw(model)
    sessions = read_manifest(run)["sessions"]
    sessions[-1] |= {"to_step": trainer.progress.step, "seconds": round(seconds, 1)}
    update_manifest(
        run,
        state="finished",
        sessions=sessions,
        **trainer.summary(),
        export_difference=difference,
    )
    return run


def _require_truth(caches: Mapping[str, Cache]) -> None:
    """Refuses a part in which every pixel is ignored.

    Raises:
        DataError: There is one.
    """
    for name, cache in caches.items():
        if all((mask == IGNORE).all() for mask in cache.masks):
            raise DataError(
                f"every pixel of the {name} part is ignored ({len(cache)} pairs); accepted are "
                "parts with pixels of some class; correct the masks or the value to ignore, or cut "
                "the parts with another --seed"
            )


def _samplers(config: RunConfig, caches: Mapping[str, Cache]) -> dict[str, Sampler]:
    return {
        name: Sampler(
            cache,
            config.scale,
            config.network.geometry,
            config.pixels,
            config.normalization,
            config.augmentation if name == "train" else NO_AUGMENTATION,
            config.training.seed,
        )
        for name, cache in caches.items()
    }


def _build(config: RunConfig) -> keras.Model:
    """The network that a configuration asks for, with fresh weights."""
    kept = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.training.precision)
    try:
        return build_unet(
            config.network, in_channels=config.pixels.channels, num_classes=len(config.classes)
        )
    finally:
        keras.config.set_dtype_policy(kept)


def _compile(model: keras.Model, training: TrainingConfig) -> None:
    model.compile(
        optimizer=build_optimizer(training),
        loss=combined_loss(training.loss, training.class_weights),
        # On CPUs TensorFlow's own kernels train this network 1.4 times as fast as XLA's.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )


def _calibrate(
    config: RunConfig, samplers: Mapping[str, Sampler], minutes: float, display: Display
) -> tuple[RunConfig, float]:
    """Turns minutes into steps by timing a network that is thrown away afterwards.

    Returns:
        The configuration with that number, and the seconds of a look.
    """
    model = _build(config)
    freeze(model, config.training.freeze)
    _compile(model, config.training)
    batches = samplers["train"].batches(config.training.batch_size)
    try:
        for _ in range(WARM_UP_STEPS):
            model.train_on_batch(*next(batches))
        seen, started = 0, time.monotonic()
        while time.monotonic() - started < CALIBRATION_SECONDS or seen < 2:
            model.train_on_batch(*next(batches))
            seen += 1
    except Exception as error:
        if backend.is_out_of_memory(error):
            raise OutOfMemoryError(str(error)) from error
        raise
    finally:
        batches.close()
    step_seconds = (time.monotonic() - started) / seen * config.training.accumulation
    started = time.monotonic()
    for images, _ in samplers["validation"].fixed_batches(config.training.batch_size):
        model.predict_on_batch(images)
    look_seconds = time.monotonic() - started
    per_validation = config.training.steps_per_validation
    steps = max(1, round(60 * minutes / (step_seconds + look_seconds / per_validation)))
    display.say(
        f"timing    {1000 * step_seconds:.0f} ms a step: {minutes:g} minutes are {steps} steps"
    )
    return replace(config, training=replace(config.training, steps=steps)), look_seconds


def _describe_training(config: RunConfig, cache: Cache) -> str:
    training = config.training
    samples = training.batch_size * training.accumulation
    seen = training.steps * samples * config.scale.height * config.scale.width
    epochs = seen / sum(mask.size for mask in cache.masks)
    return (
        f"training  {training.steps} steps of {samples} samples ({epochs:.1f} epochs), "
        f"{training.optimizer} {training.learning_rate:g} {training.schedule}, "
        f"{loss_text(training.loss)}, "
        f"seed {training.seed}"
    )


def _export_best(run: Path, config: RunConfig, model: keras.Model, found: Examination) -> float:
    split = found.split or Split((), (), ())
    checked = split.validation[:CHECK_IMAGES]
    pictures = [read_image(pair.image, config.pixels, pair.page) for pair in checked]
    spec = model_spec(config, model, seen_pictures(run))
    return export_onnx(model, spec, run / runfolder.MODEL, pictures)
