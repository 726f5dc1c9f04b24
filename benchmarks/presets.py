"""Trains presets for the same minutes on the same folder and prints a Markdown row for each.

    python benchmarks/presets.py ../pets --minutes 6.67 --presets fast notebook

The folder needs official lists or is cut by seed; scores are those of its test part. Presets are
trained one after another, so nothing else should run on the machine meanwhile.
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
    parser.add_argument("--out", help="folder to keep the runs in")
    options = parser.parse_args()
    out = Path(options.out or tempfile.mkdtemp(prefix="unetkit-presets-"))
    packages = ("unetkit", "keras", "tensorflow-cpu", "onnxruntime", "numpy")
    print(
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in packages)
    )
    print(f"data {Path(options.data).resolve().name}, runs in {out}\n")
    print(
        "| preset | minutes asked, taken | steps x batch | img/s | accuracy, mIoU at training "
        "resolution | at original resolution | foreground IoU (border as foreground, as "
        "background, ignored; original) | peak MiB |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for preset in options.presets:
        started = time.monotonic()
        run = train(options.data, preset=preset, minutes=options.minutes, out=out / preset)
        minutes = (time.monotonic() - started) / 60
        figures = evaluate(run, options.data)["figures"]
        print(row(preset, options.minutes, minutes, run, figures), flush=True)


def row(preset: str, asked: float, taken: float, run: Path, figures: dict) -> str:
    training = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))["training"]
    summary = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    scores = [
        f"{figures[r]['summed']['pixel_accuracy']:.4f}, {figures[r]['summed']['mean_iou']:.4f}"
        for r in ("training", "original")
    ]
    foreground = figures["original"]["summed"].get("foreground_iou", {})
    cells = [
        preset,
        f"{asked:g}, {taken:.1f}",
        f"{training['steps']} x {training['batch_size']}",
        f"{summary['images_per_second']:.0f}",
        *scores,
        ", ".join(f"{value:.4f}" for value in foreground.values()),
        str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024),
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
