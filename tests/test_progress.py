"""What a checkpoint keeps beside arrays comes back as it was."""

import json

from unetkit.progress import Best, Progress


def test_it_survives_json_to_the_last_bit():
    progress = Progress(
        step=7,
        losses=[0.1, 1 / 3],
        first_loss=2 / 3,
        rows=[{"step": 4, "loss": 0.1 + 0.2}],
        best=Best(4, 1 / 7, averaged=True),
        looks_without_gain=2,
        seconds=1.5,
        waited_seconds=0.25,
        warnings={"constant": "text"},
        is_over=True,
    )
    assert Progress.from_json(json.loads(json.dumps(progress.to_json()))) == progress


def test_a_run_begins_with_nothing():
    assert Progress().step == 0
    assert Progress().best.mean_iou < 0  # any score is better
    assert Progress().rows is not Progress().rows
