"""How fast a training goes, how much of it is waiting, and how long it still takes.

Updates, looks at the validation part and the pictures that some looks draw are timed apart, since
of each it is known how many are still to come. The first updates also trace the graph, and so does
the first look, so neither is a sign of the rest.
"""

import time
from collections.abc import Callable, Collection

WARM_UP_STEPS = 3
HALF_LIFE = 0.1  # of the run: what lies so far back counts half
LEAST_HALF_LIFE = 10  # updates; fewer would let one slow one shake the estimate
LOOKS_HALF_LIFE = 4
LEAST_STEPS = 2  # timed, before anything is said
BRAKE = 0.2  # share of the time spent waiting, above which data are what holds a training up
BRAKE_STEPS, BRAKE_SECONDS = 20, 20.0  # timed, before that is said


class _Mean:
    """Mean that forgets: of all values while these are few, later of the recent ones.

    m_n = m_(n-1) + (x_n - m_(n-1)) max(1 / n, 1 - 2^(-1 / half_life))

    Args:
        half_life: Values after which one counts half.
        value: Until there is one.
        warm_up: Values that stand only until the next comes.
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
    """Times a training; told of each update and each look as it ends.

    Args:
        steps: Updates of the whole run.
        steps_per_validation: Updates between two looks; one more look follows the last update.
        done: Updates of earlier sessions.
        clock: Seconds, from whenever.
        look_seconds: What a look is expected to take until one was timed.
        drawn_at: Updates after which a look draws pictures.
    """

    def __init__(
        self,
        steps: int,
        steps_per_validation: int,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
        look_seconds: float = 0.0,
        drawn_at: Collection[int] = (),
    ) -> None:
        self.steps, self.done, self._drawn_at = steps, done, drawn_at
        self._steps_per_validation, self._looked_at = steps_per_validation, done
        self._clock, self._started = clock, clock()
        self._mark = self._started  # where what is timed next begins
        self._warm_up, self._timed, self._timed_seconds = WARM_UP_STEPS, 0, 0.0
        half_life = max(LEAST_HALF_LIFE, HALF_LIFE * (steps - done))
        self._seconds, self._waited, self._images = (_Mean(half_life) for _ in range(3))
        self._looks = _Mean(LOOKS_HALF_LIFE, look_seconds, warm_up=1)
        self._drawings = _Mean(LOOKS_HALF_LIFE, warm_up=1)

    def step(self, images: int, waited_seconds: float) -> None:
        """Another update is done, of so many images; it waited so long for them."""
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

    def look(self, seconds: float, drawing_seconds: float = 0.0) -> None:
        """A look is done, which took so long; what else was done since the update counts to it.

        Args:
            seconds: In all.
            drawing_seconds: Of these, for pictures.
        """
        seconds = max(seconds, self._lap())
        self._looked_at = self.done
        self._looks.add(seconds - drawing_seconds)
        if self.done in self._drawn_at:
            self._drawings.add(drawing_seconds)

    def _lap(self) -> float:
        now = self._clock()
        seconds, self._mark = now - self._mark, now
        return seconds

    @property
    def images_per_second(self) -> float | None:
        """Of late, without looks; None while nothing can be said."""
        if self._timed < LEAST_STEPS or not self._seconds.value:
            return None
        return self._images.value / self._seconds.value

    @property
    def waiting_share(self) -> float | None:
        """Share of late of the updates' time that was waiting for data, in [0, 1], or None."""
        if self._timed < LEAST_STEPS or not self._seconds.value:
            return None
        return self._waited.value / self._seconds.value

    @property
    def seconds_gone(self) -> float:
        """Of this session."""
        return self._clock() - self._started

    @property
    def seconds_left(self) -> float | None:
        """For updates and looks to come; None while nothing can be said."""
        steps_left, looks_left = self.steps - self.done, self._looks_left()
        if steps_left and self._timed < LEAST_STEPS:
            return None
        drawings_left = sum(step > self._looked_at for step in self._drawn_at)
        return (
            steps_left * self._seconds.value
            + looks_left * self._looks.value
            + drawings_left * self._drawings.value
        )

    def _looks_left(self) -> int:
        """Looks after the steps that are done, and the one that is due now."""
        after = -(-self.steps // self._steps_per_validation)
        if self.done >= self.steps:
            return int(self._looked_at != self.done)
        is_due = self.done % self._steps_per_validation == 0 and self._looked_at != self.done
        return after - self.done // self._steps_per_validation + is_due

    @property
    def advice(self) -> str | None:
        """What to say where data are what holds the training up; None where they are not."""
        share = self.waiting_share
        is_certain = self._timed >= BRAKE_STEPS and self._timed_seconds >= BRAKE_SECONDS
        if share is None or share <= BRAKE or not is_certain:
            return None
        return (
            f"{share:.0%} of the training time is spent waiting for data: samples are made more "
            "slowly than the network learns from them; try --out on a local disk, a smaller "
            "--size, or fewer changes under [augmentation] in config.toml"
        )
