"""OpenVINO without its telemetry, like ONNX Runtime in `onnx_runtime`.

On its import and in its converters it would report its use to its makers, by the package
openvino-telemetry, and keep a number for this machine in ~/intel. It does without where that
package is absent, as it is made to appear here: nothing leaves the machine.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # importing it fails

import openvino  # noqa: E402

__all__ = ["openvino"]
