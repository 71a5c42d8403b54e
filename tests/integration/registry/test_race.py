"""Several people at once, each a process: one wins, the others are told, and nobody's work is lost or mixed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipt_platform.errors import InfrastructureError
from ipt_platform.registry.catalogue import SHEET
from ipt_platform.registry.store import Registry, open_registry

PERSON = """
import json, os, sys
from datetime import UTC, datetime
from ipt_platform.errors import IptError
from ipt_platform.registry.catalogue import SHEET
from ipt_platform.registry.history import Change
from ipt_platform.registry.record import Signature, TaskRecord
from ipt_platform.registry.store import open_registry
from ipt_platform.spec.task import parse_task

storage, database, name = sys.argv[1:]
now = datetime(2026, 1, 2, tzinfo=UTC).isoformat()

def look(task):
    return open_registry(storage, database), open_registry(storage, database).catalogue.view(task)

def register(registry, view):
    text = f"apiVersion: ipt/v1\\nkind: task\\nname: {view.name}\\ndescription: d\\nstage: downstream\\ndegradation: rain\\n"
    number = view.next_version
    record = TaskRecord(
        id=os.urandom(16).hex(), name=view.name, version=number, owner=name, created=now,
        signature=Signature(scale=1), task=parse_task(text, "f"), sets=(), pairs=None,
    )
    registry.add_version(record, {SHEET: name.encode(), f"pack/{name}": b"x"})
    return number

def promote(registry, view):
    known = {"removed": view.removed, "passed": view.passed, "actor": name, "time": now, "reason": None}
    pointing = {**view.aliases, "prod": 1, name: 1}
    change = Change(action="promote", alias="prod", version=1, revision=view.revision + 1, aliases=pointing, **known)
    registry.add_change(view, change)
    return change.revision

registry, view, action = None, None, None
for line in sys.stdin:
    words = line.split()
    if words[0] == "look":
        registry, view = look(words[2])
        action = {"register": register, "promote": promote}[words[1]]
        print("looked", flush=True)
    elif words[0] == "go":
        try:
            print(json.dumps(["won", action(registry, view)]), flush=True)
        except IptError as error:
            print(json.dumps([error.exit_code, str(error)]), flush=True)
    elif words[0] == "stop":  # in the middle of the transaction that decides
        with registry.index.claim_version(view.name, view.next_version):
            print("holding", flush=True)
            sys.stdin.readline()
"""


class Person:
    """A process that looks at a task, and acts on what it saw when it is told."""

    def __init__(self, storage: Path, database: str, name: str):
        self.name = name
        words = [sys.executable, "-c", PERSON, str(storage), database, name]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


@pytest.fixture
def people(tmp_path, database) -> Iterator[list[Person]]:
    found = [Person(tmp_path / "runs", database, name) for name in ("anna", "ben", "cleo")]
    yield found
    for each in found:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def registry(tmp_path, database) -> Callable[[], Registry]:
    return lambda: open_registry(tmp_path / "runs", database)


def at_once(people: list[Person], action: str, tasks: list[str]) -> list[Any]:
    """What becomes of everybody who looks, and then acts at the same time."""
    for each, task in zip(people, tasks, strict=True):
        each.tell(f"look {action} {task}")
    assert [each.answer() for each in people] == ["looked"] * len(people)
    for each in people:
        each.tell("go")
    return [json.loads(each.answer()) for each in people]


def test_of_those_who_register_at_once_one_wins_and_the_others_are_told_by_whom(people, registry):
    for number in range(1, 9):
        answers = at_once(people, "register", ["mine"] * 3)

        (winner,) = [each.name for each, answer in zip(people, answers, strict=True) if answer == ["won", number]]
        others = [answer for answer in answers if answer[0] != "won"]
        assert [code for code, _ in others] == [4, 4]
        assert all(f"mine@{number} was registered by {winner}" in said for _, said in others)
        catalogue = registry().catalogue
        version = catalogue.version("mine", number)
        assert (version.record.owner, set(version.seal.files)) == (winner, {"task.json", SHEET, f"pack/{winner}"})
        assert catalogue.read("mine", number, version.seal, SHEET).decode() == winner
    rows = registry().index.rows()
    assert [(row.version, row.committed) for row in rows] == [(number, True) for number in range(1, 9)]


def test_of_those_who_promote_at_once_one_wins_and_nobody_s_alias_is_lost(people, registry):
    at_once(people[:1], "register", ["mine"])
    winners = set()
    for revision in range(1, 9):
        answers = at_once(people, "promote", ["mine"] * 3)

        (winner,) = [each.name for each, answer in zip(people, answers, strict=True) if answer == ["won", revision]]
        winners.add(winner)
        told = [said for code, said in answers if code == 4]
        assert len(told) == 2
        assert all(f"{winner} changed the aliases of mine" in said for said in told)
        assert registry().catalogue.view("mine").aliases.keys() == {"prod", *winners}
    assert [change.revision for change in registry().catalogue.changes("mine")] == list(range(1, 9))
    assert {alias for _, alias, _ in registry().index.aliases()} == {"prod", *winners}


def test_people_with_tasks_of_their_own_are_not_in_each_other_s_way(people, registry):
    for number in range(1, 4):
        assert at_once(people, "register", ["one", "two", "three"]) == [["won", number]] * 3
    assert len(registry().index.rows()) == 9


def test_who_is_killed_while_holding_a_number_leaves_it_to_the_next(people, registry):
    stopped, other = people[:2]
    stopped.tell("look register mine")
    stopped.tell("stop")
    assert [stopped.answer(), stopped.answer()] == ["looked", "holding"]
    os.kill(stopped.process.pid, signal.SIGKILL)
    stopped.process.wait()

    assert at_once([other], "register", ["mine"]) == [["won", 1]]
    assert [row.version for row in registry().index.rows()] == [1]


def test_a_server_that_is_gone_is_told_without_its_password(postgresql, tmp_path):
    gone = postgresql.rpartition(":")[0] + ":1/registry"

    with pytest.raises(InfrastructureError, match=r"index of the registry at postgresql.*registry rebuild") as caught:
        open_registry(tmp_path / "runs", gone).sync()
    assert "password-of-a-test" not in str(caught.value)
