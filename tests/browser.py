"""Just enough of a browser: open a file at some width, ask the page questions, hear what it complains of.

The fixture ``browser`` of ``tests/conftest.py`` opens one, and skips where there is no Chromium::

    @pytest.mark.parametrize("width", WIDTHS)
    def test_the_page_fits(browser, width):
        assert_fits(browser, Path("page.html"), width)

``python tests/browser.py page.html folder`` writes what a page looks like at both widths, light and dark.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE_SECONDS = 60
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (390, 1280)  # CSS pixels: a telephone, a desk
KEY_CODES = {"Tab": 9, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
COMPLAINTS = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")

# Elements seen whose box ends outside of a width, and text that its own box cuts off. What lies in a box that scrolls
# sideways by itself may be wide, but the box may not; an ellipsis may cut a text that its title has in full. The width
# is told, for a telephone's window grows with a page that is too wide.
OVERFLOWS = """
(async (width, ignored) => {
  await document.fonts.ready;
  await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
  const found = [], whole = document.documentElement.scrollWidth;
  const tell = (element, why) => found.push(
    `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> ${why}: `
    + (element.textContent ?? "").trim().slice(0, 40));
  const scrolls = element => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const inScroller = element => {
    for (let e = element.parentElement; e && e !== document.body; e = e.parentElement) if (scrolls(e)) return true;
    return false;
  };
  if (whole > width) found.push(`the page is ${whole} wide`);
  for (const element of document.body.querySelectorAll("*")) {
    if (ignored && element.closest(ignored)) continue;
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (box.width <= 1 || box.height <= 1 || !element.checkVisibility({visibilityProperty: true})) continue;
    if (inScroller(element)) continue;
    const svg = element instanceof SVGElement ? element.ownerSVGElement : null;
    if (svg !== null && element.tagName !== "text") continue;  // lines may be clipped
    const [left, right] = [Math.round(box.left), Math.round(box.right)];
    if (left < 0 || right > width) tell(element, `${left} to ${right} of ${width}`);
    if (svg !== null) {
      const around = svg.getBoundingClientRect();
      if (box.left < around.left - 1 || box.right > around.right + 1) tell(element, "is cut by its svg");
    } else if (["hidden", "clip"].includes(style.overflowX) && element.scrollWidth > element.clientWidth + 1) {
      if (!(style.textOverflow === "ellipsis" && element.title)) tell(element, "cuts what is in it");
    }
  }
  return found;
})
"""

# The protocol's pipes have to be the file descriptors 3 and 4.
LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_chromium() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None)


def assert_fits(browser: Browser, page: Path, width: int, *, dark: bool = False, ignore: str = "") -> None:
    """Fail if a page is wider than the window, or an element of it, or if a text is cut.

    Args:
        browser: where the page is opened; it stays open, so that more can be asked of it.
        page: an HTML file.
        width: of the window, in CSS pixels.
        dark: whether the reader prefers a dark page.
        ignore: a CSS selector of elements that need not fit, such as a menu that waits outside of the window.
    """
    browser.open(page, width, dark=dark)
    found = browser.ask(f"({OVERFLOWS})({width}, {json.dumps(ignore)})")
    assert not found, "\n".join(found)


class Browser:
    """Headless Chromium, driven through its DevTools protocol over a pair of pipes: no port, no driver, no network."""

    def __init__(self, chromium: str, profile: Path) -> None:
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", LAUNCHER, str(theirs_in), str(theirs_out), chromium),
                *("--remote-debugging-pipe", f"--user-data-dir={profile}", *options),
            ],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._num_calls = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def open(self, path: Path, width: int, *, height: int = 800, dark: bool = False) -> None:
        """Load a file in a new tab as wide as a screen, narrow ones as a telephone; what came before is forgotten."""
        if self._session is not None:
            self._call("Page.close")
        self._session = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.events.clear()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._call("Emulation.setDeviceMetricsOverride", **screen)
        colours = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[colours])
        self._call("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive(deadline))

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page, awaited if it is a promise."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")  # none if it is undefined

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """All that was written to the page's console."""
        return [event for event in self.events if event["method"] in COMPLAINTS]

    @property
    def requests(self) -> list[str]:
        """The addresses that the page asked for."""
        sent = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a place in the window, in CSS pixels."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def tap(self, x: float, y: float) -> None:
        """Touch a place in the window."""
        self._call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self._call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        """Press a key by its name, such as ``"ArrowRight"`` or ``"Tab"``."""
        for kind in ("rawKeyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEY_CODES[key])

    def picture(self) -> bytes:
        """The whole page as PNG."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        return base64.b64decode(self._call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"])

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._num_calls += 1
        message = {"id": self._num_calls, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (answer := self._receive(deadline)).get("id") != self._num_calls:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            received = os.read(self._from, 1 << 16)
            assert received, "the browser is gone"
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        # Asked to, for its pipe may stay open: a worker that was forked since then has it too.
        os.write(self._to, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        os.close(self._to)
        os.close(self._from)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(page: Path, folder: Path) -> None:
    """Write four pictures of a page: at both widths, light and dark."""
    chromium = find_chromium()
    assert chromium is not None, "there is no Chromium here; Debian's package is called chromium"
    with tempfile.TemporaryDirectory() as profile, Browser(chromium, Path(profile)) as browser:
        for width in WIDTHS:
            for dark in (False, True):
                browser.open(page, width, dark=dark)
                (folder / f"{page.stem}-{width}-{'dark' if dark else 'light'}.png").write_bytes(browser.picture())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
