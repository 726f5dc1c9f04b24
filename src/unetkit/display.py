"""What a person sees while something long goes on.

The library speaks through a `Display`; the one here says nothing. The command line brings one that
draws bars on a terminal and prints plain lines into a pipe.
"""

import logging
from collections.abc import Callable, Mapping

logger = logging.getLogger("unetkit")


class Display:
    """Says nothing but to the log; the base of those that speak."""

    def say(self, text: str) -> None:
        """One finding or choice, a line of text."""
        logger.info(text)

    def task(self, name: str, total: int) -> Callable[[], None]:
        """Begins something of `total` equal parts; call what is returned after each."""
        logger.info("%s: %d", name, total)
        return lambda: None

    def training_step(self, step: int, total: int, images: int, loss: float) -> None:
        """Another update of the weights: step from 1 to total, images seen in it, its loss."""

    def validated(self, step: int, total: int, figures: Mapping[str, float]) -> None:
        """A look at the validation part is over: a row of curves.csv, and best_mean_iou."""
        logger.info("step %d of %d: %s", step, total, dict(figures))

    def finish(self) -> None:
        """Whatever is drawn is complete."""
