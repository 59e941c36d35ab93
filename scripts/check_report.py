"""Looks at a page of `nasrun report` as a browser shows it: narrow and wide, light and dark.

    scripts/check_report.py report.html --axe node_modules/axe-core/axe.min.js --out shots

A headless Chromium opens the page. In every width and colour scheme it must pass all rules of axe,
fit its width without scrolling to the side, say nothing on the console, and ask for no other
address; the pictures of the whole page go to `--out`. The exit status is 1 if anything is wrong.

It needs Chromium (Debian's package `chromium`; CHROMIUM names another) and the file `axe.min.js` of
axe-core (`npm install axe-core`; AXE names it too). Without axe its rules are not checked. The
browser is driven through its debugging pipe, so that nothing else is needed.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WIDTHS = (400, 1600)
SCHEMES = ("light", "dark")
NAMES = ("chromium", "chromium-browser", "google-chrome")
HIGHEST = 16_000
"""Largest height of a picture in pixels; a longer page is cut there."""


def chromium() -> str | None:
    """Return the browser's program, `None` if there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def axe() -> Path | None:
    """Return the file of axe-core's rules, `None` if there is none."""
    places = [Path(os.environ.get("AXE", "")), Path("node_modules/axe-core/axe.min.js")]
    return next((path for path in places if path.is_file()), None)


class Browser:
    """A tab of a headless Chromium: commands go down one pipe, answers and events come up."""

    def __init__(self, down: int, up: int) -> None:
        self.down, self.up = down, up
        self.rest, self.number, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    @classmethod
    @contextmanager
    def started(cls, program: str) -> Iterator[Browser]:
        """Start Chromium with a profile of its own, and end it."""
        read_down, down = os.pipe()
        up, write_up = os.pipe()
        with tempfile.TemporaryDirectory() as profile:
            flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
            flags += [f"--user-data-dir={profile}", "--no-first-run", "--hide-scrollbars"]
            flags += ["--disable-background-networking", "--disable-component-update"]
            # Chromium reads its pipe at 3 and writes it at 4
            order = f'exec "$0" "$@" 3<&{read_down} 4>&{write_up}'
            process = subprocess.Popen(
                ["bash", "-c", order, program, *flags],
                pass_fds=(read_down, write_up),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            os.close(read_down)
            os.close(write_up)
            try:
                yield cls(down, up)
            finally:
                process.terminate()
                process.wait(30)
                os.close(down)
                os.close(up)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer; events on the way are kept."""
        self.number += 1
        order = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            order["sessionId"] = self.session
        left = json.dumps(order).encode() + b"\0"
        while left:
            left = left[os.write(self.down, left) :]
        while True:
            message = self._next()
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            self.events.append(message)

    def until(self, method: str) -> None:
        """Wait for an event."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next())

    def evaluate(self, program: str) -> Any:
        """Return the value of a program in the page, awaited."""
        answer = self.ask(
            "Runtime.evaluate", expression=program, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = os.read(self.up, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)


def look(page: Path, rules: Path | None, folder: Path, program: str) -> list[str]:
    """Return everything that is wrong with a page, and leave its pictures in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    wrong = []
    with Browser.started(program) as browser:
        for width in WIDTHS:
            for scheme in SCHEMES:
                found = _look(browser, page, rules, folder, width, scheme)
                wrong += [f"{width} px, {scheme}: {each}" for each in found]
    return wrong


def _look(
    browser: Browser, page: Path, rules: Path | None, folder: Path, width: int, scheme: str
) -> Iterator[str]:
    browser.events.clear()
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.ask("Emulation.setDeviceMetricsOverride", **size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.ask("Emulation.setEmulatedMedia", features=[feature])
    address = page.absolute().as_uri()
    browser.ask("Page.navigate", url=address)
    browser.until("Page.loadEventFired")
    for event in browser.events:
        yield from _told(event, address)
    wide = browser.evaluate("document.documentElement.scrollWidth")
    if wide > width:
        yield f"the page is {wide} px wide"
    height = browser.evaluate("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, HIGHEST), "scale": 1}
    taken = browser.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
    (folder / f"{page.stem}-{width}-{scheme}.png").write_bytes(base64.b64decode(taken["data"]))
    if rules is not None:
        browser.evaluate(rules.read_text(encoding="utf-8") + ";0")
        for found in browser.evaluate("axe.run().then(r => r.violations)"):
            places = ", ".join(" ".join(node["target"]) for node in found["nodes"][:3])
            yield f"{found['id']}: {found['help']} ({len(found['nodes'])} times: {places})"


def _told(event: dict[str, Any], address: str) -> Iterator[str]:
    """Yield what an event tells of that should not be: another request, or words on the console."""
    given = event.get("params", {})
    if event.get("method") == "Network.requestWillBeSent":
        url = given["request"]["url"]
        if url != address and not url.startswith("data:"):
            yield f"the page asks for {url}"
    if event.get("method") == "Log.entryAdded":
        yield f"the console says: {given['entry']['text']}"
    if event.get("method") == "Runtime.consoleAPICalled":
        yield f"a script of the page says something on the console ({given['type']})"


def main(words: Sequence[str] | None = None) -> int:
    """Look at a page and print what is wrong with it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--axe", type=Path, default=axe(), help="axe.min.js of axe-core")
    parser.add_argument("--out", type=Path, default=Path("shots"), help="folder of the pictures")
    options = parser.parse_args(words)
    program = chromium()
    if program is None:
        print("no Chromium is there; install it, or name it by CHROMIUM", file=sys.stderr)
        return 2
    if options.axe is None:
        print("axe.min.js is not there: its rules are not checked", file=sys.stderr)
    wrong = look(options.page, options.axe, options.out, program)
    print("\n".join(wrong) or "nothing is wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
