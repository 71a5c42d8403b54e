"""From sentences to tasks: a small router trained for real, what it answers, and how it is kept."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ipt_platform.errors import DataError, NotFoundError, UsageError
from ipt_platform.restore.offer import Offer
from ipt_platform.restore.route import text as text_module
from ipt_platform.restore.route.ask import route_by_text
from ipt_platform.restore.route.known import KnownTask, known_tasks
from ipt_platform.restore.route.lexicon import Words
from ipt_platform.restore.route.order import place
from ipt_platform.restore.route.route import Route, Share, by_name, check_known
from ipt_platform.restore.route.store import read_router, routers_folder, write_router
from ipt_platform.restore.route.text import TextRouter, digest_of, text_router, train_text_router
from ipt_platform.restore.route.vectors import read_vectors
from ipt_platform.spec.task import TaskSpec, load_task

FEW = {"single": 400, "instead": 100, "several": 300, "nothing": 300}


@pytest.fixture(scope="module")
def few():
    """Fewer sentences than a router is trained on, for fewer tasks."""
    before = dict(text_module.SENTENCES)
    text_module.SENTENCES.update(FEW)
    yield
    text_module.SENTENCES.update(before)


@pytest.fixture(scope="module")
def specs() -> list[TaskSpec]:
    own = TaskSpec(
        apiVersion="ipt/v1",
        kind="task",
        name="unsepia",
        description="Remove the sepia tint of an old print.",
        stage="downstream",
        pairs=("pairs/*.tar",),
        instructions=("remove the sepia tint", "make this old print look like new", "undo the sepia"),
    )
    return [*(load_task(name) for name in ("denoise", "dehaze", "derain", "sr4")), own]


@pytest.fixture(scope="module")
def router(few, specs) -> TextRouter:
    return train_text_router(known_tasks(specs))


@pytest.mark.parametrize(
    ("said", "tasks"),
    [
        ("please remove the noise", ["denoise"]),
        ("get rid of the haze and the grain", ["denoise", "dehaze"]),
        ("not the rain, the fog please", ["dehaze"]),
        ("UNDO THE SEPIA!!", ["unsepia"]),
        ("remove teh sepia tint", ["unsepia"]),
        ("enlarge it 4x and get the rain out", ["derain", "sr4"]),
        ("make me look younger", []),
        ("qwpx zzt", []),
        ("", []),
    ],
)
def test_a_sentence_asks_for_tasks_in_the_order_in_which_they_are_undone(router, said, tasks):
    route = router.route(said)

    assert list(route.tasks) == tasks
    assert len(route.nearest) == 3
    assert [share.share for share in route.nearest] == sorted((share.share for share in route.nearest), reverse=True)
    assert bool(route.reason) == (not tasks)


def test_what_no_task_knows_is_asked_for_once_a_task_says_so(router, specs, few):
    assert "unsepia" not in router.route("our varnish went yellow").tasks

    taught = [
        spec.model_copy(update={"instructions": ("our varnish went yellow",)}) if spec.name == "unsepia" else spec
        for spec in specs
    ]

    assert "unsepia" in train_text_router(known_tasks(taught)).route("our varnish went yellow").tasks
    assert digest_of(known_tasks(taught)) != digest_of(known_tasks(specs))


def test_a_very_long_text_is_read_from_its_beginning(router):
    assert router.route("remove the noise. " + "blah " * 100_000).tasks == ("denoise",)


class Certain(nn.Module):
    """Gives each text the probabilities that it was made with."""

    def __init__(self, **shares: float):
        super().__init__()
        self.shares = list(shares.values())

    def probabilities(self, texts):
        return np.array([self.shares for _ in texts], np.float32)


def known(name: str, families=(), built_in=True, **words) -> KnownTask:
    return KnownTask(name, Words(**words), Words(), families, built_in)


def test_of_rivals_one_is_chosen_that_has_a_model_or_is_the_user_s_own():
    tasks = [
        known("denoise", ("gaussian-noise",), things=("noise",)),
        known("mine", ("gaussian-noise",), False, things=("noise",)),
    ]
    router = TextRouter(tasks, Certain(denoise=0.9, mine=0.8))

    assert router.route("noise").tasks == ("mine",)
    assert router.route("noise", {"denoise"}).tasks == ("denoise",)
    assert router.route("noise", {"mine", "denoise"}).tasks == ("mine",)


def test_a_task_that_undoes_much_at_once_gives_way_to_one_and_takes_the_place_of_several():
    tasks = [
        known("denoise", ("gaussian-noise",)),
        known("jpeg", ("jpeg",)),
        known("realworld", ("resample", "gaussian-noise", "jpeg")),
    ]

    assert TextRouter(tasks, Certain(denoise=0.9, jpeg=0.1, realworld=0.8)).route("x").tasks == ("denoise",)
    assert TextRouter(tasks, Certain(denoise=0.9, jpeg=0.9, realworld=0.8)).route("x").tasks == ("realworld",)
    assert TextRouter(tasks, Certain(denoise=0.1, jpeg=0.1, realworld=0.8)).route("x").tasks == ("realworld",)


def test_damage_that_came_last_is_undone_first_and_enlarging_comes_last():
    families = [("jpeg",), ("camera-noise",), ("raindrop",), ("haze",), ("outpaint",), ("low-resolution",)]

    assert sorted([families[number] for number in (3, 0, 5, 1, 4, 2)], key=place) == families
    assert place(("haze", "jpeg")) == place(("jpeg",))
    assert place(("snow",)) > place(()) > place(("raindrop",))


def test_names_are_a_route_of_their_own():
    route = by_name(["derain", "denoise"])

    assert route.tasks == ("derain", "denoise")
    with pytest.raises(UsageError, match="'derain' is named twice"):
        by_name(["derain", "denoise", "derain"])
    check_known(route, {"derain", "denoise"}, "run x")
    with pytest.raises(NotFoundError, match="run x has no model for denoise; it has models for: deblur, derain"):
        check_known(route, {"derain", "deblur"}, "run x")
    check_known(Route(()), (), "run x")


def test_the_same_seed_gives_the_same_router(few, specs):
    two = known_tasks(specs[:2])
    first, second = train_text_router(two, seed=3), train_text_router(two, seed=3)

    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name])


def test_a_router_is_kept_and_trained_anew_only_when_the_tasks_are_others_or_it_is_damaged(few, specs, tmp_path):
    trained, notes = [], []

    def ask(tasks):
        trained.clear()
        return text_router(tmp_path / "text", known_tasks(tasks), lambda done, total: trained.append(done), notes.append)

    first = ask(specs[:2])
    assert trained
    (kept,) = (tmp_path / "text").iterdir()
    again = ask(specs[:2])
    assert not trained
    assert again.route("remove the noise") == first.route("remove the noise")
    ask(specs[:3])
    assert trained
    assert len(list((tmp_path / "text").iterdir())) == 2
    assert notes == []

    data = bytearray((kept / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (kept / "model.safetensors").write_bytes(data)
    ask(specs[:2])
    assert trained
    assert "trained anew" in notes[0]
    ask(specs[:2])
    assert not trained


def test_a_router_that_cannot_be_kept_is_used_all_the_same(few, specs, tmp_path):
    (tmp_path / "text").write_text("a file in its place")
    notes = []

    router = text_router(tmp_path / "text", known_tasks(specs[:2]), note=notes.append)

    assert router.route("remove the noise").tasks == ("denoise",)
    assert "could not be kept" in notes[0]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": "other/1"}', b"[" * 100_000])
def test_what_is_no_router_is_refused(tmp_path, content):
    write_router(tmp_path / "r", "form/1", {"a": torch.ones(2)}, {"x": 1})
    about, tensors = read_router(tmp_path / "r", "form/1")
    assert (about["x"], tensors["a"].tolist()) == (1, [1.0, 1.0])

    (tmp_path / "r/router.json").write_bytes(content)

    with pytest.raises(DataError, match=r"router\.json"):
        read_router(tmp_path / "r", "form/1")


def test_what_is_kept_can_run_no_code_and_is_replaced_whole(tmp_path):
    write_router(tmp_path / "r", "form/1", {"a": torch.ones(2)}, {})
    write_router(tmp_path / "r", "form/1", {"a": torch.zeros(3)}, {"more": True})

    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model.safetensors", "r", "router.json"]
    assert json.loads((tmp_path / "r/router.json").read_bytes())["more"] is True


def test_routers_are_kept_beside_the_runs_or_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    assert routers_folder(str(tmp_path)) == tmp_path / "routers"
    assert (
        routers_folder("s3://bucket/x")
        == routers_folder(str(tmp_path / "none"))
        == Path(tmp_path, "cache/ipt-platform/routers")
    )


def test_who_asks_for_what_is_not_there_is_told_what_is(few, specs, tmp_path):
    offer = Offer("run first", frozenset({"denoise", "sr4"}), {spec.name: spec for spec in specs})

    assert route_by_text("remove the grain", offer, str(tmp_path)).tasks == ("denoise",)
    with pytest.raises(NotFoundError, match="run first has no model for dehaze; it has models for: denoise, sr4"):
        route_by_text("remove the grain and the fog", offer, str(tmp_path))
    with pytest.raises(UsageError, match=r"'make me look younger' asks for nothing .* the nearest are \w+ 0\.\d\d, "):
        route_by_text("make me look younger", offer, str(tmp_path))


def test_shares_are_read_by_people():
    assert str(Share("denoise", 0.987)) == "denoise 0.99"


def test_words_with_near_vectors_are_understood_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "SENTENCES", {"single": 2000, "instead": 1000, "several": 500, "nothing": 1000})
    tasks = [
        known("dehaze", ("haze",), things=("haze", "fog"), looks=("foggy", "hazy")),
        known("denoise", ("gaussian-noise",), things=("noise", "grain"), looks=("noisy", "grainy")),
    ]
    near = dict.fromkeys(("haze", "fog", "foggy", "hazy"), "1 0 0") | dict.fromkeys(
        ("noise", "grain", "noisy", "grainy"), "0 1 0"
    )
    file = tmp_path / "words.vec"
    file.write_text("".join(f"{line}\n" for line in ("9 3", "murk 0.9 0.1 0", *(f"{word} {at}" for word, at in near.items()))))

    trained = text_router(tmp_path / "text", tasks, vectors=read_vectors(file))
    kept = text_router(tmp_path / "text", tasks, lambda done, total: pytest.fail("trained"), vectors=read_vectors(file))

    assert trained.route("lose the murk").tasks == ("dehaze",)
    assert trained.route("not the murk, the grain").tasks == ("denoise",)
    assert trained.route("lose the zebra").tasks == ()
    assert kept.route("lose the murk") == trained.route("lose the murk")
    assert train_text_router(tasks).route("lose the murk").tasks == ()
    assert digest_of(tasks) != digest_of(tasks, read_vectors(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no word"),
        (b"2 3\n", "no word"),
        (b"fog 1 2\nhaze 1\n", r":2: expected a word and 2 finite numbers, found 1"),
        (b"fog 1 x\n", ":1: expected a word and its numbers"),
        (b"fog 1 nan\n", "finite"),
        (b"\n", ":1: expected a word and some"),
    ],
)
def test_what_are_no_vectors_is_named_by_line(tmp_path, content, message):
    (tmp_path / "words.vec").write_bytes(content)

    with pytest.raises(DataError, match=message):
        read_vectors(tmp_path / "words.vec")
    with pytest.raises(NotFoundError, match="no such file"):
        read_vectors(tmp_path / "none.vec")


def test_vectors_have_length_one_and_the_first_of_a_word_counts(tmp_path):
    (tmp_path / "words.vec").write_text("Fog 3 4\nfog 1 0\nrain 0 2\n")

    found = read_vectors(tmp_path / "words.vec")

    assert found.places == {"fog": 0, "rain": 1}
    torch.testing.assert_close(found.vectors, torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
