"""Demonstration on synthetic data: train, evaluate and predict, with the public functions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetkit._shared.display import Display
from unetkit.datasets.synthetic_pets import write_synthetic_pets
from unetkit.errors import OutputExistsError
from unetkit.evaluation.evaluate import evaluate
from unetkit.prediction.predictor import Predictor
from unetkit.results.files import predict_files
from unetkit.training.train import train

PAIRS = 500
STEPS = 170  # two to four minutes on two cores, by the processor
PREDICTED = 6


@dataclass(frozen=True)
class Demonstration:
    """Results of `demo`.

    Args:
        run: Run folder.
        figures: Metrics on the test split, as `evaluate` returns them.
        predictions: Folder with masks, overlays and cut-outs.
    """

    run: Path
    figures: dict[str, Any]
    predictions: Path


def demo(
    out: str | Path = "unetkit-demo", *, steps: int = STEPS, display: Display | None = None
) -> Demonstration:
    """Creates synthetic pets, trains the default network on them, evaluates and predicts.

    Args:
        out: Folder to create, with data/, run/ and predictions/.
        steps: Number of weight updates.
        display: Shows progress.

    Returns:
        The run folder, the metrics and the folder of predictions.

    Raises:
        OutputExistsError: `out` exists and is not empty.
    """
    display = display or Display()
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputExistsError(
            f"folder {out} exists and is not empty; accepted is a new or an empty folder; name "
            "another with --out, or remove it"
        )
    display.say(f"creating {PAIRS} synthetic pets in {out / 'data'}")
    data = write_synthetic_pets(out / "data", count=PAIRS)
    run = train(data, out=out / "run", config={"training": {"steps": steps}}, display=display)
    result = evaluate(run, data, display=display)
    names = [image["name"] for image in result["images"][:PREDICTED]]
    predictions = out / "predictions"
    predict_files(
        Predictor(run),
        [data / "images" / f"{name}.jpg" for name in names],
        predictions,
        kinds=("mask", "overlay", "cutout"),
    )
    display.say(f"masks, overlays and cut-outs of {len(names)} of them in {predictions}")
    return Demonstration(run, result, predictions)
