"""The command line as a whole: what every command shares, what an error looks like, and the code it ends with."""

import json
import select
import signal
import subprocess
import sys
import tarfile

import pytest
from PIL import Image

from ipt_platform import __version__, errors
from ipt_platform.cli.main import main
from ipt_platform.errors import ExitCode, IptError
from ipt_platform.observe.events import append_event
from ipt_platform.observe.storage import create

WRONG_JOB = """\
apiVersion: ipt/v1
kind: train
name: wrong
model: {backbone: iptv2-tiny}
tasks: [denoice]
data: {shards: "nowhere/*.tar"}
train:
  stages: [{steps: 0, patch: 64, images: 4}]
"""


@pytest.fixture
def call(capsys):
    def run(*arguments) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command."""
        with pytest.raises(SystemExit) as end:
            main([str(each) for each in arguments])
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return run


@pytest.fixture
def run(tmp_path):
    run = create(tmp_path, "demo")
    append_event(run, "started", run.new_attempt(), step=0)
    run.logs(1, 0).write_text("first\n")
    return run


def test_the_version_is_that_of_the_package(call):
    assert call("--version") == (ExitCode.OK, f"ipt-platform {__version__}\n", "")


def test_every_command_explains_itself(call, commands):
    assert len(commands) > 10
    for words, command in commands.items():
        code, out, err = call(*words, "--help")

        assert (code, err) == (ExitCode.OK, ""), words
        assert f"Usage: {' '.join(['ipt-platform', *words])} " in out
        assert command.help
        assert all(parameter.help for parameter in command.params), words


def test_every_command_can_speak_json(commands):
    for words, command in commands.items():
        assert "--json" in [name for parameter in command.params for name in parameter.opts], words


def test_what_reads_prints_one_json_document_and_nothing_else(call, run, tmp_path):
    storage = ("--storage", tmp_path)
    job = tmp_path / "wrong.yaml"
    job.write_text(WRONG_JOB)

    documents = {}
    for words in (("ls", *storage), ("status", "demo", *storage), ("logs", "demo", *storage), ("schema", "task")):
        code, out, err = call(*words, "--json")
        assert (code, err) == (ExitCode.OK, ""), words
        documents[words[0]] = json.loads(out)
    code, out, err = call("validate", job, "--json")

    assert [each["run_id"] for each in documents["ls"]] == ["demo"]
    assert documents["status"]["state"] == "running"
    assert documents["logs"]["logs"][0]["lines"] == ["first"]
    assert documents["schema"]["title"] == "ipt-platform task"
    assert (code, err) == (ExitCode.USAGE, "")
    assert [problem["line"] for problem in json.loads(out)["problems"]] == [5, 6, 8]


def test_an_unknown_command_or_option_is_named(call):
    code, out, err = call("sumbit")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "sumbit" in err

    code, out, err = call("ls", "--colour")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "--colour" in err


def test_every_problem_of_a_file_has_a_line_of_its_own(call, tmp_path):
    job = tmp_path / "wrong.yaml"
    job.write_text(WRONG_JOB)

    code, out, err = call("validate", job)

    assert (code, out) == (ExitCode.USAGE, "")
    first, second, third = err.splitlines()
    assert first.startswith(f"error: {job}:5: tasks.0: unknown task 'denoice'")
    assert second.startswith(f"{job}:6: data.shards: ")
    assert third.startswith(f"{job}:8: train.stages.0.steps: ")


def test_a_message_cannot_steer_the_terminal(call, tmp_path):
    code, _, err = call("status", "no\x1b[2Jne [bold]", "--storage", tmp_path)

    assert code == ExitCode.NOT_FOUND
    assert "\x1b" not in err
    assert "[bold]" in err


def test_commands_end_with_the_code_of_what_went_wrong(call, run, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "broken.tar").write_bytes(b"no tar")

    def code_of(*words) -> int:
        return call(*words)[0]

    assert code_of("schema", "jbo") == ExitCode.USAGE
    assert code_of("data", "index", tmp_path / "broken.tar") == ExitCode.USAGE
    assert code_of("data", "pack", tmp_path / "photos", tmp_path / "out") == ExitCode.USAGE
    assert code_of("status", "demi", "--storage", tmp_path) == ExitCode.NOT_FOUND
    assert code_of("validate", tmp_path / "none.yaml") == ExitCode.NOT_FOUND
    assert code_of("logs", "demo", "--attempt", 7, "--storage", tmp_path) == ExitCode.NOT_FOUND
    assert code_of("data", "pack", tmp_path / "photos", tmp_path) == ExitCode.REFUSED


def test_every_error_has_a_code_of_the_table():
    kinds = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, IptError)}
    table = {name: code for name, code in vars(ExitCode).items() if name.isupper()}

    assert sorted(table.values()) == list(range(len(table)))
    assert {kind.exit_code for kind in kinds} == set(table.values()) - {ExitCode.OK, ExitCode.BUG}


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_ends_a_command_with_the_code_for_it(run, number, name):
    command = [sys.executable, "-c", "from ipt_platform.cli.main import main; main()", "logs", "--follow", "demo"]
    follower = subprocess.Popen(
        [*command, "--storage", run.path.parent], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with follower:
        assert follower.stdout and follower.stderr  # noqa: PT018
        assert select.select([follower.stdout], [], [], 60)[0], "it never showed the log"
        assert follower.stdout.readline() == "0 | first\n"
        follower.send_signal(number)
        code = follower.wait(60)
        said = follower.stderr.read()

    assert (code, said) == (ExitCode.CANCELLED, f"stopped by {name}\n")


def test_a_full_disk_is_told_in_a_sentence(tmp_path):
    """A limit on the size of files stands for the disk: the kernel refuses the write in the same way."""
    picture = tmp_path / "p.png"
    Image.effect_noise((64, 64), 50).convert("RGB").save(picture)
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for number in range(8):
            tar.add(picture, f"{number}.png")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (999, 999))"
    code = f"{limited}; from ipt_platform.cli.main import main; main()"
    command = [sys.executable, "-c", code, "data", "index", tmp_path / "0.tar"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == ExitCode.INFRASTRUCTURE, done.stderr
    assert done.stderr == "error: storage failed: File too large\n"
