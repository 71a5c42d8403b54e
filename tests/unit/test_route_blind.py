"""From a picture to what is wrong with it: features, windows, a small router trained for real, and what its shares lead to."""

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from ipt_platform.data.degradations.noise import GaussianNoise
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import TaskDraw
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.rng import keyed_rng
from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.restore.offer import Offer
from ipt_platform.restore.route.auto import Auto, in_words
from ipt_platform.restore.route.blind import (
    NOTHING,
    BlindRouter,
    load_blind_router,
    save_blind_router,
    train_blind_router,
    windows,
)
from ipt_platform.restore.route.features import WINDOW, measure
from ipt_platform.restore.route.route import Share
from ipt_platform.restore.route.teach import draws_to_see, examples_from, teach
from ipt_platform.spec.task import TaskSpec, load_task, task_names

SEEN = ("deblur", "denoise")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> ShardSet:
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("astronaut", "chelsea", "coffee"):
        Image.fromarray(getattr(skimage.data, name)()).save(folder / f"{name}.png")
    return ShardSet.open(sorted(pack(folder, folder / "shards").shards))


@pytest.fixture(scope="module")
def router(photographs) -> BlindRouter:
    return teach(photographs, [TaskDraw(name, 1, load_task(name).training({})) for name in SEEN], pictures=16)


def cat(sigma: float = 0) -> np.ndarray:
    picture = skimage.data.chelsea() / np.float32(255)
    if not sigma:
        return picture
    noisy, _ = GaussianNoise(sigma=sigma)(picture, keyed_rng(0, 0, 0, "x"))
    return noisy


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, "noise", "columns", "one pixel"])
def test_features_are_numbers_whatever_the_window(value):
    window = np.zeros((WINDOW, WINDOW, 3), np.float32)
    match value:
        case "noise":
            window[:] = np.random.default_rng(0).integers(0, 256, window.shape) / 255
        case "columns":
            window[:, ::2] = 1
        case "one pixel":
            window[100, 100] = 1
        case _:
            window[:] = value

    with np.errstate(all="raise", under="ignore"):
        features = measure(window)

    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert len(features) == len(measure(np.zeros_like(window)))


@pytest.mark.parametrize(
    ("height", "width", "count"),
    [(256, 256, 1), (300, 256, 2), (300, 520, 6), (3000, 2000, 9), (40, 30, 1), (1, 1, 1), (40, 700, 3)],
)
def test_windows_cover_what_they_can_and_small_pictures_are_extended(height, width, count):
    picture = np.tile(np.linspace(0, 1, width, dtype=np.float32)[None, :, None], (height, 1, 3))

    found = windows(picture)

    assert [window.shape for window in found] == [(WINDOW, WINDOW, 3)] * count
    assert found[0][0, 0, 0] == 0
    if width >= WINDOW:
        assert found[-1][-1, -1, 0] == 1


def test_a_router_sees_noise_and_sees_that_there_is_nothing_to_do(router):
    noisy = router.route(cat(35))

    assert noisy.tasks == ("denoise",)
    assert sum(share.share for share in noisy.nearest) == pytest.approx(1, abs=1e-5)
    assert {share.task for share in noisy.nearest} == {*SEEN, NOTHING}
    clean = router.route(skimage.data.astronaut() / np.float32(255))
    assert (clean.tasks, clean.reason) == ((), NOTHING)


def test_damage_that_nobody_would_see_is_none(photographs):
    draws = [TaskDraw("denoise", 1, load_task("denoise").training({"sigma": sigma})) for sigma in (0.5, 20)]

    weak, strong = (examples_from(photographs, [draw], pictures=4, seed=0, processes=0) for draw in draws)

    assert weak.classes.tolist() == [1] * 8
    assert sorted(strong.classes.tolist()) == [0] * 4 + [1] * 4


def test_the_same_examples_and_seed_give_the_same_router(photographs):
    draws = [TaskDraw(name, 1, load_task(name).training({})) for name in SEEN]
    first, second = (examples_from(photographs, draws, 4, seed=1, processes=processes) for processes in (0, 1))
    np.testing.assert_array_equal(first.features, second.features)

    one, two = (train_blind_router(SEEN, first, seed=2).model.state_dict() for _ in range(2))

    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_router_is_kept_and_read_or_refused(router, tmp_path):
    with pytest.raises(NotFoundError, match=r"`ipt-platform route train` makes one"):
        load_blind_router(tmp_path / "blind")

    save_blind_router(tmp_path / "blind", router, "3 photographs")

    assert load_blind_router(tmp_path / "blind").look(cat(20)) == router.look(cat(20))
    save_blind_router(tmp_path / "blind", BlindRouter(("one",), router.model), "of other tasks")
    with pytest.raises(DataError, match="not a router of this version"):
        load_blind_router(tmp_path / "blind")


def test_what_no_picture_shows_or_another_task_shows_is_not_learned(tmp_path):
    mine = TaskSpec(
        apiVersion="ipt/v1", kind="task", name="mine", description="Mine.", stage="downstream", degradation="gaussian-noise"
    )
    own = mine.model_copy(update={"name": "own", "degradation": ["gaussian-noise", "haze"]})
    pairs = mine.model_copy(update={"name": "pairs", "degradation": None, "pairs": ("none/*.tar",)})
    notes = []

    draws = draws_to_see(
        {name: load_task(name) for name in task_names()} | {s.name: s for s in (mine, own, pairs)}, notes.append
    )

    names = {draw.name for draw in draws}
    assert names == {*task_names(), "own"} - {"sr2", "sr3", "sr4"}
    assert "pairs is left out" in notes[0]


class Sees(BlindRouter):
    """Sees in every picture what it was made with."""

    def __init__(self, **shares: float):
        self.tasks = tuple(shares)
        self.seen = tuple(Share(task, share) for task, share in shares.items())

    def look(self, picture):
        rest = 1 - sum(share.share for share in self.seen)
        return tuple(sorted((*self.seen, Share(NOTHING, rest)), key=lambda share: -share.share))


def offer(*available: str) -> Offer:
    mine = load_task("denoise").model_copy(update={"name": "mine"})
    specs = {spec.name: spec for spec in (load_task("denoise"), load_task("deblur"), mine)}
    return Offer("run x", frozenset(available), specs)


@pytest.mark.parametrize(
    ("sees", "available", "tasks", "said"),
    [
        ({"denoise": 0.7}, ("denoise",), ("denoise",), "denoise 0.70, nothing to do 0.30: denoise"),
        ({"denoise": 0.7}, ("mine",), ("mine",), "denoise 0.70, nothing to do 0.30: mine"),
        ({"denoise": 0.7}, ("deblur",), (), "left as it is (run x has no model for denoise)"),
        ({"denoise": 0.55}, ("denoise",), (), "left as it is (none is as sure as 0.6)"),
        ({"denoise": 0.2, "deblur": 0.1}, ("denoise",), (), "nothing to do 0.70, denoise 0.20, deblur 0.10: left as it is"),
    ],
)
def test_the_likeliest_task_is_applied_where_it_is_sure_and_has_a_model(sees, available, tasks, said):
    route = Auto(Sees(**sees), offer(*available)).route(np.zeros((4, 4, 3), np.float32))

    assert route.tasks == tasks
    assert said in in_words(route)


def test_a_mixture_has_every_task_that_counts_with_shares_that_sum_to_one():
    sees = Sees(denoise=0.5, deblur=0.3, derain=0.04)

    both = Auto(sees, offer("denoise", "deblur"), mix=True).route(np.zeros((4, 4, 3), np.float32))
    one = Auto(sees, offer("mine"), mix=True).route(np.zeros((4, 4, 3), np.float32))
    none = Auto(sees, offer("deblur"), mix=True).route(np.zeros((4, 4, 3), np.float32))

    assert [(share.task, pytest.approx(share.share)) for share in both.steps] == [("denoise", 0.625), ("deblur", 0.375)]
    assert in_words(both).endswith(": denoise 0.62 + deblur 0.37")
    assert one.steps == (Share("mine", 1.0),)
    assert none.tasks == ()
    assert Auto(sees, offer("mine", "deblur")).within_reach == ["deblur", "mine"]
