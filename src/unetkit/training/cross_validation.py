"""Cross-validation: K networks, each tested on the fold that it was not trained on.

The metrics are pooled over all folds. The output folder has a plan.json with all choices, from
which an interrupted cross-validation can be resumed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.display import Display
from unetkit._shared.files import LARGEST_TABLE, read_text, write_text
from unetkit._shared.provenance import provenance
from unetkit._shared.records import RecordError, convert, plain, read_json, refusing
from unetkit.checks.examine import DatasetReport, check_sound, examine
from unetkit.data.pairs import Dataset
from unetkit.data.sources import Sources
from unetkit.data.splits import Split, make_folds, split_to_json, without
from unetkit.errors import ConfigError, DataError, OutputExistsError
from unetkit.evaluation.evaluate import score_pairs
from unetkit.metrics.summary import RESOLUTIONS, summarise_metrics
from unetkit.models.spec import is_seen
from unetkit.prediction.predictor import Predictor
from unetkit.training.choices import (
    check_length,
    choose_sources,
    choose_split,
    find_chosen_dataset,
    find_moved_dataset,
    gather_choices,
)
from unetkit.training.config import Choices
from unetkit.training.config_file import parse_choices
from unetkit.training.fine_tuning import read_origin
from unetkit.training.train import resume, train


class PlanRecord(msgspec.Struct):
    """Content of plan.json."""

    folds: int
    epochs: int | None
    minutes: float | None
    config: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Choices of a cross-validation; epochs and minutes are those of each fold."""

    folds: int
    epochs: int | None
    minutes: float | None
    choices: Choices

    def to_json(self) -> str:
        record = PlanRecord(self.folds, self.epochs, self.minutes, self.choices.to_mapping())
        return json.dumps(plain(msgspec.structs.asdict(record)))


def read_plan(file: Path) -> Plan:
    """Reads plan.json.

    Raises:
        DataError: The file is missing or damaged.
    """
    remedy = (
        "accepted is a folder of cross_validate; resume each fold-N by itself, or train new folds"
    )
    try:
        with refusing(file, remedy):
            record = convert(read_json(file), PlanRecord)
            choices = parse_choices(record.config, str(file))
            if choices.data is None:
                raise RecordError("$.config has no key 'data'")
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing; {remedy}") from error
    return Plan(record.folds, record.epochs, record.minutes, choices)


def cross_validate(
    data: str | Path | None = None,
    *,
    folds: int = 5,
    out: str | Path,
    preset: str | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    size: int | tuple[int, int] | None = None,
    seed: int | None = None,
    config: str | Path | Mapping[str, Any] | Choices | None = None,
    device: str | None = None,
    tensorboard: bool = False,
    display: Display | None = None,
) -> dict[str, Any]:
    """Trains and tests `folds` networks one by one.

    Test pairs that the data list are left out.

    Args:
        data: Folder or table of pairs; optional if `config` has one.
        folds: Number of folds, 2 to 100; each is the test split once.
        out: Folder to create, with plan.json; split-1.json, fold-1/ and so on; and folds.json.
        preset: "pretrained" (default), "fast", "notebook" or "paper".
        epochs: Number of passes over the training pairs of each network.
        minutes: Training time of each network in minutes.
        size: Input size of the networks in pixels: a side, or (height, width).
        seed: Seed of the folds, the weights and the samples; 0 by default.
        config: Path of a config.toml, or the same keys as nested mappings; any key may be left out.
        device: "cpu", "gpu" or "gpu:1"; by default the first accelerator, else the CPU.
        tensorboard: Whether to write metrics and images for TensorBoard.
        display: Shows progress and warnings.

    Returns:
        The content of folds.json: metrics pooled over all out-of-fold pairs, and of each fold.

    Raises:
        ConfigError: A split file is given, or another value is not accepted.
        OutputExistsError: `out` exists and is not empty.
        UnetkitError: An error of `train` or `evaluate`.
    """
    check_length(epochs, minutes)
    choices = gather_choices(config, data=data, preset=preset, size=size, seed=seed)
    rule = choose_split(choices)
    if rule.file is not None:
        raise ConfigError(
            f"a split file, {rule.file}, is given for cross-validation, which makes its own "
            "splits; accepted is one of both; leave out --split or --folds"
        )
    absolute = str(Path(choices.data or "").resolve())  # to be resumed from any folder
    choices = replace(choices, data=absolute)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputExistsError(
            f"folder {out} exists and is not empty; accepted is a new or an empty folder; name "
            "another with --out"
        )
    plan = Plan(folds, epochs, minutes, choices)
    return _train_folds(out, plan, device, tensorboard, display or Display())


def resume_folds(
    out: str | Path,
    *,
    data: str | Path | None = None,
    device: str | None = None,
    tensorboard: bool = False,
    display: Display | None = None,
) -> dict[str, Any]:
    """Resumes an interrupted cross-validation: trains what is left, tests and pools all folds.

    Args:
        out: Folder of the folds.
        data: Path of the data, if they were moved since the folds were started.
        device: "cpu", "gpu" or "gpu:1"; by default the first accelerator, else the CPU.
        tensorboard: Whether to write metrics and images for TensorBoard.
        display: Shows progress and warnings.

    Returns:
        The content of folds.json, as `cross_validate` returns it.

    Raises:
        DataError: The plan in the folder is damaged, or the data have changed.
        UnetkitError: An error of `resume`, `train` or `evaluate`.
    """
    out = Path(out)
    plan = read_plan(out / run_folder.PLAN)
    if data is not None:
        plan = replace(plan, choices=replace(plan.choices, data=str(Path(data).resolve())))
    find_moved_dataset(out, str(plan.choices.data), choose_sources(plan.choices))
    return _train_folds(out, plan, device, tensorboard, display or Display())


def _train_folds(
    out: Path, plan: Plan, device: str | None, tensorboard: bool, display: Display
) -> dict[str, Any]:
    """Trains or resumes every fold that is not finished."""
    choices, folds = plan.choices, plan.folds
    sources, rule = choose_sources(choices), choose_split(choices)
    dataset = find_chosen_dataset(choices)
    found = examine(dataset, sources, rule, choices.classes.given, display)
    check_sound(found)
    usable = without(dataset, found.skippable())
    _require_fresh_start(choices, found)
    splits = make_folds(usable, rule, folds, found.strata())
    out.mkdir(parents=True, exist_ok=True)
    files = [out.resolve() / f"split-{number}.json" for number in range(1, folds + 1)]
    texts = [split_to_json(s, dataset, found.digests(), found.left_out()) for s in splits]
    for file, text in zip(files, texts, strict=True):
        if file.exists() and _pairs_in(read_text(file, LARGEST_TABLE)) != _pairs_in(text):
            raise DataError(
                f"{dataset.source} no longer holds the files that {out} was started with: "
                f"{file.name} would change; accepted are the same files; restore them, or train "
                "new folds"
            )
        write_text(file, text)
    write_text(out / run_folder.PLAN, plan.to_json())
    session: dict[str, Any] = {"device": device, "tensorboard": tensorboard, "display": display}
    results, counts = [], []
    for number, (split, file) in enumerate(zip(splits, files, strict=True), start=1):
        display.say(f"fold {number} of {folds}")
        run = out / run_folder.FOLD.format(number)
        if (run / run_folder.CONFIG).is_file():
            resume(run, data=choices.data, **session)
        else:
            own = choices.split.without("test_fraction").updated({"file": str(file)})
            config = replace(choices, split=own)
            train(out=run, config=config, epochs=plan.epochs, minutes=plan.minutes, **session)
        result, ranking = _score_fold(run, usable, split, sources, display)
        results.append(result)
        counts.append(ranking)
    pooled = _pool(
        results,
        np.sum(counts, axis=0),
        Predictor(out / run_folder.FOLD.format(1)),
        str(choices.data),
    )
    write_text(out / run_folder.FOLDS, json.dumps(plain(pooled)))
    display.say(f"metrics over all folds in {out / run_folder.FOLDS}")
    return pooled


def _pairs_in(split_file: str) -> list[Any]:
    """What a split file says of the pairs, wherever the data are."""
    try:
        record = json.loads(split_file)
        return [record.get(name) for name in run_folder.SPLIT_NAMES]
    except (ValueError, AttributeError):  # a damaged file is another one
        return []


def _require_fresh_start(choices: Choices, found: DatasetReport) -> None:
    """Refuses initial weights that were trained on these images: no fold would be unseen.

    Raises:
        ConfigError: The training of the start used some of the images.
    """
    start = choices.training.given.get("start")
    if start is None:
        return
    seen = set(read_origin(Path(start)).seen())
    known = [
        statistics.pair.name
        for statistics in found.good
        if is_seen(
            seen, statistics.image_sha256, statistics.pair.page, statistics.pair.block_record
        )
    ]
    if known:
        raise ConfigError(
            f"{start} was trained on {len(known)} of these images, {known[0]} among them; accepted "
            "for folds is a start that was trained on none; leave out --from, or name another"
        )


def _score_fold(
    run: Path, dataset: Dataset, split: Split, sources: Sources, display: Display
) -> tuple[dict[str, Any], np.ndarray]:
    return score_pairs(
        Predictor(run),
        dataset,
        split.test,
        run / f"evaluation-{dataset.label}",
        part="test",
        how="the fold that this network did not see",
        sources=sources,
        display=display,
    )


def _pool(
    results: list[dict[str, Any]], ranking: np.ndarray, predictor: Predictor, data: str
) -> dict[str, Any]:
    """Metrics over the out-of-fold pairs of all folds together."""
    images = [image for result in results for image in result["images"]]
    return {
        **provenance(),
        "preset": predictor.spec.preset,
        "data": str(data),
        "part": "out-of-fold",
        "pairs": len(images),
        "folds": [
            {name: result["figures"][name]["summed"] for name in RESOLUTIONS} for result in results
        ],
        **summarise_metrics(images, predictor.spec.classes, ranking),
        "images": images,
    }
