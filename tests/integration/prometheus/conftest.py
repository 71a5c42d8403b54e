"""A real Prometheus on loopback, with our configuration and rules, that looks every second."""

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipt_platform.observe.scrape import prometheus_config
from tests.conftest import HANG

HERE = Path(__file__).parent
RULES = Path(__file__).parents[3] / "dashboards" / "prometheus" / "rules.yml"


@dataclass(frozen=True)
class Prometheus:
    """A server.

    Attributes:
        address: host and port.
        folder: of its configuration, with the files of its targets.
    """

    address: str
    folder: Path

    def ask(self, path: str, **query: str) -> Any:
        """What its API answers."""
        with urllib.request.urlopen(
            f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=30
        ) as answer:
            return json.load(answer)["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        return self.ask("query", query=expr)["result"]

    def watch(self, pool: str, address: str) -> None:
        """Have it look at one more target."""
        (self.folder / "targets" / f"{pool}.json").write_text(json.dumps([{"targets": [address]}]))

    def without_data(self, exprs: set[str]) -> set[str]:
        """Those that give no series, once all that will have given some."""
        end = time.monotonic() + HANG
        while missing := {expr for expr in exprs if not self.query(expr)}:
            if time.monotonic() > end:
                return missing
            exprs = missing
            time.sleep(0.5)
        return set()


@pytest.fixture
def prometheus(tmp_path) -> Iterator[Prometheus]:
    """A server that looks at nothing yet."""
    if shutil.which("prometheus") is None:
        pytest.skip("not installed: Prometheus (Debian's package prometheus)")
    config = prometheus_config()
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for scrape in config["scrape_configs"]:
        scrape["file_sd_configs"][0]["refresh_interval"] = "1s"
    (tmp_path / "targets").mkdir()
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(RULES, tmp_path)
    words = [f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    log = tmp_path / "prometheus.log"
    with log.open("wb") as said:
        process = subprocess.Popen(["prometheus", *words, "--web.listen-address=127.0.0.1:0"], stdout=said, stderr=said)
    try:
        yield Prometheus(_address(process, log), tmp_path)
    finally:
        process.terminate()
        process.wait()


def _address(process: subprocess.Popen, log: Path) -> str:
    """Where it listens, once it answers."""
    end = time.monotonic() + HANG
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r'msg="Listening on" address=(127\.0\.0\.1:\d+)', log.read_text())
        if found and "Server is ready" in log.read_text():
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"expected Prometheus to listen, found {log.read_text()}")


@pytest.fixture
def foreign() -> Iterator[str]:
    """Address of what Ray, node exporter and DCGM say, all in one."""

    class Recorded(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((HERE / "foreign.prom").read_bytes())

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Recorded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
