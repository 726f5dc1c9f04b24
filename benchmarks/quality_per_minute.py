"""Quality per minute of training: recipes of unetkit and peers in PyTorch, a Markdown row each.

    python benchmarks/quality_per_minute.py ../pets --recipes pretrained fast notebook smp smp-lite0
        monai --minutes 5 --seeds 0 1 2 [--part test]

Rules, the same for every recipe:

- The data come with official lists. Training uses the trainval pairs alone; the validation pairs
  are cut from them, as `unetkit train` does, and the best weights are chosen on those. A model that
  has seen a test image is refused.
- Recipes and learning rates are chosen with `--part validation`, the default. Each use of the test
  pairs is written to docs/log.md before anything is scored, so that none can be left out.
- Each training is a process of its own, on the same cores. Its minutes are those of updates and
  validation passes, counted alike; a row also has the time of the whole process, which reads the
  data and exports the network.
- One function scores all: probabilities at the network's scale are resized linearly, to 128x128
  (the mask by nearest neighbour) and to the mask's own resolution. Metrics are those of
  `unetkit evaluate`.
- A row is appended to the file of `--rows` as soon as it is known; the commit in it is that of the
  start of the training, and says whether other tracked files differed.
- Nothing else should run on the machine meanwhile. A row has the load before its training. Where
  other work cannot be kept off, `--steps` gives the number of updates that fit into the minutes on
  the machine when it is quiet, as `step_times.py` measures it; the row says so.

Peers get the images, samples, augmentation, input size, batch size and precision that the preset
`pretrained` gets from the same `--size` and `--config`, and its loss: see `quality_peers.py`. Their
learning rate is chosen by `--rates 1e-3 3e-3 1e-2` with seed 0, then set by `--rate`. They need

    pip install torch==2.13.0 segmentation-models-pytorch monai
"""

import argparse
import datetime
import multiprocessing
import os
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

from subject import peak_mib, quiet_environment

from unetkit.metrics.bootstrap import flatten

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "benchmarks/quality_per_minute.md"
LOG = ROOT / "docs/log.md"
TITLE = "# Quality per minute of training\n\nWritten by `benchmarks/quality_per_minute.py`."
TEST_USES = "## Uses of the test pairs"
OWN = ("pretrained", "fast", "notebook", "paper")
PEERS = {
    "smp": ("torch", "segmentation_models_pytorch"),
    "smp-lite0": ("torch", "segmentation_models_pytorch", "timm"),
    "monai": ("torch", "monai"),
}
PACKAGES = ("unetkit", "keras", "tensorflow-cpu", "onnxruntime", "numpy")
PEER_PACKAGES = ("unetkit", "torch", "segmentation-models-pytorch", "timm", "monai", "numpy")
# By default threads of PyTorch wait in a loop; where other work shares the cores, two of them block
# each other, and a step took five times as long.
SPINS = "1000"
FLAGS = ("avx512_bf16", "amx_bf16")  # of processors with fast bfloat16


@dataclass(frozen=True)
class Job:
    """A training and its scores: one row.

    Args:
        data: Folder of pairs with official lists.
        recipe: Preset of unetkit, or a peer.
        minutes: Time for updates and validation passes.
        steps: Number of updates, in place of the time; None for the time.
        seed: Seed of the split, the weights and the samples.
        size: Side of the network's input; None for the default of the preset.
        config: Content of a TOML file for `unetkit train`; peers take its size, samples and batch.
        rate: Peak learning rate of a peer.
        cores: Number of threads.
        part: Pairs to score, "validation" or "test".
        folder: Folder for the trained network.
    """

    data: str
    recipe: str
    minutes: float
    steps: int | None
    seed: int
    size: int | None
    config: dict[str, Any]
    rate: float
    cores: int
    part: str
    folder: Path

    @property
    def is_peer(self) -> bool:
        return self.recipe in PEERS


@dataclass(frozen=True)
class Training:
    """What a training took.

    Args:
        minutes: Minutes of updates and validation passes.
        steps: Number of updates.
        images_per_second: Training images per second, validation passes included.
        peak_mib: Peak memory of the process.
    """

    minutes: float
    steps: int
    images_per_second: float
    peak_mib: int


def main() -> None:
    options = parse_options()
    os.environ.update(quiet_environment())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    rows, out = Path(options.rows), Path(options.out or tempfile.mkdtemp(prefix="unetkit-quality-"))
    config = tomllib.loads(Path(options.config).read_text("utf-8")) if options.config else {}
    require_preset(config, options.recipes)
    in_own_process(require_lists, options.data, config)
    if "smp-lite0" in options.recipes:
        in_own_process(compare_encoders)
    print(f"runs are in {out}, rows in {rows}", flush=True)
    for job in list_jobs(options, config, out):
        commit, machine = describe_commit(rows), describe_machine(job.cores)
        started = time.monotonic()
        training = in_own_process(train_peer if job.is_peer else train_own, job)
        whole = (time.monotonic() - started) / 60
        if job.part == "test":
            record_test_use(LOG, job, commit)
        scores = in_own_process(score, job)
        append_row(rows, make_row(job, training, scores, machine, whole, commit))


def list_jobs(options: argparse.Namespace, config: dict[str, Any], out: Path) -> Iterator[Job]:
    for recipe, seed, rate in product(options.recipes, options.seeds, options.rates):
        name = f"{recipe}-{options.minutes:g}-minutes-seed-{seed}"
        if recipe in PEERS:
            name += f"-rate-{rate:g}"
        yield Job(
            data=options.data,
            recipe=recipe,
            minutes=options.minutes,
            steps=options.steps,
            seed=seed,
            size=options.size,
            config=config,
            rate=rate,
            cores=options.cores,
            part=options.part,
            folder=out / name,
        )


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--recipes", nargs="+", choices=[*OWN, *PEERS], default=["pretrained"])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument(
        "--steps", type=int, help="Updates that the minutes have on a quiet machine."
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, help="Side of the input (default: from the preset).")
    parser.add_argument("--config", help="TOML file, as for `unetkit train`.")
    parser.add_argument("--part", choices=["validation", "test"], default="validation")
    parser.add_argument("--rate", type=float, default=3e-3, help="Learning rate of peers.")
    parser.add_argument(
        "--rates", type=float, nargs="+", help="Several of them, compared on seed 0."
    )
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="Cores to use.")
    parser.add_argument("--out", help="Folder for the networks (default: a temporary one).")
    parser.add_argument("--rows", default=str(ROWS), help="Markdown file to append rows to.")
    options = parser.parse_args()
    if options.rates and (options.part == "test" or not set(options.recipes) <= set(PEERS)):
        parser.error("--rates is for peers, and chosen on --part validation")
    packages = {package for name in options.recipes for package in PEERS.get(name, ())}
    missing = sorted(package for package in packages if find_spec(package) is None)
    if missing:
        parser.error(f"{', '.join(missing)} not installed; see the first lines of {__file__}")
    options.seeds = [0] if options.rates else options.seeds
    options.rates = options.rates or [options.rate]
    return options


def in_own_process(function: Callable[..., Any], *arguments: object) -> Any:
    """Calls a function in a new process, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def require_preset(config: dict[str, Any], recipes: Iterable[str]) -> None:
    """Raises ValueError if a configuration is of another preset, whose values would be ignored."""
    presets = {"pretrained" if recipe in PEERS else recipe for recipe in recipes}
    if "preset" in config and presets != {config["preset"]}:
        raise ValueError(f"--config is of {config['preset']!r}; the recipes are of {presets}")


def require_lists(data: str, config: dict[str, Any]) -> None:
    """Raises ValueError if the data have no official lists of trainval and test pairs."""
    from unetkit.training.choices import find_chosen_dataset, gather_choices

    dataset = find_chosen_dataset(gather_choices(config, data=data))
    named = set(dataset.splits.values())
    if "test" not in named or not named & {"trainval", "train"}:
        raise ValueError(f"{data} has no official lists; they name {sorted(named)}")


def train_own(job: Job) -> Training:
    import unetkit
    from unetkit._shared.manifest import read_manifest

    run = unetkit.train(
        job.data,
        out=job.folder,
        preset=job.recipe,
        minutes=None if job.steps else job.minutes,
        size=job.size,
        seed=job.seed,
        config=with_steps(job.config, job.steps),
    )
    found = read_manifest(run)
    minutes, steps = found["training_seconds"] / 60, found["steps_done"]
    return Training(minutes, steps, found["images_per_second"], peak_mib())


def with_steps(config: dict[str, Any], steps: int | None) -> dict[str, Any]:
    """A configuration with a number of updates, unless it is None."""
    if steps is None:
        return config
    return {**config, "training": {**config.get("training", {}), "steps": steps}}


def train_peer(job: Job) -> Training:
    prepare_for_torch()
    import quality_peers

    seconds, steps, images = quality_peers.train(job)
    return Training(seconds / 60, steps, images / seconds, peak_mib())


def prepare_for_torch() -> None:
    os.environ["KERAS_BACKEND"] = "torch"  # so that TensorFlow is not loaded beside PyTorch
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def compare_encoders() -> None:
    import quality_peers

    quality_peers.compare_encoders()


def score(job: Job) -> dict[str, str]:
    """Scores a trained network on the pairs of a part; returns cells of its row."""
    if job.is_peer:
        prepare_for_torch()
    import quality_scores

    return quality_scores.score(job)


def make_row(
    job: Job, training: Training, scores: dict[str, str], machine: str, whole: float, commit: str
) -> dict[str, str]:
    """Returns the cells of a row by the names of their columns."""
    settings = scores.pop("settings") + describe_rate(job) + describe_config(job.config)
    return {
        "date": f"{datetime.date.today()}",
        "machine": machine,
        "recipe": f"{job.recipe}, {settings}",
        "minutes asked, taken, whole process": f"{job.minutes:g}{' as steps' * bool(job.steps)}, "
        f"{training.minutes:.2f}, {whole:.2f}",
        "steps": f"{training.steps}",
        "seed": f"{job.seed}",
        "training images/s": f"{training.images_per_second:.1f}",
        "peak MiB": f"{training.peak_mib:,}",
        **scores,
        "versions": describe_versions(PEER_PACKAGES if job.is_peer else PACKAGES),
        "commit": commit,
    }


def append_row(file: Path, row: dict[str, str], title: str = TITLE) -> None:
    """Appends a row to a Markdown file, which gets a title and the head of the table first."""
    head = table_line(row) + table_line(["---"] * len(row))
    if not file.exists():
        file.write_text(f"{title}\n\n{head}", encoding="utf-8")
    is_other = head not in file.read_text(encoding="utf-8")  # since the columns were changed
    with open(file, "a", encoding="utf-8") as rows:
        rows.write((f"\n{head}" if is_other else "") + table_line(row.values()))
    print("\n".join(f"{name}: {cell}" for name, cell in row.items()) + "\n", flush=True)


def table_line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def record_test_use(log: Path, job: Job, commit: str) -> None:
    """Adds a line to the log's section on uses of the test pairs, as its last one."""
    before, heading, after = log.read_text(encoding="utf-8").partition(f"{TEST_USES}\n")
    if not heading:
        raise ValueError(f"{log} has no section {TEST_USES!r}")
    section, next_heading, rest = after.partition("\n## ")
    gap = "" if "\n- " in section else "\n"
    size = f", size {job.size}" if job.size else ""
    length = f"{job.minutes:g} minutes" + (f" as {job.steps} steps" if job.steps else "")
    line = (
        f"- {datetime.date.today()}: `{job.recipe}`, {length}, seed {job.seed}"
        f"{size}{describe_rate(job)}{describe_config(job.config)}, commit {commit}\n"
    )
    section = section.rstrip("\n") + "\n" + gap + line
    log.write_text(before + heading + section + next_heading + rest, encoding="utf-8")


def describe_rate(job: Job) -> str:
    return f", rate {job.rate:g}" if job.is_peer else ""


def describe_config(config: dict[str, Any]) -> str:
    """The keys of a configuration with their values, after a comma; nothing if it is empty."""
    return "".join(f", {'.'.join(path)}={value!r}" for path, value in flatten(config).items())


def describe_machine(cores: int) -> str:
    name, flags = "unknown processor", []
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() == "flags":
            flags = [flag for flag in FLAGS if flag in value.split()]
    load = f"load {os.getloadavg()[0]:.1f} before"
    return ", ".join([name, f"{cores} of {os.cpu_count()} cores", *flags, load])


def describe_versions(packages: Iterable[str]) -> str:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def describe_commit(rows: Path) -> str:
    """The commit, and whether tracked files differ from it; rows and log, written here, may."""

    def git(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)

    others = [f":!{file.resolve()}" for file in (rows, LOG) if file.resolve().is_relative_to(ROOT)]
    commit = git("describe", "--always").stdout.strip() or "unknown"
    is_dirty = git("diff", "--quiet", "HEAD", "--", ".", *others).returncode
    return f"{commit}-dirty" if is_dirty else commit


if __name__ == "__main__":
    main()
