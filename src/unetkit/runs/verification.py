"""`verify`: whether a run can be reproduced on this machine, and what prevents it.

    data          every file is hashed again and compared with the run's split.json
    environment   versions, processor, threads and device, then and now
    files         files of the run folder that are damaged or missing (`files`)

Each difference is reported with its effect: on the training, on the bytes only, or none. Nothing is
trained, and nothing is written.
"""

import platform
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import keras

from unetkit._shared import run_folder
from unetkit._shared.display import Display
from unetkit._shared.manifest import (
    PairRecord,
    SplitRecord,
    data_digest,
    read_manifest,
    read_split_record,
)
from unetkit._shared.provenance import provenance
from unetkit._shared.records import RecordError, convert
from unetkit.data.dataset import find_dataset
from unetkit.data.pairs import Dataset, Pair
from unetkit.data.reading import file_sha256, in_parallel, mask_sha256
from unetkit.data.sources import Sources
from unetkit.data.splits import read_split_names
from unetkit.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    UnetkitError,
    without_remedy,
)
from unetkit.runs.files import check_files, chosen_split_file
from unetkit.training import backend

# Effects of differences, the worst first.
EFFECTS = {
    "data": "The data have changed: neither the bytes nor the metrics of this run can be "
    "reproduced.",
    "code": "Another version of unetkit may compute differently (see CHANGELOG.md): the bytes "
    "cannot be reproduced, and the metrics only within the variation between seeds.",
    "bytes": "Another library, processor, device or number of threads may round differently: the "
    "bytes cannot be reproduced, and the metrics only within the variation between seeds.",
    "split": "Another version of scikit-learn may split the pairs differently: to use the split of "
    "this run: unetkit train {data} --split {split}",
    "export": "Another library for export or prediction is installed: the weights do not depend on "
    "it, but model.onnx may have other bytes.",
    "check": "Another library for checks of data is installed: the weights do not depend on it.",
    "files": "Files of the run are damaged or missing: restore them from a copy, or train again.",
}
NO_EFFECT = ""  # of differences that are reported only
# Effects of packages; that of all others is "bytes".
PACKAGE_EFFECTS = {
    "scikit-learn": "split",
    "scikit-image": "check",
    "onnx": "export",
    "onnxruntime": "export",
    "tf2onnx": "export",  # in manifests of earlier versions, which exported with it
}


def verify(
    run: str | Path, data: str | Path | None = None, *, display: Display | None = None
) -> dict[str, Any]:
    """Checks whether a run's data, environment and files are still the same.

    Args:
        run: Run folder.
        data: Path of the data, if they were moved.
        display: Shows progress.

    Returns:
        `same`, whether nothing has changed that matters; `data` with the pairs that are changed,
        missing, new or in another split; `environment`, a row for each version, the processor, the
        threads and the device, then and now; `files` of the run with the problem of each, or None;
        and `conclusions`, sentences on whether the run can be reproduced.

    Raises:
        DataNotFoundError: The run, its manifest or `data` does not exist.
        DataError: The manifest of the run is damaged.
    """
    display = display or Display()
    run = Path(run)
    manifest = read_manifest(run)
    result: dict[str, Any] = {
        "run": str(run),
        "state": manifest["state"],
        "data": _compare_data(run, data, display),
        "environment": _compare_environment(manifest),
        "files": check_files(run, manifest),
    }
    effects = {row["effect"] for row in result["environment"] if not row["same"]}
    if not result["data"]["same"]:
        effects.add("data")
    if any(row["problem"] for row in result["files"]):
        effects.add("files")
    effects.discard(NO_EFFECT)
    return {
        **result,
        "same": not effects,
        "conclusions": _conclude(run, manifest, result, effects),
    }


def _compare_data(run: Path, data: str | Path | None, display: Display) -> dict[str, Any]:
    """The pairs that are not what training saw, by name, and what else is wrong with the data."""
    found: dict[str, Any] = {
        "path": None if data is None else str(data),
        "pairs": 0,
        "sha256": None,
        "problem": None,
        "changed": [],
        "missing": [],
        "new": [],
        "moved": [],
    }
    choices = _choices(run)
    try:
        split = read_split_record(run)
    except UnetkitError as error:
        return found | {"same": False, "problem": str(error)}
    found |= {"path": found["path"] or split.data, "pairs": len(split.pairs)}
    try:
        dataset = find_dataset(found["path"], _sources(choices))
    except (DataError, DataNotFoundError) as error:
        text = without_remedy(error)
        if data is not None:
            raise type(error)(f"{text}; accepted are the data of the run") from error
        advice = "if the data were moved, name the place with --data"
        return found | {"same": False, "problem": f"{text}; {advice}"}
    return _compare_pairs(found, split, dataset, choices, display)


def _compare_pairs(
    found: dict[str, Any],
    split: SplitRecord,
    dataset: Dataset,
    choices: Mapping[str, Any],
    display: Display,
) -> dict[str, Any]:
    recorded = {pair.name: pair for pair in split.pairs}
    present = [pair for pair in dataset.pairs if pair.name in recorded]
    on_done = display.task("hashing the data", len(present))
    chosen_by = chosen_split_file(choices)
    given = _given_parts(dataset, chosen_by)
    pairs_now = []
    hashes = in_parallel(_hash_files, present, on_done)
    for pair, (image_now, mask_now) in zip(present, hashes, strict=True):
        then = recorded[pair.name]
        row = {"name": then.name, "part": then.part}
        if image_now != then.image_sha256:
            found["changed"].append({**row, "file": str(pair.image), "what": "image"})
        if mask_now != then.mask_sha256:
            found["changed"].append({**row, "file": str(pair.mask), "what": "mask"})
        part = _part_now(then, given, is_cut=chosen_by is None)
        if part != then.part:
            found["moved"].append({"name": then.name, "then": then.part, "now": part})
        pairs_now.append(_record_now(part, pair, image_now, mask_now))
    display.finish()
    gone = sorted(recorded.keys() - {pair.name for pair in present})
    found["missing"] = [
        {"name": name, "part": recorded[name].part, "why": _why_missing(name, dataset)}
        for name in gone
    ]
    if chosen_by is None:  # else the split file lists all pairs
        found["new"] = [
            {"name": pair.name, "file": str(pair.image)}
            for pair in dataset.pairs
            if pair.name not in recorded and pair.name not in split.skipped
        ]
    differs = any(found[key] for key in ("changed", "missing", "new", "moved"))
    return found | {"same": not differs, "sha256": data_digest(pairs_now)}


def _record_now(part: str, pair: Pair, image_sha256: str, mask_sha256: str) -> PairRecord:
    return PairRecord(part, pair.name, image_sha256, mask_sha256, pair.page, pair.block_record)


def _hash_files(pair: Pair) -> tuple[str, str]:
    """SHA-256 of image and mask, or the reason why a file cannot be read."""
    return _hash(lambda: file_sha256(pair.image)), _hash(lambda: mask_sha256(pair))


def _hash(compute: Callable[[], str]) -> str:
    try:
        return compute()
    except (DataError, OSError) as error:
        return f"cannot be read: {error}"


def _given_parts(dataset: Dataset, chosen_by: str | None) -> Mapping[str, str]:
    """Split of each pair by name, from a split file, or else from lists or folders."""
    if chosen_by is None:
        return dataset.splits
    try:
        names = read_split_names(chosen_by)
    except UnetkitError:  # reported with config.toml, which has its path
        return {}
    return {name: part for part, members in names.items() for name in members}


def _part_now(then: PairRecord, given: Mapping[str, str], *, is_cut: bool) -> str:
    """Split of a pair in a training now.

    Args:
        then: The pair in the run.
        given: Split of each pair by name, if lists, folders or a split file have it.
        is_cut: Whether validation and test pairs that are not given are taken from the training
            pairs.
    """
    part = given.get(then.name, then.part)
    if part in ("train", "trainval") and is_cut and then.part not in given.values():
        return then.part
    return "train" if part == "trainval" else part


def _why_missing(name: str, dataset: Dataset) -> str:
    """Problem with a file of a missing pair's name, or a general reason."""
    stem = PurePosixPath(name).name
    for problem in dataset.problems:
        if any(file.stem == stem for file in problem.files):
            return problem.text
    return f"{dataset.source} has no pair of this name"


def _choices(run: Path) -> dict[str, Any]:
    """The run's config.toml; empty if it is damaged, which is reported with the files."""
    try:
        return run_folder.load_config(run)
    except (OSError, ValueError):
        return {}


def _sources(choices: Mapping[str, Any]) -> Sources:
    try:
        return convert(choices.get("sources", {}), Sources)
    except RecordError:  # keys of another version
        return Sources()


def _compare_environment(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each library, machine part and setting: then, now, and its effect."""
    here = provenance()
    rows = [("unetkit", manifest.get("unetkit"), here["unetkit"], "code")]
    then, now = manifest.get("versions") or {}, here["versions"]
    for name in sorted({*then, *now}):
        effect = PACKAGE_EFFECTS.get(name, "bytes")
        rows.append((name, then.get(name), now.get(name), effect))
    rows.append(("python", manifest.get("python"), here["python"], "bytes"))
    system = str(manifest.get("platform") or "").partition("-")[0] or None
    rows.append(("system", system, platform.platform().partition("-")[0], "bytes"))
    rows.append(("platform", manifest.get("platform"), here["platform"], NO_EFFECT))
    machine = manifest.get("machine") or {}
    for name in ("processor", "cores", "memory_gib"):
        effect = NO_EFFECT if name == "memory_gib" else "bytes"
        rows.append((name, machine.get(name), here["machine"][name], effect))
    rows += _compare_backend(manifest)
    git = _describe_git(manifest.get("git")), _describe_git(here["git"])
    rows.append(("git", *git, NO_EFFECT))
    return [
        {"what": what, "then": then, "now": now, "same": then == now, "effect": effect}
        for what, then, now, effect in rows
    ]


def _compare_backend(manifest: Mapping[str, Any]) -> list[tuple[str, Any, Any, str]]:
    device = _device_name(manifest)
    try:
        now = backend.choose_device(device)
    except ConfigError:  # it does not exist here
        now = backend.choose_device(None)
    now = backend.describe_device(now).partition(", ")[0]
    threads = manifest.get("threads") or {}
    inter_op = backend.inter_op_threads()
    # Training sets it to one, which need not have happened in this process.
    if manifest.get("deterministic") and keras.backend.backend() == "tensorflow":
        inter_op = 1
    return [
        ("backend", manifest.get("backend"), keras.backend.backend(), "bytes"),
        ("device", _device_words(manifest), now, "bytes"),
        ("inter-op threads", threads.get("inter_op"), inter_op, "bytes"),
        ("intra-op threads", threads.get("intra_op"), backend.intra_op_threads(), "bytes"),
    ]


def _device_words(manifest: Mapping[str, Any]) -> str | None:
    """The part before the comma of "cpu:0 (2 cores), Keras 3.15.1 on tensorflow"."""
    return str(manifest.get("device") or "").partition(", ")[0] or None


def _device_name(manifest: Mapping[str, Any]) -> str | None:
    """The first word of "cpu:0 (2 cores), Keras 3.15.1 on tensorflow"."""
    return (_device_words(manifest) or "").partition(" ")[0] or None


def _describe_git(git: Mapping[str, Any] | None) -> str | None:
    if not git:
        return None
    changed = ", with changes" if git.get("dirty") else ""
    return f"{(git.get('revision') or 'no commit')[:12]}{changed}"


def _conclude(
    run: Path, manifest: Mapping[str, Any], result: Mapping[str, Any], effects: set[str]
) -> list[str]:
    """Sentences on whether the run can be reproduced, the most important first."""
    sentences = [
        text.format(
            data=shlex.quote(str(result["data"]["path"])),
            split=shlex.quote(str(run / run_folder.SPLIT)),
        )
        for effect, text in EFFECTS.items()
        if effect in effects
    ]
    if manifest["state"] != "finished":
        command = shlex.join(["unetkit", "train", "--resume", str(run)])
        sentences.append(f"The run is not finished ({manifest['state']}). To continue: {command}")
    if not manifest.get("deterministic"):
        sentences.append(
            "The run was trained without training.deterministic: even on the same machine the "
            "bytes cannot be reproduced, and the metrics only within the variation between seeds."
        )
    elif not effects & {"data", "code", "bytes"}:
        data, config = str(result["data"]["path"]), str(run / run_folder.CONFIG)
        device = _device_name(manifest)
        command = shlex.join(["unetkit", "train", data, "--config", config])
        if device is not None and device != backend.choose_device(None):
            command = shlex.join(["unetkit", "train", data, "--config", config, "--device", device])
        sentences.append(f"The same weights, byte for byte, can be expected from: {command}")
    return sentences
