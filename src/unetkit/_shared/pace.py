"""Speed, waiting time and remaining time of a training.

Updates, validation passes and the figures that some passes draw are timed separately, since the
remaining number of each is known. The first updates and the first validation pass also trace the
graph, so their times are not used for the estimate.
"""

import time
from collections.abc import Callable, Collection

WARM_UP_STEPS = 3  # first updates, which also trace the graph and fill caches
HALF_LIFE = 0.1  # fraction of the run after which a time has half its weight
LEAST_HALF_LIFE = 10  # updates; with fewer, a single slow one would change the estimate
VALIDATION_HALF_LIFE = 4  # validation passes
LEAST_STEPS = 2  # timed updates before an estimate
WAITING_LIMIT = 0.2  # fraction of the time spent waiting for data that causes a warning
WARNING_STEPS, WARNING_SECONDS = 20, 20.0  # timed before that warning


class _Mean:
    """Exponential moving average, which begins as the plain mean of all values.

        m_n = m_(n-1) + (x_n - m_(n-1)) max(1 / n, 1 - 2^(-1 / half_life))

    Args:
        half_life: Number of values after which the weight of a value is halved.
        value: Result before the first value.
        warm_up: Number of first values that later ones replace.
    """

    def __init__(self, half_life: float, value: float = 0.0, warm_up: int = 0) -> None:
        self.value, self._count, self._least = value, -warm_up, 1 - 2 ** (-1 / half_life)

    def add(self, value: float) -> None:
        self._count += 1
        if self._count <= 0:
            self.value = value
            return
        self.value += (value - self.value) * max(1 / self._count, self._least)


class Pace:
    """Timer of a training, called at the end of each update and each validation pass.

    Args:
        steps: Number of updates of the whole run; 0 while `budget_seconds` are to decide it.
        steps_per_validation: Number of updates between two validation passes; one more pass follows
            the last update.
        done: Number of updates of earlier sessions.
        clock: Function that returns a time in seconds.
        drawn_at: Numbers of updates after which a validation pass draws figures.
        budget_seconds: Time for the rest of the run in seconds, while `steps` is 0.
    """

    def __init__(
        self,
        steps: int,
        steps_per_validation: int,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
        drawn_at: Collection[int] = (),
        budget_seconds: float = 0.0,
    ) -> None:
        self.steps, self.done, self._drawn_at = steps, done, drawn_at
        self._steps_per_validation, self._validated_at = steps_per_validation, done
        self._clock, self._started, self._budget = clock, clock(), budget_seconds
        self._mark = self._started  # start of the current lap
        self._warm_up, self._timed, self._timed_seconds = WARM_UP_STEPS, 0, 0.0
        half_life = max(LEAST_HALF_LIFE, HALF_LIFE * (steps - done))
        self._seconds, self._waited, self._images = (_Mean(half_life) for _ in range(3))
        self._validations = _Mean(VALIDATION_HALF_LIFE, warm_up=1)
        self._drawings = _Mean(VALIDATION_HALF_LIFE, warm_up=1)

    def plan(self, steps: int, steps_per_validation: int, drawn_at: Collection[int]) -> None:
        """Sets the length of the run, once it is known."""
        self.steps, self._drawn_at = steps, drawn_at
        self._steps_per_validation = steps_per_validation

    def step(self, images: int, waited_seconds: float) -> None:
        """Times an update at its end.

        Args:
            images: Number of images of the update.
            waited_seconds: Time spent waiting for them, in seconds.
        """
        seconds = self._lap()
        self.done += 1
        if self._warm_up:
            self._warm_up -= 1
            return
        self._timed += 1
        self._timed_seconds += seconds
        self._seconds.add(seconds)
        self._waited.add(min(waited_seconds, seconds))
        self._images.add(images)

    def validation(self, seconds: float, drawing_seconds: float = 0.0) -> None:
        """Times a validation pass at its end, with all that followed the last update.

        Args:
            seconds: Time of the pass, in seconds.
            drawing_seconds: Part of it that was spent drawing figures, in seconds.
        """
        seconds = max(seconds, self._lap())
        self._validated_at = self.done
        self._validations.add(seconds - drawing_seconds)
        if self.done in self._drawn_at:
            self._drawings.add(drawing_seconds)

    def _lap(self) -> float:
        now = self._clock()
        seconds, self._mark = now - self._mark, now
        return seconds

    @property
    def step_seconds(self) -> float | None:
        """Mean time of an update so far; None if unknown yet."""
        return self._timed_seconds / self._timed if self._timed >= LEAST_STEPS else None

    @property
    def images_per_second(self) -> float | None:
        """Recent speed without validation passes; None if unknown yet."""
        return self._per_second(self._images)

    @property
    def waiting_share(self) -> float | None:
        """Fraction of the recent time of updates spent waiting for data; None if unknown yet."""
        return self._per_second(self._waited)

    def _per_second(self, mean: _Mean) -> float | None:
        if self._timed < LEAST_STEPS or not self._seconds.value:
            return None
        return mean.value / self._seconds.value

    @property
    def seconds_gone(self) -> float:
        """Time since the start of the session, in seconds."""
        return self._clock() - self._started

    @property
    def seconds_left(self) -> float | None:
        """Estimated time of the remaining updates and validation passes; None if unknown yet."""
        if not self.steps:
            return max(0.0, self._budget - self.seconds_gone)
        steps_left, validations_left = self.steps - self.done, self._validations_left()
        if steps_left and self._timed < LEAST_STEPS:
            return None
        drawings_left = sum(step > self._validated_at for step in self._drawn_at)
        return (
            steps_left * self._seconds.value
            + validations_left * self._validations.value
            + drawings_left * self._drawings.value
        )

    def _validations_left(self) -> int:
        """Number of remaining validation passes, with the one that is due now."""
        after = -(-self.steps // self._steps_per_validation)
        if self.done >= self.steps:
            return int(self._validated_at != self.done)
        is_due = self.done % self._steps_per_validation == 0 and self._validated_at != self.done
        return after - self.done // self._steps_per_validation + is_due

    @property
    def advice(self) -> str | None:
        """A warning if the training waits for data too long, else None."""
        fraction = self.waiting_share
        is_certain = self._timed >= WARNING_STEPS and self._timed_seconds >= WARNING_SECONDS
        if fraction is None or fraction <= WAITING_LIMIT or not is_certain:
            return None
        return (
            f"{fraction:.0%} of the training time is spent waiting for data: the network trains "
            "faster than samples are prepared; try a run folder on a local disk, a smaller size, "
            "or less [augmentation] in the configuration"
        )
