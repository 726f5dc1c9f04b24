"""How far a run has come: what a checkpoint holds beside arrays."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Best:
    """The look whose weights are kept.

    Args:
        step: Updates before it.
        mean_iou: On the validation part.
        averaged: Whether it is the averaged weights that are kept.
    """

    step: int = 0
    mean_iou: float = -1.0
    averaged: bool = False


@dataclass
class Progress:
    """What a run has done and found so far.

    Args:
        step: Updates of the weights.
        losses: Of the updates since the last look.
        first_loss: Of the first update, before it had an effect.
        rows: Of curves.csv, one a look.
        best: The best look.
        looks_without_gain: Since the best one.
        seconds: Of training, over all sessions.
        waited_seconds: Of these, for data.
        warnings: Alarms that were raised, by code.
        is_over: Whether there is nothing left to do but to finish.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    first_loss: float = math.nan
    rows: list[dict[str, float]] = field(default_factory=list)
    best: Best = field(default_factory=Best)
    looks_without_gain: int = 0
    seconds: float = 0.0
    waited_seconds: float = 0.0
    warnings: dict[str, str] = field(default_factory=dict)
    is_over: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Progress":
        """What `to_json` gave.

        Raises:
            TypeError, KeyError: It is something else.
        """
        return cls(**{**values, "best": Best(**values["best"])})
