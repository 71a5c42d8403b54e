"""Tasks on the page: what is registered, with versions, gates, aliases and sheets, whatever stands in it."""

import pytest

from ipt_platform.registry.catalogue import SHEET, TASKS
from ipt_platform.registry.store import Registry, open_registry
from tests.integration.web.conftest import HTML
from tests.registered import add, png, point

HOSTILE = "<script>alert(1)</script>{{7*7}}"


@pytest.fixture
def registry(storage) -> Registry:
    registry = open_registry(storage, None)
    add(registry, "my-derain", 1, psnr=31.25)
    add(registry, "my-derain", 2, psnr=29.5, description=HOSTILE)
    point(registry, "my-derain", "prod", 1, HOSTILE)
    add(registry, "untrained", 1)
    return registry


def page(client, path: str, status: int = 200) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == status, answer.text
    assert HOSTILE not in answer.text
    assert "49</td>" not in answer.text  # {{7*7}}
    return answer.text


def test_without_a_registry_the_tasks_that_ship_are_shown_and_nothing_is_made(client, storage):
    text = page(client, "/tasks")

    assert "No task is registered" in text
    assert '<th scope="row">derain</th>' in text
    assert list(storage.iterdir()) == []


def test_the_list_shows_the_numbers_of_what_people_restore_with(client, registry):
    text = page(client, "/tasks")

    row = text.partition('href="/tasks/my-derain"')[2].partition("</tr>")[0]
    assert "Takes rain away." in row  # of version 1, which is prod; the newest says something else
    assert "prod&nbsp;→&nbsp;1" in row
    assert "+8.75" in row
    assert "31.25" in row
    assert "passed" in row
    assert 'href="/tasks/untrained"' in text


def test_a_task_shows_every_version_and_who_moved_its_aliases(client, registry):
    text = page(client, "/tasks/my-derain")

    second, first = (part.partition("</tr>")[0] for part in text.split('href="/tasks/my-derain/')[1:3])
    assert "missed" in second
    assert "29.50" in second
    assert "prod" in first
    assert "rain-run" in first
    assert "bert" in text
    assert "prod -&gt; 1: &lt;script&gt;" in text
    assert '<option value="2" selected>' in text


def test_a_version_shows_gates_record_and_pictures_with_their_own_bytes(client, registry):
    text = page(client, "/tasks/my-derain/2")

    assert "Gate missed: psnr on rainy: 29.50 dB, the gate asks for 30" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}}" in text
    assert "get rid of my rain" in text
    for name, data in ((SHEET, png(2)), ("pack/after.png", png(99))):
        assert f'src="/tasks/my-derain/2/{name}"' in text
        answer = client.get(f"/tasks/my-derain/2/{name}")
        assert (answer.headers["content-type"], answer.content) == ("image/png", data)


@pytest.mark.parametrize(
    "path",
    ["/tasks/none", "/tasks/my-derain@1", "/tasks/MY", "/tasks/my-derain/3", "/tasks/my-derain/-1", "/tasks/my-derain/1/COMMIT",
     "/tasks/my-derain/1/pack/bias.json", "/tasks/my-derain/1/..%2F2%2Fsheet.png",
     "/tasks/my-derain/difference?before=1&after=x"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(client, registry, path):
    page(client, path, 404)


def test_two_versions_are_compared(client, registry):
    text = page(client, "/tasks/my-derain/difference?before=1&after=2")

    assert "description" in text
    assert "0.02" in text
    assert "They say the same" in page(client, "/tasks/my-derain/difference?before=1&after=1")


def test_a_damaged_version_is_said_and_hides_nothing_else(client, registry, storage):
    (storage / "registry" / TASKS / "my-derain" / "1" / "task.json").write_text("{}")

    assert "damaged" in page(client, "/tasks").partition('href="/tasks/my-derain"')[2].partition("</tr>")[0]
    assert 'href="/tasks/untrained"' in page(client, "/tasks")
    text = page(client, "/tasks/my-derain")
    assert "damaged" in text
    assert "29.50" in text
    assert "COMMIT says" in page(client, "/tasks/my-derain/1", 500)


def test_what_is_registered_later_is_seen(client, registry):
    assert "/tasks/later" not in page(client, "/tasks")
    add(registry, "later", 1)
    point(registry, "my-derain", "prod", 2, "better")

    text = page(client, "/tasks")
    assert 'href="/tasks/later"' in text
    assert "29.50" in text.partition('href="/tasks/my-derain"')[2].partition("</tr>")[0]
