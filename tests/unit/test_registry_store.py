"""Versions and changes as files: whole or not there, whoever is killed when, and the index that follows them."""

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ipt_platform.errors import DataError, InfrastructureError, NotFoundError, RefusedError, UsageError
from ipt_platform.registry.catalogue import SHEET, TaskView
from ipt_platform.registry.files import Files
from ipt_platform.registry.history import Change
from ipt_platform.registry.names import parse_reference
from ipt_platform.registry.record import Signature, TaskRecord, parse_record
from ipt_platform.registry.store import Registry, open_catalogue, open_registry
from ipt_platform.spec.task import parse_task

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TASK = "apiVersion: ipt/v1\nkind: task\nname: mine\ndescription: Mine.\nstage: downstream\ndegradation: {name: rain}\n"


def record(version: int, owner: str = "anna", created: datetime = NOW) -> TaskRecord:
    return TaskRecord(
        id=f"{version:032x}",
        name="mine",
        version=version,
        owner=owner,
        created=created.isoformat(),
        signature=Signature(scale=1),
        task=parse_task(TASK, "mine.yaml"),
        sets=(),
        pairs=None,
    )


def change(view: TaskView, actor: str = "anna", **aliases: int) -> Change:
    what = {"action": "promote", "alias": "prod", "version": 1, "actor": actor, "time": NOW.isoformat()}
    return Change(**what, revision=view.revision + 1, aliases=aliases, removed=(), passed=())


@pytest.fixture
def registry(tmp_path) -> Registry:
    """A registry with mine@1, which is prod."""
    registry = open_registry(tmp_path / "runs", None)
    registry.add_version(record(1), {SHEET: b"sheet", "pack/x.png": b"x"})
    registry.add_change(registry.catalogue.view("mine"), change(registry.catalogue.view("mine"), prod=1))
    return registry


def test_what_was_stored_is_read_back_by_whoever_opens_the_storage(registry, tmp_path):
    catalogue = open_catalogue(tmp_path / "runs")

    found = catalogue.version("mine", catalogue.number(parse_reference("mine@prod")))
    assert found.record == record(1)
    assert catalogue.read("mine", 1, found.seal, SHEET) == b"sheet"
    assert not found.has_pack
    assert catalogue.tasks() == ["mine"]
    assert catalogue.known("mine").next_version == 2


def test_a_version_is_never_written_over_and_both_sides_are_told_apart(registry):
    with pytest.raises(RefusedError, match=r"mine@1 was registered by anna at 2026.*nothing was stored"):
        registry.add_version(record(1, "ben"), {SHEET: b"other"})

    assert registry.catalogue.version("mine", 1).record.owner == "anna"


def test_two_with_an_index_of_their_own_each_are_told_by_the_files(registry, tmp_path):
    other = open_registry(tmp_path / "runs", f"sqlite:///{tmp_path}/other.sqlite")

    with pytest.raises(RefusedError, match="mine@1 was registered by anna"):
        other.add_version(record(1, "ben"), {})
    other.add_version(record(2, "ben"), {})
    assert [(row.version, row.owner) for row in other.index.rows()] == [(1, "anna"), (2, "ben")]
    registry.sync()
    assert registry.index.rows() == other.index.rows()


def test_a_change_on_ground_that_has_shifted_is_refused_by_name(registry):
    view = registry.catalogue.view("mine")
    registry.add_change(view, change(view, "ben", prod=1, mine=1))

    with pytest.raises(RefusedError, match=r"ben changed the aliases of mine \(promote"):
        registry.add_change(view, change(view, "cleo", prod=1, other=1))
    assert registry.catalogue.view("mine").aliases == {"prod": 1, "mine": 1}


def test_names_that_are_not_there_are_told_with_their_neighbours(registry):
    catalogue = registry.catalogue
    for text, told in {
        "nine": "did you mean 'mine'",
        "mine@prodd": "did you mean 'prod'",
        "mine@7": "there are the versions 1",
    }.items():
        with pytest.raises(NotFoundError, match=told):
            catalogue.number(parse_reference(text))


def test_a_registry_that_is_not_there_has_no_tasks_and_reading_makes_none(tmp_path):
    catalogue = open_catalogue(tmp_path / "runs")

    assert catalogue.tasks() == []
    with pytest.raises(NotFoundError, match="task register FILE"):
        catalogue.known("mine")
    with pytest.raises(NotFoundError, match="task register FILE"):
        open_registry(tmp_path / "runs", None, new=False)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["task.json", "COMMIT", "sheet.png"])
def test_damage_is_told_by_file_and_never_read(registry, name):
    path = Path(str(registry.files.at(f"tasks/mine/1/{name}")))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(DataError, match=r"damaged"):
        registry.catalogue.read("mine", 1, registry.catalogue.version("mine", 1).seal, SHEET)


def test_records_of_other_formats_are_refused_in_words():
    for data, told in {
        b'{"format": "ipt-task/2"}': "expected format ipt-task/1, found 'ipt-task/2'",
        b"[]": "not a record",
        b"\xff": "not a record",
        b"[" * 10_000: "not a record",
        json.dumps({**json.loads(record(1).to_bytes()), "owner": ""}).encode(): "owner",
    }.items():
        with pytest.raises(DataError, match=told):
            parse_record(data, "task.json")
    assert parse_record(record(1).to_bytes(), "task.json") == record(1)


def test_the_index_is_made_anew_from_the_files_whatever_happened_to_it(registry, tmp_path):
    registry.add_version(record(2), {SHEET: b"sheet"})
    rows, aliases = registry.index.rows(), registry.index.aliases()
    index = tmp_path / "runs/registry/index.sqlite"
    for damage in (lambda: index.unlink(), lambda: index.write_bytes(b"no database" * 999), lambda: forget(index)):
        damage()
        again = open_registry(tmp_path / "runs", None)

        assert again.rebuild(NOW) == ([], [])
        assert (again.index.rows(), again.index.aliases()) == (rows, aliases)


def forget(index: Path) -> None:
    with sqlite3.connect(index) as connection:
        connection.execute("update ipt_versions set task = 'other', owner = 'nobody'")
        connection.execute("delete from ipt_aliases")


def test_one_database_serves_several_registries(registry, tmp_path):
    url = f"sqlite:///{tmp_path}/shared.sqlite"
    first, second = open_registry(tmp_path / "runs", url), open_registry(tmp_path / "more", url)
    second.add_version(record(1, "ben"), {})
    first.sync()

    assert [row.owner for row in first.index.rows()] == ["anna"]
    second.rebuild(NOW)
    assert [row.owner for row in first.index.rows()] == ["anna"]
    assert [row.owner for row in second.index.rows()] == ["ben"]


def test_a_damaged_version_is_left_out_of_the_index_and_named(registry):
    registry.add_version(record(2), {})
    Path(str(registry.files.at("tasks/mine/2/task.json"))).write_bytes(b"{}")

    damaged, _ = registry.rebuild(NOW)

    (said,) = damaged
    assert "mine/2/task.json" in said
    assert [row.version for row in registry.index.rows()] == [1]


def test_what_was_begun_is_cleared_away_after_a_day_and_its_number_stays_unused_until_then(registry):
    for version, age in ((2, timedelta(days=2)), (3, timedelta(hours=1))):
        registry.files.create(f"tasks/mine/{version}/task.json", record(version, created=NOW - age).to_bytes())
    assert registry.catalogue.view("mine").versions == (1,)
    assert registry.catalogue.view("mine").next_version == 4

    _, cleared = registry.rebuild(NOW)

    assert cleared == ["tasks/mine/2"]
    assert registry.catalogue.view("mine").begun == (3,)


def test_something_else_in_the_place_of_a_registry_is_refused(tmp_path):
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry/registry.json").write_text('{"format": "npm"}')

    with pytest.raises(DataError, match="expected format ipt-registry/1, found 'npm'"):
        open_registry(tmp_path, None)


@pytest.mark.parametrize("url", ["mysql://a:secret@b/c", "secret", "postgresql://", "sqlite://", "oracle://a:secret@b/c"])
def test_a_url_of_no_database_is_refused_without_repeating_a_password(tmp_path, url):
    with pytest.raises(UsageError, match="expected postgresql://") as caught:
        open_registry(tmp_path, url)

    assert "secret" not in str(caught.value)


def test_a_database_that_is_not_there_is_told_with_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    registry = open_registry(tmp_path / "runs", f"sqlite:///{tmp_path}/file/index.sqlite")

    with pytest.raises(InfrastructureError):
        registry.sync()


# Killed with SIGKILL before the n-th call to the operating system, and before every commit of the index, for every n there is.


def killed_before(seam: int, action: Callable[[], object]) -> bool:
    """Do something in a process of its own that is killed at a seam; False where it has no such seam and came to its end."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    left = seam

    def arrive(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("open", "fsync", "link", "unlink", "mkdir"):
        call = getattr(os, name)
        setattr(os, name, lambda *given, call=call, **named: (arrive(), call(*given, **named))[1])
    event.listen(Engine, "begin", arrive)
    event.listen(Engine, "commit", arrive)
    code = 1
    try:
        action()
        code = 0
    finally:
        os._exit(code)


def seams_of(source: Path, folder: Path, action: Callable[[Registry], object]):
    """A copy of a storage for every seam of an action, in which it was killed there."""
    for seam in range(1000):
        storage = folder / str(seam)
        shutil.copytree(source, storage)
        if not killed_before(seam, lambda at=storage: action(open_registry(at, None))):
            assert seam > 10
            return
        yield storage
        shutil.rmtree(storage)
    raise AssertionError("it never came to its end")


def test_a_version_whose_writer_is_killed_at_any_seam_is_whole_or_does_not_count(registry, tmp_path):
    counts = set()
    for storage in seams_of(
        tmp_path / "runs", tmp_path / "seams", lambda own: own.add_version(record(2), {SHEET: b"sheet", "pack/x.png": b"x"})
    ):
        again = open_registry(storage, None)
        view = again.catalogue.known("mine")
        counts.add(len(view.versions))
        for number in view.versions:
            found = again.catalogue.version("mine", number)
            assert [again.catalogue.read("mine", number, found.seal, name) for name in found.seal.files]
        again.sync()
        assert [row.version for row in again.index.rows() if row.committed] == list(view.versions)
        assert view.aliases == {"prod": 1}

        number = view.next_version
        again.add_version(record(number), {SHEET: b"next"})
        assert again.catalogue.known("mine").versions == (*view.versions, number)
        again.rebuild(datetime.now(UTC) + timedelta(days=3))
        assert again.catalogue.view("mine").begun == ()
        assert not list(Path(storage).rglob(".*"))

    assert counts == {1, 2}


def test_a_change_whose_writer_is_killed_at_any_seam_is_there_with_its_history_or_not_at_all(registry, tmp_path):
    registry.add_version(record(2), {SHEET: b"sheet"})
    pointing = set()
    for storage in seams_of(
        tmp_path / "runs",
        tmp_path / "seams",
        lambda own: own.add_change(own.catalogue.view("mine"), change(own.catalogue.view("mine"), prod=2)),
    ):
        again = open_registry(storage, None)
        view = again.catalogue.known("mine")
        pointing.add(view.aliases["prod"])
        assert [each.aliases["prod"] for each in again.catalogue.changes("mine")] == [1, 2][: view.revision]

        again.add_change(view, change(view, prod=1, after=2))
        assert again.catalogue.view("mine").aliases == {"prod": 1, "after": 2}
        assert again.index.aliases() == [("mine", "after", 2), ("mine", "prod", 1)]

    assert pointing == {1, 2}


def test_files_are_created_whole_and_once(tmp_path):
    files = Files(tmp_path)

    assert files.create("a/b/c.json", b"one")
    assert files.create("a/b/c.json", b"one")  # what is there says the same
    assert not files.create("a/b/c.json", b"two")
    assert files.read("a/b/c.json") == b"one"
    assert files.names("a") == ["a/b/c.json"]
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["c.json"]
    files.remove(["a/b/c.json", "a/b/c.json"])
    assert files.names("a") == files.names("nowhere") == []
