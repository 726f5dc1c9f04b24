"""The files in `deploy`: nginx runs with its configuration, before two servers under a path."""

import re
import shutil
import socket
import subprocess
import time

import httpx
import pytest

from tests.serving import photo_bytes, serving
from tests.snippets import ROOT
from unetkit.cli.main import main
from unetkit.prediction.predictor import Predictor

DEPLOY = ROOT / "deploy"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """The address of nginx with the configuration of `deploy`, before two servers."""
    folder = tmp_path_factory.mktemp("nginx")
    predictor = Predictor(memory=2 << 30)
    options = {"hosts": ("example.org",), "root_path": "/segment"}
    with serving(predictor, **options) as one, serving(predictor, **options) as two:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        text = (DEPLOY / "nginx.conf").read_text("utf-8")
        for written, here in (
            ("listen 80;", f"listen 127.0.0.1:{port};"),
            ("127.0.0.1:8000", one.host),
            ("127.0.0.1:8001", two.host),
        ):
            assert text.count(written) == 1
            text = text.replace(written, here)
        paths = "".join(
            f"{name}_temp_path {folder};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; {paths}\n{text} }}"
        )
        process = subprocess.Popen(
            [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            end = time.monotonic() + 20
            while True:
                assert process.poll() is None, process.stderr.read()
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert time.monotonic() < end
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}", one
        finally:
            process.terminate()
            process.wait()
            process.stderr.close()


@pytest.mark.skipif(NGINX is None, reason="no nginx")
class TestNginx:
    def client(self, proxy):
        headers = {"Host": "example.org"}
        return httpx.Client(base_url=proxy[0], headers=headers, trust_env=False, timeout=30)

    def test_the_page_and_the_answers_are_under_the_path(self, proxy):
        with self.client(proxy) as client:
            page = client.get("/segment/")
            assert "Segment images" in page.text
            assert "script-src 'sha256-" in page.headers["content-security-policy"]
            answer = client.post("/segment/v1/predict", content=photo_bytes())
            assert answer.content == proxy[1].post(photo_bytes()).content
            assert client.get("/segment/openapi.json").json()["servers"] == [{"url": "/segment"}]

    def test_its_own_page_may_ask_and_pages_of_others_may_not(self, proxy):
        with self.client(proxy) as client:
            for origin, status in (("https://example.org", 200), ("https://other.org", 403)):
                got = client.get("/segment/v1/model", headers={"Origin": origin})
                assert got.status_code == status

    def test_another_name_is_refused(self, proxy):
        with self.client(proxy) as client:
            assert client.get("/segment/health", headers={"Host": "other.org"}).status_code == 421


@pytest.mark.parametrize("name", ["Dockerfile", "unetkit@.service"])
def test_commands_in_the_files_have_options_that_exist(name):
    known = {word for option in main.commands["serve"].params for word in option.opts}
    lines = (DEPLOY / name).read_text("utf-8").splitlines()
    commands = [
        line for line in lines if re.search(r'unetkit"?,? "?serve |"serve"|OPTIONS=-', line)
    ]
    found = re.findall(r"--[a-z][a-z-]+", " ".join(commands))
    assert found
    assert set(found) <= known


def test_the_unit_names_what_the_documentation_does():
    unit = (DEPLOY / "unetkit@.service").read_text("utf-8")
    page = (ROOT / "docs" / "serve.md").read_text("utf-8")
    for path in ("/opt/unetkit", "/etc/unetkit/model.onnx", "/etc/unetkit/serve.env"):
        assert path in unit
        assert path in page
