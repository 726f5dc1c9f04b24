"""Requests answered by a model: bytes of an image in, bytes of an answer out.

Requests wait in the order in which they came, and threads take them from there. Nothing here knows
HTTP; `app` does. Each answer is written by the functions that write the files of `unetkit predict`,
so that its bytes are the same.
"""

import asyncio
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from PIL.Image import DecompressionBombError

from unetkit._shared.memory_budget import BUDGET, MIB
from unetkit.errors import DataError, ModelFileError, SizeError, UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import InputFile, open_source
from unetkit.results.needs import bytes_to_predict
from unetkit.results.outputs import OUTPUTS, write_output
from unetkit.results.predicted_image import ResultOptions
from unetkit.results.whole_images import predict_whole
from unetkit.serve.answers import kinds_of, outputs_of, summarize
from unetkit.serve.limits import ACCEPTED_COMPRESSIONS, ACCEPTED_FORMATS, Limits, RefusedError

THE_IMAGE = "the image"  # in messages, in place of a file's name
IMAGE_FRACTION = 0.75  # of the memory that is left, for the pixels and results of one image
FIRST_GUESS_SECONDS = 1.0  # of an answer, until one was given
SMOOTHING = 0.2  # weight of the last answer in the mean


class Segmenter:
    """A model that answers requests, several at the same time.

    Args:
        predictor: The model; its memory limit is that of the process.
        limits: Limits of the service.

    Raises:
        SizeError: The memory limit leaves nothing for images.
    """

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self.predictor, self.limits = predictor, limits
        self.outputs = outputs_of(predictor)
        self._memory = predictor.memory - limits.held_bytes
        room = self._memory - BUDGET.base - predictor.least_tile_bytes
        if room < MIB:
            least = predictor.memory - room + MIB
            raise SizeError(
                f"memory is {predictor.memory / MIB:,.0f} MiB; accepted to serve "
                f"{predictor.path} are amounts from {-(-least // MIB):,} MiB up; allow more"
            )
        self._most_needed = round(room * IMAGE_FRACTION)
        reserving = predictor.leaving(self._most_needed)
        self._model, self.threads = reserving.side_by_side(os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self.threads, "predict")
        self._lock = threading.Lock()
        self._pending = 0
        self._mean_seconds = FIRST_GUESS_SECONDS

    @property
    def pending(self) -> int:
        """Number of requests that wait or are being answered."""
        return self._pending

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a free thread."""
        return max(0, self._pending - self.threads)

    def require_room(self) -> None:
        """Refuses a request if too many wait.

        Raises:
            RefusedError: As many wait as may.
        """
        if self._pending >= self.threads + self.limits.waiting:
            raise RefusedError(
                429,
                f"{self.waiting} requests wait already, and accepted are {self.limits.waiting}; "
                "try again later",
                retry_seconds=max(1, round(self._pending * self._mean_seconds / self.threads)),
            )

    async def answer(self, content: bytes, output: str, mask: str = "index") -> bytes:
        """Answers one request.

        Args:
            content: Content of an image file.
            output: Kind of answer, one of `outputs`.
            mask: What pixels of masks are, one of `results.masks.MASK_STYLES`.

        Returns:
            Content of the answer, of the media type `answers.MEDIA_TYPES[output]`.

        Raises:
            RefusedError: Too many requests wait; the content is not an image that the model takes;
                or there is no answer within the limits of time and memory.
        """
        self.require_room()
        with self._lock:
            self._pending += 1
        future = self._pool.submit(self._work, content, output, ResultOptions(mask))
        future.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise RefusedError(
                503,
                f"no answer within {self.limits.seconds:g} seconds, the limit of this server; "
                "try again, or send a smaller image",
                retry_seconds=max(1, round(self._mean_seconds)),
            ) from None

    def close(self) -> None:
        """Waits for the threads; requests that wait are given up."""
        self._pool.shutdown(cancel_futures=True)

    def _done(self, future: "Future[bytes]") -> None:
        with self._lock:
            self._pending -= 1

    def _work(self, content: bytes, output: str, options: ResultOptions) -> bytes:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="unetkit-") as folder:
            image = Path(folder, "image")
            with _refusing(image):
                image.write_bytes(content)
                answer = self._answer(image, output, options)
        seconds = time.monotonic() - started
        with self._lock:
            self._mean_seconds += SMOOTHING * (seconds - self._mean_seconds)
        return answer

    def _answer(self, image: Path, output: str, options: ResultOptions) -> bytes:
        spec = self.predictor.spec
        kinds = kinds_of(output, spec.objects.finds_objects)
        with closing(InputFile(image, spec.pixels)) as file:
            need = self._require_accepted(file, kinds)
            with BUDGET.limited(self._memory), BUDGET.taken(need, THE_IMAGE):
                with (
                    open_source(file, spec.pixels) as source,
                    predict_whole(self._model, source, kinds, options) as predicted,
                ):
                    if output not in OUTPUTS:
                        return json.dumps(summarize(predicted), ensure_ascii=False).encode()
                    result = image.with_name(f"result{OUTPUTS[output].ending('png')}")
                    write_output(output, result, predicted)
                return result.read_bytes()

    def _require_accepted(self, file: InputFile, kinds: tuple[str, ...]) -> int:
        """Refuses a file by its header, before anything is decoded; returns the bytes it needs."""
        try:
            format = file.format
        except DataError:
            format = "unknown"
        if format not in ACCEPTED_FORMATS:
            raise RefusedError(
                422,
                f"the format of the image is {format}; accepted are {', '.join(ACCEPTED_FORMATS)}",
            )
        try:
            file.require_one_image()
            height, width = file.size()
            compressions = file.compressions()
        except DataError as error:
            if isinstance(error.__cause__, DecompressionBombError):
                raise self._too_many_pixels("too many") from error
            raise
        if height * width > self.limits.pixels:
            raise self._too_many_pixels(f"{height:,} x {width:,}")
        if not compressions <= ACCEPTED_COMPRESSIONS.keys():
            names = ", ".join(dict.fromkeys(ACCEPTED_COMPRESSIONS.values()))
            raise RefusedError(
                422,
                f"the TIFF has the compression {max(compressions - ACCEPTED_COMPRESSIONS.keys())}; "
                f"accepted are {names}",
            )
        spec = self.predictor.spec
        members = len(self.predictor.members)
        need = bytes_to_predict(file.needed_bytes(), (height, width), spec, kinds, members)
        if need > self._most_needed:
            raise RefusedError(
                422,
                f"the image and this answer need {need / MIB:,.0f} MiB of memory; accepted are up "
                f"to {self._most_needed / MIB:,.0f} MiB",
            )
        return need + self.predictor.least_tile_bytes

    def _too_many_pixels(self, size: str) -> RefusedError:
        return RefusedError(
            422, f"the image has {size} pixels; accepted are up to {self.limits.pixels:,} pixels"
        )


@contextmanager
def _refusing(image: Path) -> Iterator[None]:
    """Makes what is raised about an image an answer that names neither files nor options."""
    try:
        yield
    except (DataError, SizeError) as error:
        raise RefusedError(422, _sentence(error, image)) from error
    except ModelFileError as error:
        raise RefusedError(503, "the model failed on this image") from error
    except MemoryError as error:
        raise RefusedError(503, "memory ran out; send a smaller image", retry_seconds=5) from error
    except OSError as error:
        raise RefusedError(
            503, f"the server cannot write ({error.strerror or 'no reason'})", retry_seconds=60
        ) from error


def _sentence(error: UnetkitError, image: Path) -> str:
    """What is wrong and what is accepted, without advice on commands and files."""
    wrong, *accepted = str(error).replace(str(image), THE_IMAGE).split("; ")[:2]
    return "; ".join([wrong, *(part for part in accepted if part.startswith("accepted"))])
