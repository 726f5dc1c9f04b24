"""Requests a second of `unetkit serve`, beside `unetkit predict` and a plain handler.

    python benchmarks/serve.py [--clients 1 8 64] [--count 200] [--repeats 5]

Photos of synthetic pets, 375x500 JPEG, are segmented with the built-in network. Measured are, in
turn in each repeat:

    predict       `predict_files` of the same files, writing their masks: files a second
    serve         POST /v1/predict by so many clients, each with one connection and the next
                  request as soon as it has its answer: requests a second, p50 and p99 of times
    plain         the same from a handler of FastAPI that calls OpenCV and ONNX Runtime, as one
                  would write it: decode, resize, run on all cores, argmax, resize, encode

Each runs in a process of its own; clients run in a process of theirs, on the same cores. A Markdown
row is printed for each server and number of clients: medians over the repeats with their range, and
requests a second as a fraction of `predict` in the same repeat.
"""

import argparse
import http.client
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from subject import machine_line, quiet_environment

SIZE = (375, 500)  # height, width
WARM_UP = 8  # requests, not measured
SIDE = 256  # of the built-in network's input


def write_photos(folder: Path, count: int) -> list[Path]:
    from unetkit.datasets.synthetic_pets import synthetic_pet

    files = []
    for index in range(count):
        pixels, _ = synthetic_pet(index % 20, height=SIZE[0], width=SIZE[1])
        files.append(folder / f"pet_{index:04d}.jpg")
        Image.fromarray(pixels).save(files[-1], quality=90)
    return files


@contextmanager
def server(command: list[str]) -> Iterator[int]:
    """Runs a server until the end; gives its port, which it prints."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=quiet_environment(),
        text=True,
    )
    try:
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                yield int(found[1])
                return
        raise RuntimeError(f"{command} ended")
    finally:
        process.terminate()
        process.wait()


def ask(port: int, contents: list[bytes], clients: int) -> list[tuple[float, float]]:
    """Start and end of each request, of clients that share the images."""
    pending, lock, times = iter(contents), threading.Lock(), []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        while True:
            with lock:
                content = next(pending, None)
            if content is None:
                return
            started = time.perf_counter()
            connection.request("POST", "/v1/predict", content)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(f"status {response.status}")
            times.append((started, time.perf_counter()))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(times) != len(contents):
        raise RuntimeError(f"{len(times)} of {len(contents)} requests were answered")
    return times


def measure_clients(port: int, contents: list[bytes], clients: int) -> tuple[float, float, float]:
    """Requests a second, and p50 and p99 of their seconds."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(ask, (port, contents[:WARM_UP], 1))
        times = pool.apply(ask, (port, contents, clients))
    seconds = sorted(end - start for start, end in times)
    span = max(end for _, end in times) - min(start for start, _ in times)
    p99 = seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))]
    return len(times) / span, statistics.median(seconds), p99


def measure_predict(folder: Path) -> float:
    """Files a second of `predict_files`, in a process of its own."""
    code = f"""
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from unetkit.results.files import predict_files
from unetkit.prediction.predictor import Predictor
files = sorted(Path({str(folder)!r}).glob("*.jpg"))
predictor = Predictor()
with TemporaryDirectory() as out:
    predict_files(predictor, files[:{WARM_UP}], Path(out, "a"), kinds=["mask"], format="png")
    started = time.perf_counter()
    predict_files(predictor, files, Path(out, "b"), kinds=["mask"], format="png")
    print(len(files) / (time.perf_counter() - started))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=quiet_environment(), check=True
    )
    return float(done.stdout)


def serve_plainly() -> None:
    """The handler that one would write."""
    import cv2
    import onnxruntime
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import Response

    from unetkit.models.built_in import BUILT_IN
    from unetkit.prediction.engine import Engine
    from unetkit.serve.server import bind

    scale = Engine(BUILT_IN).spec.normalization
    session = onnxruntime.InferenceSession(BUILT_IN, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    app = FastAPI()

    def segment(content: bytes) -> bytes:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        resized = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        (logits,) = session.run(
            None, {name: resized[None].astype(np.float32) * scale.multiply + np.float32(scale.add)}
        )
        mask = logits[0].argmax(-1).astype(np.uint8)
        size = image.shape[1], image.shape[0]
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        return cv2.imencode(".png", mask)[1].tobytes()

    @app.post("/v1/predict")
    async def predict(request: Request) -> Response:
        answer = await run_in_threadpool(segment, await request.body())
        return Response(answer, media_type="image/png")

    bound = bind("127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{bound.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, log_config=None)).run(sockets=[bound])


def shown(values: list[float], digits: int = 1) -> str:
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        serve_plainly()
        return
    commands = {
        "serve": [sys.executable, "-m", "unetkit", "serve", "--port", "0", "--queue", "128"],
        "plain": [sys.executable, __file__, "--plain"],
    }
    predict: list[float] = []
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contents = [file.read_bytes() for file in write_photos(folder, options.count)]
        for _ in range(options.repeats):
            predict.append(measure_predict(folder))
            print(f"predict {predict[-1]:.1f}/s", file=sys.stderr)
            for kind, command in commands.items():
                with server(command) as port:
                    for clients in options.clients:
                        row = measure_clients(port, contents, clients)
                        found.setdefault((kind, clients), []).append(row)
                        print(kind, clients, *(f"{x:.3f}" for x in row), file=sys.stderr)
    print(machine_line())
    print(
        f"{os.cpu_count()} cores; {options.count} images; {options.repeats} repeats; predict "
        f"{shown(predict)} images a second\n"
    )
    print(
        "| server | clients | requests/s | of predict | p50, ms | p99, ms | p99 / mean / clients |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (kind, clients), rows in found.items():
        rates = [rate for rate, _, _ in rows]
        shares = [rate / one for rate, one in zip(rates, predict, strict=True)]
        p50, p99 = ([1000 * row[i] for row in rows] for i in (1, 2))
        # With so many clients, a request takes the mean time of one, times their number.
        spread = [row[2] * row[0] / clients for row in rows]
        print(
            f"| {kind} | {clients} | {shown(rates)} | {shown(shares, 2)} | {shown(p50, 0)} | "
            f"{shown(p99, 0)} | {shown(spread, 2)} |"
        )


if __name__ == "__main__":
    main()
