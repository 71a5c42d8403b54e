"""Pages without a browser: an application over a storage, and runs as training writes them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ipt_platform.observe.events import append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.web import statuses
from ipt_platform.web.app import create_app
from ipt_platform.web.security.users import add_user
from ipt_platform.web.settings import Settings

JOB = """apiVersion: ipt/v1
kind: train
name: {name}
seed: {seed}
model: {{backbone: iptv2-tiny, bias: {{rank: 4, targets: [output]}}}}
tasks: [denoise, deblur]
data: {{shards: "shards/*.tar"}}
train: {{stages: [{{steps: 200, patch: 48, images: 2}}]}}
"""

HTML = {"Accept": "text/html"}


def write_run(storage: Path, name: str, state: str = "running", steps: int = 3, **loss: float) -> RunDir:
    """A run that this process leads, or that has ended, with a report every ten steps and one evaluation."""
    run = create(storage, name)
    run.job.write_text(JOB.format(name="demo", seed=len(name)))
    append_event(run, "created", 0, kind="train", steps=200)
    attempt = run.new_attempt()
    append_event(run, "started", attempt, step=0)
    for step in range(10, 10 * steps + 1, 10):
        append_metrics(run, report(step, attempt, **loss))
    numbers = {"test": {"denoise": {"psnr": 28.514}, "deblur": {"psnr": 26.3}}}
    append_metrics(run, {"attempt": attempt, "step": 10 * steps, "evaluation": numbers})
    run.logs(attempt, 0).write_text("2026-11-26 10:00:00,000 INFO a: all is well\n2026-11-26 10:00:01,000 ERROR a: it broke\n")
    run.logs(attempt, "driver").write_text("ray says hello\n")
    if state != "running":
        append_event(run, state, attempt, step=10 * steps, reason=f"it {state}")
    return run


def write_commit(run: RunDir, step: int = 30) -> None:
    """A checkpoint, as far as a list looks at it."""
    folder = run.checkpoints / f"step-{step}"
    folder.mkdir(parents=True)
    (folder / "COMMIT").touch()


def report(step: int, attempt: int = 1, **loss: float) -> dict:
    return {
        "attempt": attempt, "step": step, "steps": 200, "stage": 0, "loss": loss or {"denoise": 1 / step, "deblur": 2 / step},
        "lr": 3e-4, "images_per_second": 33.25, "data_wait_share": 0.013, "eta_seconds": 187.0,
    }  # fmt: skip


def client_of(settings: Settings, **more) -> TestClient:
    return TestClient(create_app(settings), base_url="http://localhost", follow_redirects=False, **more)


@pytest.fixture(autouse=True)
def fresh(monkeypatch) -> None:
    """The list of runs is looked at anew for every request."""
    monkeypatch.setattr(statuses, "FRESH_SECONDS", -1.0)


@pytest.fixture
def storage(tmp_path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def client(storage) -> TestClient:
    """A browser of this machine, of a page without logins."""
    return client_of(Settings(str(storage)))


@pytest.fixture
def users(tmp_path) -> Path:
    return tmp_path / "users.toml"


@pytest.fixture
def tokens(users) -> dict[str, str]:
    """A token of each role."""
    return {role: add_user(users, f"{role}-ann", role) for role in ("viewer", "runner", "admin")}


@pytest.fixture
def guarded(storage, users, tokens) -> Callable[..., TestClient]:
    """A browser of a page with logins; logged in, if a role is given."""
    app = create_app(Settings(str(storage), users=users))

    def browse(role: str = "") -> TestClient:
        browser = TestClient(app, base_url="http://localhost", follow_redirects=False)
        if role:
            login(browser, tokens[role])
        return browser

    return browse


def login(browser: TestClient, token: str, **more: str):
    return browser.post("/login", data={"token": token, **more}, headers={"Origin": "http://localhost", **HTML})


def post(browser: TestClient, path: str, proof: str | None = None, origin: str = "http://localhost", **fields: str):
    """What a form of a page of ours does; the proof is that of the page unless another is given."""
    if proof is None:
        proof = proof_of(browser)
    return browser.post(path, data={"csrf": proof, **fields}, headers={"Origin": origin, **HTML})


def proof_of(browser: TestClient) -> str:
    return browser.get("/", headers=HTML).text.partition('name="csrf" content="')[2].partition('"')[0]
