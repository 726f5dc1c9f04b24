"""Masks of photos by OpenCV and ONNX Runtime alone, as a short script of one's own would do it.

    python benchmarks/plain_predict.py MODEL.onnx PHOTOS OUT

This is the peer of `photos.py`: a photo on each core, the network on one thread each. The photo is
resized to the network's size, with bars if the model has them, the logits are enlarged again, and
the largest is the class. Nothing is checked: not the files, the model or the memory, no results are
described, and what is killed leaves half a file. It prints processor seconds, seconds and MiB.
"""

import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

import cv2
import numpy as np
import onnxruntime


def main() -> None:
    model, photos, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    out.mkdir()
    cv2.setNumThreads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    scale = json.loads(session.get_modelmeta().custom_metadata_map["unetkit"])["scale"]
    size = scale["height"], scale["width"]

    def predict(file: Path) -> None:
        photo = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        height, width = photo.shape[:2]
        factor = min(size[0] / height, size[1] / width) if scale["fit"] == "letterbox" else None
        inner = size if factor is None else (round(height * factor), round(width * factor))
        top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
        tile = np.zeros((1, *size, 3), np.float32)
        window = np.s_[top : top + inner[0], left : left + inner[1]]
        tile[0][window] = cv2.resize(photo, inner[::-1], interpolation=cv2.INTER_AREA)
        (logits,) = session.run(None, {name: tile})
        logits = cv2.resize(logits[0][window], (width, height), interpolation=cv2.INTER_LINEAR)
        cv2.imwrite(str(out / f"{file.stem}.png"), logits.argmax(-1).astype(np.uint8))

    started, busy = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(cpu_count()) as pool:
        list(pool.map(predict, sorted(photos.iterdir())))
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())  # on Linux
    print(json.dumps([busy, seconds, int(peak[1]) >> 10]))


if __name__ == "__main__":
    main()
