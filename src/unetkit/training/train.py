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
import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras

from unetkit._shared import run_folder
from unetkit._shared.display import Display, LoggedDisplay
from unetkit._shared.files import locked, write_text
from unetkit._shared.manifest import (
    PairRecord,
    data_digest,
    data_record,
    read_manifest,
    update_manifest,
    write_manifest,
)
from unetkit._shared.provenance import provenance
from unetkit.checks.examine import DatasetReport
from unetkit.checks.report import class_fractions
from unetkit.data.augmentation import NO_AUGMENTATION
from unetkit.data.dataset import find_dataset
from unetkit.data.scale import IGNORE
from unetkit.data.splits import split_to_json
from unetkit.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    DivergedError,
    UnetkitError,
)
from unetkit.evaluation.results import loss_text
from unetkit.io.images import read_image
from unetkit.models.onnx_export import export_onnx
from unetkit.training import backend
from unetkit.training.backend import OutOfMemoryError, watching_memory
from unetkit.training.batches import LOADER_THREADS, Cache, Sampler, build_cache
from unetkit.training.checkpoints import checkpoint_files, newest_checkpoint
from unetkit.training.choices import check_length, overrides_from, survey
from unetkit.training.config import (
    RunConfig,
    choose_sources,
    config_from_file,
    config_to_toml,
)
from unetkit.training.export import (
    CHECK_IMAGES,
    model_spec,
    seen_images,
    trained_network,
)
from unetkit.training.fine_tuning import read_origin, start_from
from unetkit.training.network import build_network, calibrate, compile_network, freeze
from unetkit.training.trainer import Trainer
from unetkit.visualization.tensorboard import TensorBoardLog

# Where these are others than before, a resumed run ends with other bytes.
SAME_BYTES = ("unetkit", "python", "versions", "machine", "device", "threads", "variables")
START_IMAGES = 16  # that the statistics of a network from an exported file are taken on


@dataclass(frozen=True)
class Session:
    """With what a run is trained this time.

    Args:
        display: Shows progress.
        device: "cpu:0", "gpu:1" and so on.
        callbacks: Keras callbacks.
        tensorboard: Whether figures and pictures are written for TensorBoard, too.
        obstacle: What stands against a repeatable training that was asked for.
    """

    display: Display
    device: str
    callbacks: Sequence[keras.callbacks.Callback] = ()
    tensorboard: bool = False
    obstacle: str | None = None


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
            What they keep to themselves is in no checkpoint.
        tensorboard: Whether figures and pictures are written for TensorBoard, too.
        display: Shows progress.

    Returns:
        The run folder; `unetkit._shared.run_folder` says what it holds.

    Raises:
        DataNotFoundError, DataError: The data cannot be used.
        ConfigError: An option or key is not accepted, or the device is not there.
        OutputExistsError: `out` is in use.
        DivergedError: The loss or the gradient is no finite number.
    """
    check_length(epochs, minutes)
    overrides = overrides_from(config, data, preset, size, seed)
    if epochs or minutes:
        overrides.get("training", {}).pop("steps", None)
    dataset = find_dataset(overrides["data"], choose_sources(overrides))
    stem = f"{dataset.label}-{overrides.get('preset', 'fast')}"
    obstacle = _make_repeatable(overrides)
    device = backend.choose_device(device)
    run, is_new = run_folder.claim(out, stem)
    display = LoggedDisplay(display or Display(), run / run_folder.LOG)
    session = Session(display, device, callbacks, tensorboard, obstacle)
    with _writing(run, display):
        try:
            found, chosen = survey(dataset, overrides, epochs, device, display)
            return _train_into(run, found, chosen, minutes, session)
        except BaseException as error:
            display.finish()
            if not _note_failure(run, error, display):
                run_folder.discard(run, is_new)
            raise


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
        OutputExistsError: Another process trains in it.
        DivergedError: As `train`.
    """
    run = Path(run)
    if not (run / run_folder.CONFIG).is_file():
        raise DataNotFoundError(
            f"{run} holds no {run_folder.CONFIG}; accepted is the folder of a run that has begun "
            "to train; check the path, or train anew"
        )
    config = config_from_file(run / run_folder.CONFIG)
    if _recorded(run).get("state") == "finished":
        (display or Display()).say(f"{run} is finished: nothing is left to do")
        return run
    overrides = asdict(config)
    obstacle = _make_repeatable(overrides)
    device = backend.choose_device(device)
    dataset = find_dataset(config.data, config.sources)
    display = LoggedDisplay(display or Display(), run / run_folder.LOG)
    session = Session(display, device, callbacks, tensorboard, obstacle)
    with _writing(run, display):
        for leftover in run.rglob(".part-*"):
            leftover.unlink()
        found, _ = survey(dataset, overrides, None, device, display)
        _require_same_data(run, found)
        try:
            return _train_into(run, found, config, None, session)
        except BaseException as error:
            display.finish()
            _note_failure(run, error, display)
            raise


def _make_repeatable(overrides: Mapping[str, Any]) -> str | None:
    """Has the framework compute repeatably, before it computes anything; what stands against it."""
    wanted = overrides.get("training", {}).get("deterministic", True)
    return backend.make_repeatable() if wanted else None


@contextlib.contextmanager
def _writing(run: Path, display: Display) -> Generator[None, None, None]:
    """Holds a run folder, and tidies it up whatever happens."""
    with locked(run / run_folder.LOCK, f"trains in {run}"):
        try:
            yield
        finally:
            shutil.rmtree(run / run_folder.CACHE, ignore_errors=True)
            display.finish()


def _recorded(run: Path) -> dict[str, Any]:
    """What a run's manifest holds; nothing where it is absent or damaged, as by a power cut."""
    try:
        return read_manifest(run)
    except (DataError, DataNotFoundError):
        return {}


def _note_failure(run: Path, error: BaseException, display: Display) -> bool:
    """Writes into the manifest that a run was stopped, and says how to go on.

    Returns:
        Whether there is anything to keep.
    """
    if not checkpoint_files(run / run_folder.CHECKPOINTS):
        return False
    if _recorded(run).get("state") == "training":
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        with contextlib.suppress(DataError, OSError):
            update_manifest(run, state=state)
    if isinstance(error, DivergedError) and (run / run_folder.WEIGHTS).exists():
        display.say(f"kept      the best weights before it: unetkit export {run}")
    elif not isinstance(error, UnetkitError):
        display.say(f"saved     go on with: unetkit train --resume {run}")
    return True


def _train_into(
    run: Path, found: DatasetReport, config: RunConfig, minutes: float | None, session: Session
) -> Path:
    display = session.display
    split = found.splits
    on_done = display.task("decoding", len(split.train + split.validation))
    caches = {
        name: build_cache(
            run / run_folder.CACHE / name,
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
    with backend.on_device(session.device):
        trainer, look_seconds, notes = None, 0.0, {}
        if session.obstacle is not None:
            notes["repeatable"] = session.obstacle
        while trainer is None:
            shortage = ""
            try:
                if minutes is not None:
                    config, look_seconds = calibrate(config, samplers, minutes, display)
                    minutes = None
                _write_choices(run, found, config)
                trainer = _trainer(run, found, config, samplers, session, look_seconds)
                _begin(trainer, found, session, notes)
                trainer.fit()
                display.finish()
            except OutOfMemoryError as error:
                shortage = str(error) or "no memory"
            if shortage:  # out of the except clause, whose error holds the network
                trainer = None
                gc.collect()
                config, notes["memory"] = _halved(config, shortage)
        return _finish(trainer, found, display)


def _write_choices(run: Path, found: DatasetReport, config: RunConfig) -> None:
    write_text(run / run_folder.CONFIG, config_to_toml(config))
    split = found.splits
    if not (run / run_folder.SPLIT).exists():
        write_text(
            run / run_folder.SPLIT,
            split_to_json(split, found.dataset, found.digests(), found.left_out()),
        )


def _trainer(
    run: Path,
    found: DatasetReport,
    config: RunConfig,
    samplers: dict[str, Sampler],
    session: Session,
    look_seconds: float,
) -> Trainer:
    """A trainer that stands where the last checkpoint left off, or at the beginning."""
    training = config.training
    keras.utils.set_random_seed(training.seed)
    checkpoint, damaged = newest_checkpoint(run / run_folder.CHECKPOINTS)
    model = build_network(config, config.training.precision)
    if training.start is not None and checkpoint is None:
        images, _ = samplers["train"].batch(0, START_IMAGES)
        with watching_memory():
            taken = start_from(model, training.start, config, images)
        session.display.say(f"start     {taken}")
    if training.freeze:
        frozen = freeze(model, training.freeze)
        session.display.say(f"frozen    {frozen:,} parameters stay as they are")
    compile_network(model, training)
    session.display.say(
        f"network   {config.preset}, {model.count_params():,} parameters, "
        f"channels in: {config.pixels.channels}, classes out: {len(config.classes)}"
    )
    split = found.splits
    files = [pair.image for pair in split.train]
    trainer = Trainer(
        run, config, model, samplers, files, session.display, session.callbacks, look_seconds
    )
    if checkpoint is not None:
        trainer.restore(checkpoint)
    for path in damaged:
        trainer.note("damaged", f"checkpoint {path} is damaged: the one before it is used")
        path.unlink()
    if session.tensorboard:
        trainer.log = TensorBoardLog(run / run_folder.TENSORBOARD, trainer.progress.step)
    return trainer


def _begin(
    trainer: Trainer, found: DatasetReport, session: Session, notes: Mapping[str, str]
) -> None:
    """Says what is trained, where and how, and writes it into the manifest."""
    display, config, step = session.display, trainer.config, trainer.progress.step
    device = backend.describe_device(session.device)
    display.say(f"device    {device}")
    display.say(_describe_training(config, trainer.sampler.cache))
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
        display.say(f"resumed   at step {step} of {config.training.steps}")
        changed = [name for name in SAME_BYTES if name in old and old[name] != made[name]]
        if changed:
            trainer.note(
                "surroundings",
                f"not what the run began with: {', '.join(changed)}; the bytes of an uninterrupted "
                f"run cannot be expected; unetkit verify {trainer.run} says more",
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
            "parts": class_fractions(found),
            "findings": [
                {"level": f.level, "code": f.code, "text": f.text, "remedy": f.remedy}
                for f in found.issues
            ],
        },
    )


def _data_digest(found: DatasetReport) -> str:
    split, digests = found.splits, found.digests()
    return data_digest(
        PairRecord(part, pair.name, **digests[pair.name])  # type: ignore[arg-type]
        for part, pairs in split.splits.items()
        for pair in pairs
    )


def _require_same_data(run: Path, found: DatasetReport) -> None:
    """Refuses to go on with other data than the run began with.

    Raises:
        DataError: They differ.
    """
    if (run / run_folder.SPLIT).exists() and _data_digest(found) != data_record(run)["sha256"]:
        raise DataError(
            f"{found.dataset.source} no longer holds what {run} began to train on; accepted are "
            f"the same files in the same parts; run: unetkit verify {run}, restore what it names, "
            "or train anew"
        )


def _halved(config: RunConfig, shortage: str) -> tuple[RunConfig, str]:
    """Half the samples at once, and twice as many batches an update; and a sentence about it.

    Raises:
        ConfigError: Fewer there cannot be.
    """
    training = config.training
    if training.batch_size % 2:
        raise ConfigError(
            f"a batch of {training.batch_size} samples of {config.scale.height}x"
            f"{config.scale.width} does not fit into memory ({shortage[:200]}); accepted are "
            "batches that fit, halved as long as they are even; use a smaller --size, or another "
            "--batch-size"
        )
    half = replace(
        training, batch_size=training.batch_size // 2, accumulation=2 * training.accumulation
    )
    said = (
        f"memory does not suffice for {training.batch_size} samples at once: going on with "
        f"{half.batch_size} and {half.accumulation} batches an update, which follows the same "
        "samples"
    )
    return replace(config, training=half), said


def _finish(trainer: Trainer, found: DatasetReport, display: Display) -> Path:
    """Exports and draws the best network, and closes the manifest."""
    run, config = trainer.run, trainer.config
    model = trained_network(run, config)
    difference = None
    if keras.backend.backend() == "tensorflow":
        difference = _export_best(run, config, model, found)
        path = run / run_folder.MODEL
        display.say(f"export    {path}: largest difference from Keras {difference:.1g}")
    else:
        display.say(
            "export    left out, as TensorFlow makes ONNX files; run: KERAS_BACKEND=tensorflow "
            f"unetkit export {run} --out {run / run_folder.MODEL}"
        )
    trainer.recorder.draw(model)
    summary = trainer.summary()
    update_manifest(run, state="finished", **summary, export_difference=difference)
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


def _export_best(run: Path, config: RunConfig, model: keras.Model, found: DatasetReport) -> float:
    split = found.splits
    checked = split.validation[:CHECK_IMAGES]
    pictures = [read_image(pair.image, config.pixels, pair.page) for pair in checked]
    spec = model_spec(config, model, seen_images(run))
    return export_onnx(model, spec, run / run_folder.MODEL, pictures)
