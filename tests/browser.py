"""Headless Chromium, controlled over a pipe with the DevTools protocol, without driver or port.

Only what the tests of pages need: open a file, run a script, choose files, press keys, save, take a
screenshot, and list requests and errors of the page.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)

KEYS = {  # by name: its code, its number, and the text that it enters
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    " ": ("Space", 32, " "),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
    "Escape": ("Escape", 27, ""),
    "Backspace": ("Backspace", 8, ""),
    "PageDown": ("PageDown", 34, ""),
    "PageUp": ("PageUp", 33, ""),
    "Home": ("Home", 36, ""),
}


class Browser:
    """A page in a browser.

    After `open`, `requests` has the addresses that the page requested, except `data:`, and `errors`
    the messages of the console and the exceptions of scripts.
    """

    def __init__(self, folder: Path) -> None:
        out_read, self._out = os.pipe()
        self._in, in_write = os.pipe()

        def place_pipes() -> None:
            # Chromium reads from 3 and writes to 4; copied to higher numbers first, in case a pipe
            # has one of these.
            read, write = os.dup2(out_read, 63), os.dup2(in_write, 64)
            os.dup2(read, 3)
            os.dup2(write, 4)

        self._process = subprocess.Popen(
            [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder}"],
            preexec_fn=place_pipes,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(out_read)
        os.close(in_write)
        self._buffer, self._number, self._session = b"", 0, None
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(
        self, page: Path | str, *, width: int = 1200, height: int = 900, dark: bool = False
    ) -> None:
        self.requests.clear()
        self.errors.clear()
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        address = page if isinstance(page, str) else page.resolve().as_uri()
        self._call("Page.navigate", url=address)
        self._wait_for("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """Returns the value of an expression in the page; a promise is awaited."""
        result = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def wait_until(self, condition: str, seconds: float = 60) -> None:
        """Waits until an expression in the page is true."""
        ends = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > ends:
                raise TimeoutError(f"{condition} is not true after {seconds} s: {self.errors}")
            time.sleep(0.05)

    def choose_files(self, selector: str, *files: Path) -> None:
        """Chooses files in an input, as its dialogue does."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(f.resolve()) for f in files])

    def press(
        self, key: str, *, shift: bool = False, control: bool = False, alt: bool = False
    ) -> None:
        """Presses and releases a key: one of KEYS, or a letter, digit or sign."""
        modifiers = 8 * shift + 2 * control + alt
        code, number, text = KEYS.get(key) or ("", ord(key.upper()), "" if control else key)
        event = {"key": key, "code": code, "windowsVirtualKeyCode": number, "text": text}
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, modifiers=modifiers, **event)

    def mouse(self, kind: str, x: float, y: float, *, button: str = "left", **more: Any) -> None:
        """One event of the mouse: "mousePressed", "mouseMoved", "mouseReleased", "mouseWheel"."""
        held = {"left": 1, "right": 2, "middle": 4, "none": 0}[button]
        buttons = 0 if kind == "mouseReleased" else held
        event = {"button": button, "buttons": buttons, "clickCount": 1, **more}
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **event)

    def drag(self, *points: tuple[float, float], button: str = "left", **more: Any) -> None:
        """Presses the mouse at the first point, moves it to the others, and releases it."""
        self.mouse("mouseMoved", *points[0], button="none", **more)
        self.mouse("mousePressed", *points[0], button=button, **more)
        for point in points[1:]:
            self.mouse("mouseMoved", *point, button=button, **more)
        self.mouse("mouseReleased", *points[-1], button=button, **more)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """One event of fingers: "touchStart", "touchMove", "touchEnd"; `points` still touch."""
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        self._call("Input.dispatchTouchEvent", type=kind, touchPoints=fingers)

    def save_into(self, folder: Path) -> None:
        """Saves what the page downloads into a folder, without asking."""
        self._call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        clip = self._clip() if whole else {}
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=whole, **clip)
        file.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self, file: Path) -> None:
        page = self._call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        file.write_bytes(base64.b64decode(page["data"]))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def _clip(self) -> dict[str, Any]:
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {**size, "scale": 1}}

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("id") == self._number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']['message']}")
                return reply["result"]

    def _wait_for(self, event: str) -> None:
        while self._next().get("method") != event:
            pass

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            read = os.read(self._in, 1 << 20)
            if not read:
                raise RuntimeError("the browser has exited")
            self._buffer += read
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        self._record(message.get("method"), message.get("params", {}))
        return message

    def _record(self, event: str | None, parameters: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            if not url.startswith("data:"):
                self.requests.append(url)
        elif event == "Runtime.consoleAPICalled":
            self.errors.append(json.dumps(parameters["args"]))
        elif event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.errors.append(json.dumps(parameters["entry"]))
