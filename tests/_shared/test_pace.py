"""Speed and time left, on clocks that are simulated."""

import numpy as np
import pytest

from unetkit._shared.pace import Pace


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def simulate(
    *,
    steps=720,
    every=25,
    done=0,
    step_seconds=lambda step: 0.2,
    validation_seconds=lambda number: 1.0,
    waited=0.0,
    images=16,
    drawn_at=(),
    drawing_seconds=lambda number: 3.0,
):
    """A training of which time is known: (steps done, seconds gone, seconds left) after each step.

    Returns:
        The rows as an array, seconds in all, and the pace.
    """
    clock = Clock()
    pace = Pace(steps, every, done=done, clock=clock, drawn_at=drawn_at)
    rows, passes = [], 0
    for step in range(done + 1, steps + 1):
        clock.now += step_seconds(step)
        pace.step(images, waited)
        left = pace.seconds_left
        rows.append((step, pace.seconds_gone, np.nan if left is None else left))
        if step % every == 0 or step == steps:
            seconds = validation_seconds(passes)
            drawing = drawing_seconds(passes) if step in drawn_at else 0.0
            clock.now += seconds + drawing
            pace.validation(seconds + drawing, drawing)
            passes += 1
    assert pace.seconds_left == 0
    return np.array(rows), pace.seconds_gone, pace


def errors_after(share, rows, total):
    """Relative errors of the time left, from a share of the steps on."""
    _, gone, left = rows[round(share * len(rows)) :].T
    return np.abs(left - (total - gone)) / (total - gone)


class TestTimeLeft:
    def test_hand_computed(self):
        clock = Clock()
        pace = Pace(10, 4, clock=clock)  # validation after steps 4, 8 and 10
        for _ in range(5):
            clock.now += 2
            pace.step(16, 0.5)
            if pace.done == 4:
                assert pace.seconds_left is None  # one timed update is too few
                clock.now += 3
                pace.validation(3)
        assert pace.seconds_left == 5 * 2 + 2 * 3
        assert pace.seconds_gone == 5 * 2 + 3

    def test_a_validation_that_is_due_counts_as_remaining(self):
        clock = Clock()
        pace = Pace(24, 8, clock=clock)  # validation after steps 8, 16 and 24
        for step in range(16):
            clock.now += 1
            pace.step(1, 0)
            if step == 7:
                clock.now += 5
                pace.validation(5)
        assert pace.seconds_left == 8 * 1 + 2 * 5
        clock.now += 7
        pace.validation(7)
        assert pace.seconds_left == 8 * 1 + 1 * 7

    def test_constant_speed_is_exact_after_the_first_validation(self):
        rows, total, _ = simulate()
        assert errors_after(0.1, rows, total).max() < 1e-9

    def test_a_slow_start_does_not_count(self):
        rows, total, _ = simulate(
            step_seconds=lambda step: 40.0 if step == 1 else 0.2,
            validation_seconds=lambda number: 4.0 if number == 0 else 1.0,
        )
        assert errors_after(0.1, rows, total).max() < 1e-9

    @pytest.mark.parametrize("cost", [0.2, 2.0, 20.0])
    def test_validations_count_whatever_time_they_take(self, cost):
        rows, total, _ = simulate(every=36, validation_seconds=lambda _: cost)  # 20 passes
        assert errors_after(0.1, rows, total).max() < 1e-9

    def test_validations_that_draw_count_by_their_number(self):
        rows, total, _ = simulate(every=20, drawn_at={20, 40, 200, 380, 560, 720})
        assert errors_after(0.1, rows, total).max() < 1e-9

    def test_a_slow_first_figure_counts_until_the_next(self):
        rows, total, _ = simulate(
            every=20,
            drawn_at={20, 80, 400, 720},
            drawing_seconds=lambda number: 9.0 - 6 * (number > 0),
        )
        assert errors_after(0.13, rows, total).max() < 1e-9

    def test_a_step_that_varies_is_averaged(self):
        found = []
        for seed in range(10):
            durations = 0.2 * np.random.default_rng(seed).lognormal(0, 0.4, 721)
            rows, total, _ = simulate(step_seconds=durations.__getitem__)
            found.append(errors_after(0.1, rows, total)[:-72])  # of the last, luck decides
        assert np.quantile(found, 0.95) < 0.1
        assert np.quantile(found, 0.5) < 0.05

    def test_speed_that_halves_midway_is_learnt_soon(self):
        rows, total, _ = simulate(
            step_seconds=lambda step: 0.2 if step <= 360 else 0.4,
            validation_seconds=lambda number: 1.0 if number < 14 else 2.0,
        )
        assert errors_after(0.75, rows, total).max() < 0.1

    def test_one_slow_step_moves_it_little(self):
        rows, _, _ = simulate(step_seconds=lambda step: 2.0 if step == 300 else 0.2)
        before, after = rows[298, 2], rows[299, 2]
        assert after / before < 1.2
        assert np.abs(np.diff(rows[310:, 2])).max() < 0.02 * before

    def test_a_short_run_is_not_shaken_by_single_steps(self):
        rng = np.random.default_rng(1)
        rows, total, _ = simulate(
            steps=60, every=20, step_seconds=lambda step: rng.choice([0.5, 1.5])
        )
        assert np.median(errors_after(0.3, rows, total)) < 0.15

    def test_a_resumed_run_counts_what_is_left_of_it(self):
        rows, total, _ = simulate(done=500, step_seconds=lambda step: 30.0 if step <= 503 else 0.2)
        assert rows[0, 0] == 501
        assert total == pytest.approx(3 * 30 + 217 * 0.2 + 9 * 1.0)  # validation at 525, ..., 720
        assert errors_after(0.15, rows, total).max() < 1e-9

    def test_a_run_resumed_at_a_validation_does_not_repeat_it(self):
        clock = Clock()
        pace = Pace(80, 20, done=40, clock=clock)
        assert pace._validations_left() == 2  # after 60 and 80
        for _ in range(20):
            clock.now += 1
            pace.step(1, 0)
        clock.now += 9
        pace.validation(9)
        assert pace.seconds_left == 20 * 1 + 1 * 9

    def test_while_the_length_is_open_the_rest_of_the_time_is_left(self):
        clock = Clock()
        pace = Pace(0, 0, clock=clock, budget_seconds=60.0)
        assert pace.step_seconds is None
        for _ in range(8):  # three to warm up, five timed
            clock.now += 2
            pace.step(1, 0)
        assert pace.seconds_left == 60 - 8 * 2
        assert pace.step_seconds == 2
        pace.plan(18, 5, {18})
        assert pace.seconds_left == 10 * 2

    def test_time_around_a_validation_counts_to_it(self):
        clock = Clock()
        pace = Pace(20, 10, clock=clock)
        for _ in range(10):
            clock.now += 1
            pace.step(1, 0)
        clock.now += 5  # three seconds of validation, two of saving
        pace.validation(3)
        assert pace.seconds_left == 10 * 1 + 1 * 5

    def test_nothing_is_estimated_before_something_was_timed(self):
        clock = Clock()
        pace = Pace(720, 25, clock=clock)
        for _ in range(4):
            assert pace.seconds_left is None
            assert pace.images_per_second is None
            assert pace.waiting_share is None
            clock.now += 1
            pace.step(16, 0)
        clock.now += 1
        pace.step(16, 0)
        assert pace.images_per_second == 16
        assert pace.waiting_share == 0

    def test_a_clock_that_stands_still_is_survived(self):
        pace = Pace(20, 10, clock=lambda: 0.0)
        for _ in range(20):
            pace.step(16, 0.0)
        pace.validation(0.0)
        assert pace.images_per_second is None
        assert pace.seconds_left == 0


class TestSpeed:
    def test_validations_and_warm_up_are_left_out(self):
        _, _, pace = simulate(step_seconds=lambda step: 40.0 if step <= 3 else 0.2)
        assert pace.images_per_second == pytest.approx(80)

    def test_it_follows_what_the_machine_does_now(self):
        _, _, pace = simulate(step_seconds=lambda step: 0.2 if step <= 360 else 0.4)
        assert pace.images_per_second == pytest.approx(40, rel=0.03)

    def test_the_fraction_of_waiting(self):
        _, _, pace = simulate(waited=0.05)
        assert pace.waiting_share == pytest.approx(0.25)

    def test_waiting_is_never_longer_than_the_step(self):
        _, _, pace = simulate(waited=0.3)
        assert pace.waiting_share == 1


class TestAdvice:
    def test_a_training_that_waits_for_data_is_warned_of(self):
        _, _, pace = simulate(waited=0.07)
        assert pace.advice == (
            "35% of the training time is spent waiting for data: the network trains faster than "
            "samples are prepared; try a run folder on a local disk, a smaller size, or less "
            "[augmentation] in the configuration"
        )

    def test_a_training_that_hardly_waits_is_not(self):
        _, _, pace = simulate(waited=0.04)
        assert pace.advice is None

    def test_a_few_seconds_are_no_evidence(self):
        _, _, pace = simulate(steps=90, waited=0.15)  # 87 timed updates take 17.4 s
        assert pace.advice is None
        _, _, pace = simulate(steps=15, step_seconds=lambda step: 9.0, waited=8.0)
        assert pace.advice is None
