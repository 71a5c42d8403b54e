"""The archive of a run: what is in it, that no planted secret is, that it is the same twice and replaces nothing."""

import functools
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from ipt_platform.errors import InfrastructureError, RefusedError
from ipt_platform.observe.bundle import ATTEMPTS, MEMBERS, OF_A_MEMBER, Bounds, write_bundle
from ipt_platform.observe.events import append_event
from ipt_platform.observe.machine import gpus, machine_facts, package_versions
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.redact import MASK, redact
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create

PLANTED = {
    "assigned": "made-up-0001-password",
    "bearer": "made-up-0002-bearer",
    "url": "made-up-0003-user",
    "variable": "made-up-0004-variable",
    "signature": "made-up-0005-signature",
    "key": "TWFkZSB1cCAwMDA2IHByaXZhdGUga2V5",
    "aws": "AKIAMADEUP0000000007",
}
TEXT = (
    f"2026-11-26 11:00:00,000 INFO m: db_password={PLANTED['assigned']} Authorization: Bearer {PLANTED['bearer']}\n"
    f"https://{PLANTED['url']}@example.test/x saw {PLANTED['variable']} and https://example.test/a?sig={PLANTED['signature']}&b\n"
    f"-----BEGIN PRIVATE KEY-----\n{PLANTED['key']}\n-----END PRIVATE KEY-----\n{PLANTED['aws']}\n"
)
DIGEST = "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"


def fill(run: RunDir) -> None:
    """Every file of a run that is text, each with everything that is secret."""
    append_event(run, "created", 0, kind="train", steps=10)
    attempt = run.new_attempt()
    append_metrics(run, {"attempt": attempt, "step": 10, "steps": 10, "loss": {"denoise": 0.05}, "note": TEXT})
    checkpoint = run.checkpoints / "step-10"
    checkpoint.mkdir(parents=True)
    (checkpoint / "MANIFEST.json").write_text(json.dumps({"step": 10, "files": {"model.safetensors": {"sha256": DIGEST}}}))
    (checkpoint / "COMMIT").write_text("{}")
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    ray = run.logs(attempt, "driver").parent / "ray" / "events"
    ray.mkdir(parents=True)
    for path in (run.job, run.report, run.stop, run.logs(attempt, 0), run.logs(attempt, "driver"), ray / "raylet.out"):
        path.write_text(TEXT)
    run.stop.write_text(json.dumps({"attempt": attempt, "reason": TEXT}))
    append_event(run, "failed", attempt, step=10, reason=TEXT)


def unpack(path: Path) -> dict[str, str]:
    with tarfile.open(path, "r:gz") as tar:
        members = tar.getmembers()
        assert all(member.isreg() and not member.mtime and not member.uid for member in members)
        return {member.name: file.read().decode() for member in members if (file := tar.extractfile(member))}


def pack(run: RunDir, out: Path) -> dict[str, str]:
    write_bundle(run, out, functools.partial(redact, secrets=[PLANTED["variable"]]))
    return unpack(out)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = create(tmp_path / "runs", "demo")
    fill(run)
    return run


def test_it_holds_what_the_run_said_and_how_it_stands(run: RunDir, tmp_path: Path):
    files = pack(run, tmp_path / "a.tar.gz")

    own = ["attempts/1", "checkpoints/step-10/COMMIT", "checkpoints/step-10/MANIFEST.json", "events.jsonl", "job.yaml",
           "logs/1/0.log", "logs/1/driver.log", "logs/1/ray/events/raylet.out", "metrics.jsonl",
           "report.json", "stop.json"]  # fmt: skip
    facts = ["machine.json", "packages.json", "status.json"]
    assert list(files) == [f"demo/{name}" for name in (*facts, *(f"run/{name}" for name in own), "contents.json")]
    assert json.loads(files["demo/status.json"])["state"] == "failed"
    assert json.loads(files["demo/packages.json"])["torch"]
    assert DIGEST in files["demo/run/checkpoints/step-10/MANIFEST.json"]
    contents = json.loads(files["demo/contents.json"])
    assert {each["name"]: each["bytes"] for each in contents} == {
        name.removeprefix("demo/"): len(text.encode()) for name, text in files.items() if not name.endswith("contents.json")
    }


@pytest.mark.parametrize("secret", PLANTED)
def test_no_secret_is_told_in_any_file(run: RunDir, tmp_path: Path, secret: str):
    files = pack(run, tmp_path / "a.tar.gz")

    assert [name for name, text in files.items() if PLANTED[secret] in text] == []
    for name in ("job.yaml", "events.jsonl", "metrics.jsonl", "logs/1/0.log", "logs/1/ray/events/raylet.out", "stop.json"):
        assert MASK in files[f"demo/run/{name}"], "it was planted there"
    for line in files["demo/run/events.jsonl"].splitlines():
        assert json.loads(line)["type"]


def test_the_same_run_gives_the_same_bytes(run: RunDir, tmp_path: Path):
    pack(run, tmp_path / "a.tar.gz")
    pack(run, tmp_path / "b.tar.gz")

    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


def test_nothing_is_written_over_and_nothing_left_behind(run: RunDir, tmp_path: Path):
    out = tmp_path / "out" / "a.tar.gz"
    with pytest.raises(InfrastructureError, match="storage failed"):
        pack(run, out)
    out.parent.mkdir()
    out.write_text("mine")
    with pytest.raises(RefusedError, match="exists, and nothing is written over"):
        pack(run, out)
    dangling = out.with_name("b.tar.gz")
    dangling.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match="exists"):
        pack(run, dangling)

    def appears(text: str) -> str:
        out.with_name("c.tar.gz").write_text("theirs")
        return text

    with pytest.raises(RefusedError, match="exists"):
        write_bundle(run, out.with_name("c.tar.gz"), appears)

    assert out.read_text() == "mine"
    assert out.with_name("c.tar.gz").read_text() == "theirs"
    assert not (tmp_path / "elsewhere").exists()
    assert sorted(path.name for path in out.parent.iterdir()) == ["a.tar.gz", "b.tar.gz", "c.tar.gz"]


def test_of_long_files_there_is_the_end_in_whole_lines(run: RunDir, tmp_path: Path):
    lines = [f"line {number:06}" for number in range(200_000)]
    run.logs(1, 0).write_text("\n".join(lines) + "\n")

    files = pack(run, tmp_path / "a.tar.gz")

    kept = files["demo/run/logs/1/0.log"].splitlines()
    assert kept == lines[-len(kept) :]
    assert Bounds().log - 12 <= len(kept) * 12 <= Bounds().log
    (entry,) = [each for each in json.loads(files["demo/contents.json"]) if each["name"] == "run/logs/1/0.log"]
    assert (entry["bytes"], entry["of"]) == (len(kept) * 12, 200_000 * 12)


def test_a_key_that_is_cut_by_the_bound_is_not_told(run: RunDir, tmp_path: Path):
    body = [f"{number:06}" + "A" * 58 for number in range(60)]
    key = "\n".join(["-----BEGIN RSA PRIVATE KEY-----", *body, "-----END RSA PRIVATE KEY-----"])
    words = "a word and another\n"
    run.logs(1, 0).write_text("x\n" * 99 + key + "\n" + words * ((Bounds().log - 2000) // len(words)))

    kept = pack(run, tmp_path / "a.tar.gz")["demo/run/logs/1/0.log"]

    assert kept.startswith(MASK)
    assert [line for line in body if line in kept] == []


def test_logs_of_the_last_attempts_and_no_links(run: RunDir, tmp_path: Path):
    for _ in range(4):
        run.logs(run.new_attempt(), 0).write_text("here\n")
    (tmp_path / "other").write_text("not of the run\n")
    (run.logs(5, 1)).symlink_to(tmp_path / "other")

    files = pack(run, tmp_path / "a.tar.gz")

    logs = sorted(name.removeprefix("demo/run/logs/") for name in files if "/logs/" in name)
    assert logs == [f"{attempt}/0.log" for attempt in range(6 - ATTEMPTS, 6)]


def test_the_jobs_of_a_search_are_in_it_with_less(run: RunDir, tmp_path: Path):
    for number in range(MEMBERS + 2):
        member = RunDir(run.members / f"trial-{number:03}")
        member.path.mkdir(parents=True)
        append_event(member, "created", 0, kind="train", reason="x" * (OF_A_MEMBER.lines if number == 3 else 10))
    fill(member)
    (run.path / "trials.jsonl").write_text('{"trial": 0}\n')
    (run.members / "registry").mkdir()

    files = pack(run, tmp_path / "a.tar.gz")

    assert files["demo/run/trials.jsonl"] == '{"trial": 0}\n'
    names = {name.split("/")[3] for name in files if name.startswith("demo/run/runs/")}
    assert names == {f"trial-{number:03}" for number in range(2, MEMBERS + 2)}
    assert files["demo/run/runs/trial-003/events.jsonl"] == "", "its only line is longer than the bound"
    last = [name.rpartition("trial-051/")[2] for name in files if "trial-051" in name]
    assert "logs/1/0.log" in last
    assert not [name for name in last if "ray" in name]


def test_the_command_takes_out_what_its_environment_says_is_secret(run: RunDir, tmp_path: Path):
    program = [sys.executable, "-c", "from ipt_platform.cli.main import main; main()", "bundle"]
    environment = {"DB_PASSWORD": PLANTED["variable"], "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *arguments], cwd=run.path, env=environment, capture_output=True, text=True, check=False
        )

    done = command(".", "-o", "../x.tar.gz", "--json")
    wrong, again = command(".", "-o", "x.zip"), command(".", "-o", "../x.tar.gz")

    assert done.returncode == 0, done.stderr
    files = unpack(run.path.parent / "x.tar.gz")
    assert {name.split("/")[0] for name in files} == {"demo"}
    assert not [text for text in files.values() if PLANTED["variable"] in text]
    assert json.loads(done.stdout)["bytes"] == (run.path.parent / "x.tar.gz").stat().st_size
    assert (wrong.returncode, again.returncode) == (2, 4)


def test_facts_of_the_machine(tmp_path: Path):
    for number, name in enumerate(("NVIDIA A100-SXM4-80GB", "NVIDIA H100")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "information").write_text(f"Model: \t\t {name}\nIRQ:   \t\t 33\nGPU UUID: \t GPU-1\n")

    facts = machine_facts()

    assert gpus(tmp_path) == ["NVIDIA A100-SXM4-80GB", "NVIDIA H100"]
    assert gpus(tmp_path / "none") == []
    assert facts["cores"] >= 1
    assert facts["memory"] > 1 << 28
    assert list(package_versions()) == sorted(package_versions(), key=str.lower)
    assert io.StringIO(json.dumps(facts)).read()
