"""K networks, each tested on the part that it did not see; figures over all parts together."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unetkit._shared import run_folder
from unetkit._shared.display import Display
from unetkit._shared.files import write_text
from unetkit._shared.provenance import provenance
from unetkit.checks.examine import DatasetReport, examine
from unetkit.data.dataset import Dataset, Sources, find_dataset
from unetkit.data.splits import Split, make_folds, split_to_json, without
from unetkit.errors import ConfigError, DataError, OutputExistsError
from unetkit.evaluation.evaluate import score_pairs
from unetkit.metrics.summary import RESOLUTIONS, plain, summarise_metrics
from unetkit.models.spec import image_digest
from unetkit.prediction.predictor import Predictor
from unetkit.training.choices import check_length, check_sound, overrides_from
from unetkit.training.config import choose_sources, choose_split, decided_classes
from unetkit.training.fine_tuning import read_origin
from unetkit.training.train import resume, train

FOLDS_NAME = "folds.json"


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
    config: str | Path | Mapping[str, Any] | None = None,
    device: str | None = None,
    tensorboard: bool = False,
    display: Display | None = None,
) -> dict[str, Any]:
    """Trains and tests `folds` networks one by one.

    Where the data name a test part, it takes no part in this.

    Args:
        data: Folder or table of pairs; may be left out where `config` names it.
        folds: Number of parts, 2 to 100; each is the test part once.
        out: Folder to make: plan.json; split-1.json, fold-1/ and so on; and folds.json.
        preset: As for `train`, like size, seed, config, device, tensorboard and display.
        epochs: For each network, as for `train`.
        minutes: For each network, as for `train`.

    Returns:
        What folds.json holds: figures pooled over all out-of-fold pairs, and of each fold.

    Raises:
        ConfigError: A split file is named.
        OutputExistsError: `out` is in use.
        UnetkitError: As `train` and `evaluate`.
    """
    check_length(epochs, minutes)
    overrides = overrides_from(config, data, preset, size, seed)
    rule = choose_split(overrides)
    if rule.file is not None:
        raise ConfigError(
            f"the split file {rule.file} is named with folds, which are cut anew; accepted is one "
            "of them; leave out --split, or --folds"
        )
    overrides["data"] = str(Path(overrides["data"]).resolve())  # to be resumed from anywhere
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputExistsError(
            f"folder {out} exists and is not empty; accepted is a new or an empty folder; name "
            "another with --out"
        )
    plan = {"folds": folds, "epochs": epochs, "minutes": minutes, "config": overrides}
    return _train_folds(out, plan, device, tensorboard, display or Display())


def resume_folds(
    out: str | Path,
    *,
    device: str | None = None,
    tensorboard: bool = False,
    display: Display | None = None,
) -> dict[str, Any]:
    """Goes on with folds that were interrupted: trains what is left, tests and pools all.

    Args:
        out: Their folder.
        device: As for `train`, like tensorboard and display.

    Returns:
        As `cross_validate`.

    Raises:
        DataError: The plan in the folder is damaged, or the data are not those of the beginning.
        UnetkitError: As `resume`.
    """
    out = Path(out)
    try:
        plan = json.loads((out / run_folder.PLAN).read_text(encoding="utf-8"))
        plan = {name: plan[name] for name in ("folds", "epochs", "minutes", "config")}
        if not isinstance(plan["folds"], int) or not isinstance(plan["config"]["data"], str):
            raise TypeError("its folds are no number, or its data no path")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{out / run_folder.PLAN} is missing or damaged ({error}); accepted is the folder of "
            "folds that have begun to train; resume its fold-N one by one, or train anew"
        ) from error
    return _train_folds(out, plan, device, tensorboard, display or Display())


def _train_folds(
    out: Path, plan: Mapping[str, Any], device: str | None, tensorboard: bool, display: Display
) -> dict[str, Any]:
    """Trains what is not trained, from the beginning or from where it was interrupted."""
    overrides, folds = plan["config"], plan["folds"]
    sources, rule = choose_sources(overrides), choose_split(overrides)
    dataset = find_dataset(overrides["data"], sources)
    found = examine(dataset, sources, rule, decided_classes(overrides), display)
    check_sound(found, skip_bad=sources.skip_bad)
    usable = without(dataset, found.skippable())
    _require_fresh_start(overrides, found)
    splits = make_folds(usable, rule, folds, found.strata())
    out.mkdir(parents=True, exist_ok=True)
    files = [out.resolve() / f"split-{number}.json" for number in range(1, folds + 1)]
    texts = [split_to_json(s, dataset, found.digests(), found.left_out()) for s in splits]
    for file, text in zip(files, texts, strict=True):
        if file.exists() and file.read_text(encoding="utf-8") != text:
            raise DataError(
                f"{dataset.source} no longer holds what {out} began to train on: {file.name} would "
                "be another; accepted are the same files; restore them, or train anew"
            )
        write_text(file, text)
    write_text(out / run_folder.PLAN, json.dumps(plain(plan), default=str))
    session: dict[str, Any] = {"device": device, "tensorboard": tensorboard, "display": display}
    results = []
    for number, (split, file) in enumerate(zip(splits, files, strict=True), start=1):
        display.say(f"fold {number} of {folds}")
        run = out / f"fold-{number}"
        if (run / run_folder.CONFIG).is_file():
            resume(run, **session)
        else:
            rest = {k: v for k, v in overrides.get("split", {}).items() if k != "test_fraction"}
            chosen = {**overrides, "split": {**rest, "file": str(file)}}
            length = {name: plan[name] for name in ("epochs", "minutes")}
            train(out=run, config=chosen, **length, **session)
        results.append(_score_fold(run, usable, split, sources, display))
    pooled = _pool(results, Predictor(out / "fold-1"), overrides["data"])
    write_text(out / FOLDS_NAME, json.dumps(plain(pooled)))
    display.say(f"figures over all folds in {out / FOLDS_NAME}")
    return pooled


def _require_fresh_start(overrides: Mapping[str, Any], found: DatasetReport) -> None:
    """Refuses to begin with weights that have seen these pictures: no fold would be unseen.

    Raises:
        ConfigError: They have.
    """
    start = overrides.get("training", {}).get("start")
    if start is None:
        return
    seen = set(read_origin(Path(start)).seen())
    known = [
        look.pair.name
        for look in found.good
        if image_digest(look.image_sha256, look.pair.page) in seen
    ]
    if known:
        raise ConfigError(
            f"{start} was trained on {len(known)} of these pictures, {known[0]} first; accepted "
            "for folds is a start that has seen none; leave out --from, or name another"
        )


def _score_fold(
    run: Path, dataset: Dataset, split: Split, sources: Sources, display: Display
) -> dict[str, Any]:
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


def _pool(results: list[dict[str, Any]], predictor: Predictor, data: str) -> dict[str, Any]:
    """The out-of-fold pairs of all folds as one set, and what follows from it."""
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
        **summarise_metrics(images, predictor.spec.classes),
        "images": images,
    }
