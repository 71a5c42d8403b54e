"""The sample set: eight real photographs, apart in training and test, every byte as its package ships it."""

import sys

import pytest

from ipt_platform.data import sample
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.index import load_index
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.sample import build_sample
from ipt_platform.errors import NotFoundError, RefusedError, UsageError


def test_it_holds_the_photographs_as_the_packages_show_them(tmp_path):
    from skimage import data
    from sklearn.datasets import load_sample_image

    report = build_sample(tmp_path / "sample")
    train, test = ShardSet.open([report.train]), ShardSet.open([report.test])
    photographs = {
        shards.read(i).key: decode_rgb(shards.read(i).data) for shards in (train, test) for i in range(shards.images)
    }

    assert [train.read(i).key for i in range(6)] == ["astronaut", "coffee", "rocket", "motorcycle_left", "china", "flower"]
    assert [test.read(i).key for i in range(2)] == ["chelsea", "hubble_deep_field"]
    for name in ("astronaut", "coffee", "chelsea"):
        assert (photographs[name] == getattr(data, name)()).all()
    for name in ("china", "flower"):
        assert abs(photographs[name].astype(int) - load_sample_image(f"{name}.jpg")).max() <= 2
    assert all(min(entry.width, entry.height) >= 300 for entry in load_index(report.train).members)


def test_half_a_sample_set_is_refused_and_left_alone(tmp_path):
    report = build_sample(tmp_path / "sample")
    report.test.unlink()

    with pytest.raises(RefusedError, match="not empty"):
        build_sample(tmp_path / "sample")
    assert report.train.exists()


def test_without_the_packages_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    for name in [name for name in sys.modules if name.partition(".")[0] in ("skimage", "sklearn")]:
        monkeypatch.delitem(sys.modules, name)

    with pytest.raises(UsageError, match=r'pip install "ipt-platform\[sample\]"'):
        build_sample(tmp_path / "sample")
    assert list(tmp_path.iterdir()) == []


def test_a_photograph_that_its_package_lost_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sample.PHOTOGRAPHS, "test", (("skimage", "unicorn.png"),))

    with pytest.raises(NotFoundError, match=r"unicorn\.png"):
        build_sample(tmp_path / "sample")
    assert list(tmp_path.iterdir()) == []
