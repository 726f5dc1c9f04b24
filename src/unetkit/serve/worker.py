"""The process that reads images and predicts them, one request after another.

Decoders of image files are large libraries of machine code, and they get files from anyone. One
that crashes ends this process only, and one that takes too long can be ended; `process` starts
another. Requests come on the standard input and answers leave on the standard output, a line of
JSON each; the image and the result are files in a folder of the request.

Each answer is written by the functions that write the files of `unetkit predict`, so that its bytes
are the same.
"""

import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL.Image import DecompressionBombError

from unetkit._shared.memory_budget import BUDGET
from unetkit.errors import DataError, ModelFileError, SizeError, UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import InputFile, open_source
from unetkit.results.needs import bytes_to_predict
from unetkit.results.outputs import OUTPUTS, write_output
from unetkit.results.predicted_image import ResultOptions
from unetkit.results.whole_images import predict_whole
from unetkit.serve.answers import kinds_of, summarize
from unetkit.serve.limits import ACCEPTED_COMPRESSIONS, ACCEPTED_FORMATS, RefusedError

IMAGE = "image"  # file in the folder of a request
FIRST_SIDE = 32  # of the first image, which is black
THE_IMAGE = "the image"  # in messages, in place of a file's name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """What a process is told when it starts.

    Args:
        models: Paths of the model files, whose predictions are averaged.
        tta: Test-time augmentation, as of `Predictor`.
        digest: SHA-256 of the model file, or of several.
        pixels: Largest number of pixels of an image.
        memory: Memory limit of each of its two predictors, without images, in bytes.
        object_bytes: Memory to tell objects apart with, beside that of the image, in bytes.
    """

    models: list[str]
    tta: str | None
    digest: str
    pixels: int
    memory: int
    object_bytes: int


@dataclass(frozen=True)
class Request:
    """One request.

    Args:
        folder: Folder with the file `IMAGE`, where the result is written.
        output: Kind of answer, a key of `answers.MEDIA_TYPES`.
        mask: What pixels of masks are, one of `results.masks.MASK_STYLES`.
        is_alone: Whether no other image is predicted now, so that the network may use all cores.
    """

    folder: str
    output: str
    mask: str
    is_alone: bool


def run() -> None:
    """Answers requests until the standard input ends."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the server finishes its requests first
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for what libraries print
        answer_requests(sys.stdin.buffer, answers)


def answer_requests(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers requests until there are no more.

    The first line is a `Setup`, answered by `{}` or an error; every other one is a `Request`. To
    that, `{"need": BYTES}` is said, and `true` or `false` read: whether the image may take so much
    memory. Then comes `{"file": NAME}`, the result in the folder of the request. At any place an
    error may come instead: `{"status": STATUS, "sentence": TEXT, "retry_seconds": NUMBER}`.
    """

    def send(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()

    def may_take(need: int) -> bool:
        send({"need": need})
        return bool(json.loads(requests.readline() or b"false"))

    try:
        worker = _Worker(Setup(**json.loads(requests.readline())))
    except UnetkitError as error:
        send(vars(RefusedError(503, str(error))))
        return
    send({})
    for line in requests:
        request = Request(**json.loads(line))
        try:
            with _refusing(request):
                name = worker.answer(request, may_take)
        except RefusedError as error:
            send(vars(error))
        except Exception:
            logger.exception("a request failed")
            send(vars(RefusedError(500, "the server failed; its log says why")))
        else:
            if name is not None:
                send({"file": name})


class _Worker:
    """A model loaded twice: for all cores, and for one beside other processes."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._alone = Predictor(setup.models, tta=setup.tta, memory=setup.memory)
        if self._alone.digest != setup.digest:
            raise ModelFileError("the model file has changed since the server began; start it anew")
        self._beside, _ = self._alone.side_by_side(1)
        self._spec = self._alone.spec
        # Both networks run once: so the first answers are as fast as others, and take no memory
        # that was not taken before.
        pixels = self._spec.pixels
        for predictor in (self._alone, self._beside):
            predictor(np.zeros((FIRST_SIDE, FIRST_SIDE, pixels.channels), pixels.dtype))

    def answer(self, request: Request, may_take: Callable[[int], bool]) -> str | None:
        """Writes the result; returns the name of its file, or None if memory is refused."""
        tempfile.tempdir = request.folder  # whoever ends this process removes the folder
        image = Path(request.folder, IMAGE)
        kinds = kinds_of(request.output, self._spec.objects.finds_objects)
        with closing(InputFile(image, self._spec.pixels)) as file:
            need = self._require_accepted(file, kinds)
            if not may_take(need):
                return None
            with (
                BUDGET.limited(BUDGET.base + need + self._setup.object_bytes),
                BUDGET.taken(need, THE_IMAGE),
                open_source(file, self._spec.pixels) as source,
                predict_whole(
                    self._alone if request.is_alone else self._beside,
                    source,
                    kinds,
                    ResultOptions(request.mask),
                ) as predicted,
            ):
                if request.output not in OUTPUTS:
                    text = json.dumps(summarize(predicted), ensure_ascii=False)
                    result = image.with_name("result.json")
                    result.write_text(text, encoding="utf-8")
                else:
                    result = image.with_name(f"result{OUTPUTS[request.output].ending('png')}")
                    write_output(request.output, result, predicted)
        return result.name

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
        if height * width > self._setup.pixels:
            raise self._too_many_pixels(f"{height:,} x {width:,}")
        if not compressions <= ACCEPTED_COMPRESSIONS.keys():
            names = ", ".join(dict.fromkeys(ACCEPTED_COMPRESSIONS.values()))
            raise RefusedError(
                422,
                f"the TIFF has the compression {max(compressions - ACCEPTED_COMPRESSIONS.keys())}; "
                f"accepted are {names}",
            )
        members = len(self._alone.members)
        return bytes_to_predict(file.needed_bytes(), (height, width), self._spec, kinds, members)

    def _too_many_pixels(self, size: str) -> RefusedError:
        most = self._setup.pixels
        return RefusedError(422, f"the image has {size} pixels; accepted are up to {most:,} pixels")


@contextmanager
def _refusing(request: Request) -> Iterator[None]:
    """Makes what is raised about an image an answer that names neither files nor options."""
    try:
        yield
    except (DataError, SizeError) as error:
        raise RefusedError(422, _sentence(error, request.folder)) from error
    except ModelFileError as error:
        raise RefusedError(503, "the model failed on this image") from error
    except MemoryError as error:
        raise RefusedError(503, "memory ran out; send a smaller image", retry_seconds=5) from error
    except OSError as error:
        raise cannot_write(error) from error


def cannot_write(error: OSError) -> RefusedError:
    """The error of a server whose temporary folder cannot be written, such as on a full disk."""
    return RefusedError(
        503, f"the server cannot write ({error.strerror or 'no reason'})", retry_seconds=60
    )


def _sentence(error: UnetkitError, folder: str) -> str:
    """What is wrong and what is accepted, without advice on commands and files."""
    wrong, *accepted = str(error).replace(str(Path(folder, IMAGE)), THE_IMAGE).split("; ")[:2]
    return "; ".join([wrong, *(part for part in accepted if part.startswith("accepted"))])
