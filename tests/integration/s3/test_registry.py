"""The registry on S3: the same as on a disk, with the bucket's conditional writes in the place of links."""

from datetime import UTC, datetime, timedelta

import pytest

from ipt_platform.errors import InfrastructureError, NotFoundError, RefusedError
from ipt_platform.registry.catalogue import SHEET, TaskView
from ipt_platform.registry.history import Change
from ipt_platform.registry.names import parse_reference
from ipt_platform.registry.promote import By, remove
from ipt_platform.registry.record import Signature, TaskRecord
from ipt_platform.registry.store import Registry, open_catalogue, open_registry
from ipt_platform.spec.task import parse_task

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TASK = "apiVersion: ipt/v1\nkind: task\nname: mine\ndescription: Mine.\nstage: downstream\ndegradation: {name: rain}\n"
CONTENTS = {SHEET: b"sheet", "pack/x.png": b"x" * 1000}


def record(version: int, owner: str = "anna") -> TaskRecord:
    return TaskRecord(
        id=f"{version:032x}",
        name="mine",
        version=version,
        owner=owner,
        created=NOW.isoformat(),
        signature=Signature(scale=1),
        task=parse_task(TASK, "mine.yaml"),
        sets=(),
        pairs=None,
    )


def change(view: TaskView, actor: str = "anna", **aliases: int) -> Change:
    what = {"action": "promote", "alias": "prod", "version": 1, "actor": actor, "time": NOW.isoformat()}
    return Change(**what, revision=view.revision + 1, aliases=aliases, removed=(), passed=())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Each test has a machine's cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def registry(store) -> Registry:
    """A registry with mine@1, which is prod."""
    registry = open_registry(store.url("team"), None)
    registry.add_version(record(1), CONTENTS)
    registry.add_change(registry.catalogue.view("mine"), change(registry.catalogue.view("mine"), prod=1))
    return registry


def test_what_was_stored_is_read_back_and_lies_where_the_page_says(registry, store):
    catalogue = open_catalogue(store.url("team"))

    version = catalogue.version("mine", catalogue.number(parse_reference("mine@prod")))
    assert version.record == record(1)
    assert {name: catalogue.read("mine", 1, version.seal, name) for name in CONTENTS} == CONTENTS
    assert [row.version for row in registry.index.rows()] == [1]
    own = "team/registry/tasks/mine/1"
    assert store.objects().keys() == {
        "team/registry/registry.json",
        "team/registry/tasks/mine/history/000001.json",
        *(f"{own}/{name}" for name in ("COMMIT", "task.json", *CONTENTS)),
    }
    with catalogue.files.local("tasks/mine/1") as folder:
        assert (folder / "pack/x.png").read_bytes() == CONTENTS["pack/x.png"]
    assert not folder.exists()


def test_a_bucket_without_a_registry_has_no_tasks(store):
    with pytest.raises(NotFoundError, match="no task 'mine' is registered in s3://"):
        open_catalogue(store.url("team")).known("mine")
    assert store.objects() == {}


def test_people_whose_machines_know_nothing_of_each_other_are_told_by_the_bucket(registry, store, tmp_path):
    view = registry.catalogue.view("mine")
    other = open_registry(store.url("team"), f"sqlite:///{tmp_path}/other.sqlite")
    other.add_version(record(2, "ben"), CONTENTS)
    other.add_change(view, change(view, "ben", prod=2))

    with pytest.raises(RefusedError, match="mine@2 was registered by ben"):
        registry.add_version(record(2, "anna"), {SHEET: b"others"})
    with pytest.raises(RefusedError, match="ben changed the aliases of mine"):
        registry.add_change(view, change(view, "anna", prod=1))
    assert registry.catalogue.version("mine", 2).record.owner == "ben"
    assert registry.catalogue.view("mine").aliases == {"prod": 2}
    registry.sync()
    assert (registry.index.rows(), registry.index.aliases()) == (other.index.rows(), other.index.aliases())


@pytest.mark.parametrize("fault", ["lose", "reset", "busy"])
def test_an_answer_that_gets_lost_is_no_other_s_work(registry, store, fault):
    store.proxy.fail_once(fault, lambda request: request.method == "PUT")

    registry.add_version(record(2), CONTENTS)
    registry.add_change(registry.catalogue.view("mine"), change(registry.catalogue.view("mine"), prod=2))

    assert registry.catalogue.known("mine").versions == (1, 2)
    assert registry.catalogue.known("mine").aliases == {"prod": 2}


def test_a_store_that_goes_away_at_any_request_leaves_nothing_half_there(registry, store):
    """Every request from the n-th on fails, for every n there is."""
    counts, number = set(), 1
    for left in range(100):
        number += 1
        store.proxy.requests.clear()
        store.proxy.fault = lambda request, left=left: "error" if len(store.proxy.requests) > left else ""
        try:
            registry.add_version(record(number), CONTENTS)
            done = True
        except InfrastructureError:
            done = False
        store.proxy.fault = lambda request: ""

        view = registry.catalogue.known("mine")
        counts.add(number in view.versions)
        assert not done or number in view.versions
        for each in view.versions:
            version = registry.catalogue.version("mine", each)
            assert [registry.catalogue.read("mine", each, version.seal, name) for name in version.seal.files]
        registry.sync()
        assert [row.version for row in registry.index.rows() if row.committed] == list(view.versions)
        number = view.next_version - 1
        if done:
            break

    assert done
    assert counts == {False, True}
    registry.rebuild(NOW + timedelta(days=2))
    assert registry.catalogue.view("mine").begun == ()


def test_a_version_is_removed_from_the_bucket_and_its_number_is_not_used_again(registry, store):
    registry.add_version(record(2), CONTENTS)

    remove(registry, parse_reference("mine@2"), By("anna", NOW, "wrong"))

    assert not [key for key in store.objects() if "/mine/2/" in key]
    assert registry.catalogue.known("mine").next_version == 3
    assert [row.version for row in registry.index.rows()] == [1]
    with pytest.raises(NotFoundError, match="mine@2 was removed"):
        registry.catalogue.number(parse_reference("mine@2"))
