"""A disk that is full, and has room again later: exit code 6, one sentence, and the run goes on."""

import subprocess

import pytest

from ipt_platform.observe.events import read_events
from ipt_platform.observe.rundir import RunDir

pytestmark = pytest.mark.slow

SUBMIT = "ipt-platform submit job.yaml --run full --set storage=small"

# One checkpoint fits, a second one beside it does not.
SCRIPT = f"""
mkdir small
mount -t tmpfs -o size=2000k tmpfs small
set +e
{SUBMIT} 2> first.err
echo $? > first.code
mount -o remount,size=500m small
{SUBMIT} 2> second.err
echo $? > second.code
cp -r small/full runs/full
"""


def in_namespace(script: str) -> list[str]:
    """A shell that may mount, for itself alone."""
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", script]


@pytest.fixture
def may_mount() -> None:
    try:
        subprocess.run(in_namespace("mount -t tmpfs tmpfs /mnt"), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting needs rights that this machine does not give")


@pytest.mark.usefixtures("may_mount")
def test_a_disk_that_is_full_costs_a_checkpoint_and_no_more(workplace, as_if_undisturbed):
    (workplace.folder / "runs").mkdir(exist_ok=True)
    path = f"{workplace.program.parent}:{workplace.environment['PATH']}"

    subprocess.run(
        in_namespace(SCRIPT),
        cwd=workplace.folder,
        env=workplace.environment | {"PATH": path},
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )

    first, second = ((workplace.folder / f"{name}.err").read_text() for name in ("first", "second"))
    assert (workplace.folder / "first.code").read_text() == "6\n", first
    *_, error = first.splitlines()
    assert error.startswith("error: ")
    assert "storage failed: No space left on device" in error
    assert error.endswith(f"; go on with: {SUBMIT}")
    assert "Traceback" not in first
    assert (workplace.folder / "second.code").read_text() == "0\n", second
    run = RunDir(workplace.folder / "runs" / "full")
    told = [event["type"] for event in read_events(run) if event["attempt"] == 1]
    assert told.count("started") == 1  # new workers would find the disk as full
    assert told[-1] == "failed"
    assert [event["step"] for event in read_events(run) if event["type"] == "resumed"] == [3]
    as_if_undisturbed(run, attempts=2)
    assert workplace.ray_folders() == []


def test_a_storage_that_takes_nothing_is_told_before_anything_starts(workplace):
    run = workplace.run("nothing")
    run.path.mkdir(parents=True)
    run.events.symlink_to("/dev/full")

    command = workplace.submit("nothing")

    assert command.process.returncode == 6
    assert command.stdout == ""
    assert command.stderr == "error: runs: storage failed: No space left on device\n"
