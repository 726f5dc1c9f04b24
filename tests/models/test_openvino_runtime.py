"""OpenVINO reports nothing."""

from tests.test_architecture import run_python


def test_it_is_imported_without_what_reports_its_use():
    code = (
        "import sys; from unetkit.models.openvino_runtime import openvino; "
        "assert openvino.Core; assert sys.modules['openvino_telemetry'] is None"
    )
    run_python(code)
