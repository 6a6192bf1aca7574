"""A headless Chromium, driven by its own protocol: pages, keys, requests, pictures."""

import itertools
import json
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # there is no network: every name but this machine's own is unknown
)
PATIENCE = 60


def found():
    """The browser's path; skips the test where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return path


@contextmanager
def browser(folder):
    """Opens pages, as `open_page(address)`, in a browser whose profile is in `folder`."""
    connect = pytest.importorskip("websockets.sync.client", reason="websockets is not installed").connect
    log = (folder / "browser.log").open("wb")
    command = [found(), *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        port, path = _address(folder / "profile" / "DevToolsActivePort", process)
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as socket:
            yield Browser(socket)
            socket.send(json.dumps({"id": 0, "method": "Browser.close"}))
        process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        log.close()


def _address(file, process):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        if len(lines) == 2:
            return lines
        time.sleep(0.05)
    pytest.fail(f"the browser did not start: {process.poll()}")


class Browser:
    """A connection to a browser."""

    def __init__(self, socket):
        self._socket, self._numbers, self.events = socket, itertools.count(1), []

    def send(self, method, session=None, **parameters):
        """A command's answer; what the browser says meanwhile is kept in `events`."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open_page(self, address, width=1280, height=900, scheme="light"):
        """A page of this size and colour scheme, loaded."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Network", "Runtime", "Log"):
            page.send(f"{domain}.enable")
        page.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.send("Page.navigate", url=address)
        page.wait("document.readyState === 'complete'")
        return page


class Page:
    """An open page."""

    def __init__(self, browser, session):
        self._browser, self._session = browser, session

    def send(self, method, **parameters):
        return self._browser.send(method, self._session, **parameters)

    def run(self, expression):
        """The value of an expression of JavaScript."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression):
        """Until an expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.run(expression):
            assert time.monotonic() < until, f"never: {expression}"
            time.sleep(0.05)

    def press(self, key, code):
        """A key of the keyboard, for what has the focus."""
        extra = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **extra)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def point_at(self, expression):
        """The mouse over the middle of an element, scrolled into view."""
        box = f"(() => {{ const one = {expression}; one.scrollIntoView({{ block: 'center', behavior: 'instant' }}); "
        box += "const r = one.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()"
        x, y = self.run(box)
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def events(self, method):
        """What the browser has said of this page under this name."""
        found = [e for e in self._browser.events if e.get("sessionId") == self._session and e["method"] == method]
        return [event["params"] for event in found]

    @property
    def requests(self):
        """Addresses that the page asked for, its own included."""
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    @property
    def complaints(self):
        """Errors of scripts, thrown or written to the console, and what the page's policy has blocked."""
        thrown = [event["exceptionDetails"]["text"] for event in self.events("Runtime.exceptionThrown")]
        thrown += [str(e["args"]) for e in self.events("Runtime.consoleAPICalled") if e["type"] == "error"]
        return thrown + [e["entry"]["text"] for e in self.events("Log.entryAdded") if e["entry"]["level"] == "error"]
