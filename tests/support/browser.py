"""Headless Chromium over its debugging pipe, with nothing but the standard library."""

import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import time

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


class Browser:
    """One page in a browser of its own; remembers its requests, errors and console.

    Args:
      folder: where the browser keeps its profile.
    """

    def __init__(self, folder, *, width=1400, height=1000):
        (child_in, self._out), (self._in, child_out) = os.pipe(), os.pipe()
        # Chromium reads from descriptor 3 and writes to 4.
        script = f'exec "$0" "$@" 3<&{child_in} 4>&{child_out}'
        options = (
            "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run "
            f"--remote-debugging-pipe --window-size={width},{height} --user-data-dir={folder}"
        ).split()
        self._process = subprocess.Popen(
            ["bash", "-c", script, PROGRAM, *options, "about:blank"],
            pass_fds=(child_in, child_out),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(child_in), os.close(child_out)
        self._numbers, self._buffer, self._session = itertools.count(1), b"", None
        self.requests, self.errors = [], []
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        # Focus and hover work as in a window that is in front.
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)

    def open(self, address):
        """Goes to a page; `wait` for what it shows."""
        self.send("Page.navigate", url=address)

    def send(self, method, **params):
        """Calls a method of the protocol and returns its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def evaluate(self, expression):
        """The value of a JavaScript expression; a promise is waited for."""
        result = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression, *, seconds=20):
        """Waits until an expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"{expression} did not become true"
            time.sleep(0.05)

    def key(self, name):
        """Presses a key and lets it go."""
        codes = {
            "Tab": 9,
            "Enter": 13,
            "Escape": 27,
            "End": 35,
            "Home": 36,
            "ArrowLeft": 37,
            "ArrowUp": 38,
            "ArrowRight": 39,
            "ArrowDown": 40,
        }
        text = {"text": "\r"} if name == "Enter" else {}
        event = {"key": name, "code": name, "windowsVirtualKeyCode": codes[name]}
        self.send("Input.dispatchKeyEvent", type="keyDown", **event, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def mouse(self, kind, x, y):
        """A mouse event: mouseMoved, mousePressed or mouseReleased."""
        button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def close(self):
        """Ends the browser and all its processes."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._in), os.close(self._out)

    def _receive(self):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], 60)
            assert ready, "the browser does not answer"
            read = os.read(self._in, 2**16)
            assert read, "the browser has ended"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        params = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event["method"] == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"])
        elif event["method"] == "Log.entryAdded":
            self.errors.append(params["entry"])
        elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in (
            "error",
            "warning",
        ):
            self.errors.append(params["args"])
