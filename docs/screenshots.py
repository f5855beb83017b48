"""The pictures of docs/assets, made anew: `make screenshots`, or `python docs/screenshots.py [NAME ...]`.

A project of phantoms is trained twice, shortly; its pages, MLflow over it and some commands are then photographed with
Chromium. What is in the home folder already is not made again. Needs `chromium`, and minutes.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "docs" / "assets"
ANN = "/home/ann"
"""Whose machine the pictures show."""

FIRST, SECOND = "plan1-dynunet-f0-1", "plan1-dynunet-f0-2"
SHORT = "patch_dim0=32 patch_dim1=16 trainer.max_epochs=8 trainer.steps_per_epoch=20 trainer.num_workers=0"
RUNS = {
    FIRST: f"'spacing=[3,3,4]' {SHORT}",
    SECOND: f"'spacing=[4,4,4]' {SHORT} model.filters=12 trainer/loss=dice_focal trainer.optimiser.lr=1e-3",
}
CASES, WAIT_S = 20, 900.0
DESKTOP, LONG, PICTURES, PHONE = (1100, 1250), (1100, 1900), (1000, 530), (390, 844)
COLOURS, COLUMNS = 128, 114
ONLY_WHAT_DIFFERS = """
document.querySelector('[data-component-id="mlflow.assistant.chat_panel.close"]')?.click();
[...document.querySelectorAll("label, span")].find(e => e.textContent === "Show diff only")?.click();
document.head.insertAdjacentHTML("beforeend", "<style>[data-assistant-ui] { display: none !important }</style>");
"""
"""MLflow's chat is closed, and its comparison leaves out what is the same in all runs."""


class Demo:
    """A project of phantoms with two runs, in a home folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.raw = home / "raw" / "demo"
        self.environment = {**os.environ, "FRAN_HOME": str(home), "PYTHONPATH": str(ROOT)}
        self.environment.pop("NO_COLOR", None)

    def make(self) -> None:
        """What is not there yet: phantoms, the project, its runs."""
        from fran.datasources.phantom import make_phantoms

        if not (self.home / "projects" / "demo" / "global_properties.json").is_file():
            make_phantoms(self.raw, CASES)
            self.fran("init", "-t", "demo", "-i", str(self.raw))
        for run, settings in RUNS.items():
            if not (self.home / "cold" / "checkpoints" / "demo" / run / "best.ckpt").is_file():
                self.fran("train", "project=demo", "plan=plan1", f"run={run}", *shlex.split(settings))

    def fran(self, *arguments: str) -> None:
        """One command."""
        command = [sys.executable, "-m", "fran.cli", *arguments]
        subprocess.run(command, env=self.environment, cwd=self.home, check=True)

    def page(self, name: str, *arguments: str) -> Path:
        """A report, with the places of Ann's machine."""
        path = self.home / f"{name}.html"
        self.fran("report", "project=demo", f"output={path}", *arguments)
        path.write_text(self.of_ann(path.read_text(encoding="utf-8")), encoding="utf-8")
        return path

    def of_ann(self, text: str) -> str:
        """Text in which files lie where Ann keeps hers."""
        return text.replace(str(self.raw), f"{ANN}/raw/demo").replace(str(self.home), f"{ANN}/fran")

    @contextmanager
    def mlflow(self) -> Iterator[str]:
        """Address of `fran ui` over the runs."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "fran.cli", "ui", "project=demo", f"port={port}"]
        with subprocess.Popen(command, env=self.environment, start_new_session=True) as server:
            address = f"http://127.0.0.1:{port}"
            try:
                _until(lambda: _answers(f"{address}/health"), "MLflow")
                yield address
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(60)

    def mlflow_ids(self) -> tuple[str, list[str]]:
        """Experiment and runs, the first of `RUNS` first."""
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.home}/projects/demo/mlflow.db")
        experiment = client.get_experiment_by_name("demo")
        found = {run.info.run_name: run.info.run_id for run in client.search_runs([experiment.experiment_id])}
        return experiment.experiment_id, [found[name] for name in RUNS]

    def terminal(self, *arguments: str, columns: int) -> str:
        """What a command writes to a terminal of that width, with its colours."""
        master, slave = pty.openpty()
        environment = {**self.environment, "COLUMNS": str(columns), "LINES": "60", "TERM": "xterm-256color"}
        command = [sys.executable, "-m", "fran.cli", *arguments]
        said = b""
        with subprocess.Popen(command, env=environment, cwd=self.home, stdout=slave, stderr=slave, stdin=slave) as run:
            os.close(slave)
            with suppress(OSError):  # the end of a terminal whose program has ended
                while chunk := os.read(master, 4096):
                    said += chunk
        os.close(master)
        if run.returncode:
            raise SystemExit(f"fran {shlex.join(arguments)} ended with status {run.returncode}")
        return self.of_ann(said.decode().replace("\r\n", "\n"))


class Browser:
    """Chromium, told by its DevTools protocol over a pipe what to show and when to take a picture."""

    def __init__(self, program: str, folder: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        flags += ["--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]

        def pipes() -> None:  # Chromium reads commands from 3 and answers on 4
            source, target = os.dup(ours[0]), os.dup(theirs[1])
            os.dup2(source, 3)
            os.dup2(target, 4)

        self.process = subprocess.Popen(
            [program, *flags], preexec_fn=pipes, close_fds=False, stderr=subprocess.DEVNULL, start_new_session=True
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._to, self._from = ours[1], theirs[0]
        self._rest, self._number, self._session = b"", 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = os.read(self._from, 1 << 20)
            if not chunk:
                raise SystemExit("Chromium ended")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def js(self, expression: str) -> Any:
        """Value of an expression in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def show(self, address: str, size: tuple[int, int], dark: bool, scale: float = 1.0, ready: str = "true") -> None:
        """Open a page and wait until the expression `ready` holds in it."""
        window = {"width": size[0], "height": size[1], "deviceScaleFactor": scale, "mobile": size[0] < 500}
        self.call("Emulation.setDeviceMetricsOverride", **window)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=address)
        _until(lambda: self.js(f"document.readyState === 'complete' && Boolean({ready})"), address)

    def picture(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End Chromium with all its processes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _until(true: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not ready after {WAIT_S:.0f} s")
        time.sleep(0.3)


def _answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address, timeout=10) as answer:
        return bool(answer.read() == b"OK")
    return False


def save(name: str, *pictures: bytes, colours: int = COLOURS) -> None:
    """Pictures side by side, as a small PNG."""
    from PIL import Image

    images = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]
    gap = 24 if len(images) > 1 else 0
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    whole = Image.new("RGB", (width, max(image.height for image in images)), "#8a929c")
    at = 0
    for image in images:
        whole.paste(image, (at, 0))
        at += image.width + gap
    path = ASSETS / f"{name}.png"
    whole.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
    sys.stdout.write(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} kB\n")


def pages(demo: Demo, browser: Browser) -> None:
    """Reports: of the project, of a run, of two runs; on a desktop in light and dark, and on a phone."""
    run = demo.page(f"run_{FIRST}", f"run={FIRST}").as_uri()
    project = demo.page("project").as_uri()
    compared = demo.page("compare", f"compare=[{FIRST},{SECOND}]").as_uri()
    desktop = (("project", project, DESKTOP, False), ("run", run, DESKTOP, True), ("compare", compared, LONG, False))
    for name, address, size, dark in desktop:
        browser.show(address, size, dark)
        save(f"report_{name}", browser.picture())
    for name, address in (("worst", f"{run}#worst"), ("sheet", f"{project}#sheet")):
        browser.show(address, PICTURES, dark=True)
        save(f"report_{name}", browser.picture(), colours=256)  # scans need greys beside the colours of labels
    phone = []
    for address, part, dark in ((project, "grids", True), (run, "curves", False), (compared, "spread", True)):
        browser.show(f"{address}#{part}", PHONE, dark, scale=1.5)
        phone.append(browser.picture())
    save("report_phone", *phone)


def mlflow(demo: Demo, browser: Browser) -> None:
    """MLflow's comparison of the two runs."""
    experiment, runs = demo.mlflow_ids()
    with demo.mlflow() as address:
        listed = quote(json.dumps(runs)), quote(json.dumps([experiment]))
        page = f"{address}/#/compare-runs?runs={listed[0]}&experiments={listed[1]}"
        browser.show(page, (1280, 1300), False, ready="document.body.innerText.includes('Show diff only')")
        browser.js(ONLY_WHAT_DIFFERS)
        time.sleep(30)  # charts come after tables
        save("mlflow_compare", browser.picture())


def terminal(demo: Demo, browser: Browser) -> None:
    """Commands as a terminal shows them."""
    from rich.console import Console
    from rich.text import Text

    commands = {
        "terminal_help": ("--help",),
        "terminal_status": ("project", "status", "project=demo"),
        "terminal_dry_run": ("train", "project=demo", "plan=plan1", "spacing=[2,2,3]", "model=segresnet", "--dry-run"),
    }
    for name, arguments in commands.items():
        said = demo.terminal(*arguments, columns=COLUMNS)
        console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
        console.print(Text(f"$ fran {shlex.join(arguments)}", style="bold"), soft_wrap=False)
        console.print(Text.from_ansi(said.rstrip()))
        svg = console.export_svg(title="fran", unique_id=name)
        path = ASSETS / f"{name}.svg"
        path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} kB\n")


PARTS: dict[str, Callable[[Demo, Browser], None]] = {"pages": pages, "mlflow": mlflow, "terminal": terminal}


def main() -> None:
    """Make the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "screenshots", help="folder of the demo project")
    parser.add_argument("parts", nargs="*", metavar="NAME", help=f"some of {', '.join(PARTS)}; all without any")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such pictures: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        parser.error("expected chromium or google-chrome on the PATH, found neither; apt install chromium")
    home = arguments.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    demo = Demo(home)
    demo.make()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(program, Path(folder))
        try:
            for name in arguments.parts or PARTS:
                PARTS[name](demo, browser)
        finally:
            browser.close()


if __name__ == "__main__":
    main()
