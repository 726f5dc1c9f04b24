"""Metrics of presets that are trained for the same time on the same data, a Markdown row each.

    python benchmarks/presets.py ../pets --minutes 6.67 --presets fast notebook

The data are split by their official lists, or randomly with a fixed seed; metrics are of the test
split. Presets are trained one after another; nothing else should run on the machine meanwhile.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import tempfile
import time
import tomllib
from importlib.metadata import version
from pathlib import Path

from unetkit import evaluate, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, default=6.67)
    parser.add_argument("--presets", nargs="+", default=["fast", "notebook"])
    parser.add_argument("--out", help="Folder for the runs (default: a temporary one).")
    options = parser.parse_args()
    out = Path(options.out or tempfile.mkdtemp(prefix="unetkit-presets-"))
    packages = ("unetkit", "keras", "tensorflow-cpu", "onnxruntime", "numpy")
    print(
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in packages)
    )
    print(f"data {Path(options.data).resolve().name}, runs in {out}\n")
    print(
        "| preset | minutes requested, taken | steps x batch | img/s | accuracy, mIoU at training "
        "resolution | at original resolution | foreground IoU (border as foreground, as "
        "background, ignored; original) | peak MiB |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for preset in options.presets:
        started = time.monotonic()
        run = train(options.data, preset=preset, minutes=options.minutes, out=out / preset)
        minutes = (time.monotonic() - started) / 60
        metrics = evaluate(run, options.data)["figures"]
        print(format_row(preset, options.minutes, minutes, run, metrics), flush=True)


def format_row(preset: str, requested: float, taken: float, run: Path, metrics: dict) -> str:
    training = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))["training"]
    summary = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    scores = [
        f"{metrics[r]['summed']['pixel_accuracy']:.4f}, {metrics[r]['summed']['mean_iou']:.4f}"
        for r in ("training", "original")
    ]
    foreground = metrics["original"]["summed"].get("foreground_iou", {})
    cells = [
        preset,
        f"{requested:g}, {taken:.1f}",
        f"{training['steps']} x {training['batch_size']}",
        f"{summary['images_per_second']:.0f}",
        *scores,
        ", ".join(f"{value:.4f}" for value in foreground.values()),
        str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024),
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
