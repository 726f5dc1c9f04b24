"""The main job, once, on data that the package makes itself: train, evaluate, predict.

Everything goes through the functions that users call on their own folders.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetkit._shared.display import Display
from unetkit.datasets.synthetic_pets import write_synthetic_pets
from unetkit.errors import OutputExistsError
from unetkit.evaluation.evaluate import evaluate
from unetkit.prediction.files import predict_files
from unetkit.prediction.predictor import Predictor
from unetkit.training.train import train

PAIRS = 500
STEPS = 720  # two to eight minutes on two cores, by the processor
PREDICTED = 6


@dataclass(frozen=True)
class Demonstration:
    """What `demo` made.

    Args:
        run: The run folder.
        figures: What `evaluate` returned for the held-out part.
        predictions: Folder of masks, overlays and cut-outs.
    """

    run: Path
    figures: dict[str, Any]
    predictions: Path


def demo(
    out: str | Path = "unetkit-demo", *, steps: int = STEPS, display: Display | None = None
) -> Demonstration:
    """Makes the synthetic pets, trains the default network on them, evaluates, predicts.

    Args:
        out: Folder to make; it will hold data/, run/ and predictions/.
        steps: Updates of the weights.
        display: Shows progress.

    Returns:
        The run folder, the figures and the folder of predictions.

    Raises:
        OutputExistsError: `out` is in use.
    """
    display = display or Display()
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputExistsError(
            f"folder {out} exists and is not empty; accepted is a new or an empty folder; name "
            "another with --out, or remove it"
        )
    display.say(f"making {PAIRS} synthetic pets in {out / 'data'}")
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
