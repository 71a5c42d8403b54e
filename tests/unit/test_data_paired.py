"""Pairs: partners found by name as data sets are laid out, packed as they are, and every half that is wrong named."""

import io
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ipt_platform.data.image import decode_rgb
from ipt_platform.data.index import index_path, load_index
from ipt_platform.data.pack import pack
from ipt_platform.data.paired import pack_pairs
from ipt_platform.data.pairs import decode_halves
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.scan import ensure_index, index_tar
from ipt_platform.data.shards import verify
from ipt_platform.errors import DataError, NotFoundError, RefusedError


def picture(name: str, size=(20, 14), form="PNG") -> bytes:
    """Other pixels for every name."""
    noise = np.random.default_rng(list(name.encode())).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, form)
    return buffer.getvalue()


def write(folder: Path, *names: str, size=(20, 14)) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(name, size, "JPEG" if name.endswith(".jpg") else "PNG"))
    return folder


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def partners(root: Path, degraded: str, clean: str, pattern: str | None = None) -> dict[str, tuple[str, str]]:
    """Key of each pair that is packed, and the files whose bytes its halves have."""
    files = {path.read_bytes(): path.relative_to(root).as_posix() for path in root.rglob("*.*g")}
    compiled = re.compile(pattern) if pattern else None
    shards = ShardSet.open(pack_pairs(root / degraded, root / clean, root / "out", compiled)[0].shards)
    found = {}
    for i in range(shards.images):
        halves = (shards.read_range(shards.locate_degraded(i)), shards.read_range(shards.locate(i)))
        found[shards.locate(i).key] = tuple(files[half] for half in halves)
    return found


LAYOUTS = {
    "LOL, CSD": (["low/1.png", "low/22.png"], ["high/1.png", "high/22.png"], "low", "high", {}),
    "Rain100L": (["rainy/rain-001.png", "rainy/rain-2.png"], ["norain-001.png", "norain-2.png"], "rainy", "", {}),
    "Rain100L in one folder": (["rain-001.png", "rain-2.png"], ["norain-001.png", "norain-2.png"], "", "", {}),
    "LOL-v2": (
        ["Low/low00001.png", "Low/low00690.png"],
        ["Normal/normal00001.png", "Normal/normal00690.png"],
        "Low",
        "Normal",
        {},
    ),
    "SIDD": (["1/NOISY_SRGB_010.png", "2/NOISY_SRGB_010.png"], ["1/GT_SRGB_010.png", "2/GT_SRGB_010.png"], "", "", {}),
    "raindrop": (["data/0_rain.png", "data/10_rain.png"], ["gt/0_clean.png", "gt/10_clean.png"], "data", "gt", {}),
    "GoPro": (["G/0372/blur/1.png", "G/0384/blur/1.png"], ["G/0372/sharp/1.png", "G/0384/sharp/1.png"], "G", "G", {}),
    "OTS": (["hazy/0005_0.8_0.04.jpg", "hazy/0050_1_0.2.jpg"], ["clear/0005.jpg", "clear/0050.jpg"], "hazy", "clear", {}),
    "any suffix": (["in/a.b.png", "in/c/a.png"], ["out_/a.b.jpg", "out_/c/a.jpg"], "in", "out_", {}),
    "x2 by pattern": (
        ["r/norain-1x2.png", "r/norain-12x2.png"],
        ["c/norain-1.png", "c/norain-12.png"],
        "r",
        "c",
        {"pattern": r"(\d+)"},
    ),
    "two groups": (["r/1_x_3.png", "r/1_y_4.png"], ["c/1-z-3.png", "c/1-z-4.png"], "r", "c", {"pattern": r"^(\d).+(\d)$"}),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_partners_are_found_as_data_sets_are_laid_out(tmp_path, layout):
    degraded, clean, one, other, options = layout
    write(tmp_path, *degraded, *clean)

    assert sorted(partners(tmp_path, one, other, **options).values()) == sorted(zip(degraded, clean, strict=True))


def test_one_clean_picture_serves_many_degraded_ones_where_the_name_says_so(tmp_path):
    hazy = [f"hazy/{scene}_{number}.png" for scene in (1400, 1401) for number in (1, 10)]
    write(tmp_path, *hazy, "gt/1400.png", "gt/1401.png", "gt/140.png")

    with pytest.raises(DataError, match=r"gt/140\.png: no degraded picture belongs to it"):
        partners(tmp_path, "hazy", "gt")
    (tmp_path / "gt/140.png").unlink()

    found = partners(tmp_path, "hazy", "gt")
    assert found == {Path(name).stem: (name, f"gt/{Path(name).stem.split('_')[0]}.png") for name in hazy}


def test_the_longest_name_wins(tmp_path):
    write(tmp_path, "hazy/7_1_2.png", "hazy/7_3.png", "gt/7.png", "gt/7_1.png")

    assert partners(tmp_path, "hazy", "gt") == {"7_1_2": ("hazy/7_1_2.png", "gt/7_1.png"), "7_3": ("hazy/7_3.png", "gt/7.png")}


def test_halves_are_packed_as_they_are_and_read_alike_by_others(tmp_path):
    import webdataset

    write(tmp_path, "in/a.jpg", "in/b/c.png", "gt/a.png", "gt/b/c.jpg")
    report, rules = pack_pairs(tmp_path / "in", tmp_path / "gt", tmp_path / "out", shard_size=1)
    read = [sample for shard in report.shards for sample in webdataset.WebDataset(str(shard), shardshuffle=False)]

    assert [sample["__key__"] for sample in read] == ["a", "b_c"]
    assert (read[0]["degraded.jpg"], read[0]["clean.png"]) == (
        (tmp_path / "in/a.jpg").read_bytes(),
        (tmp_path / "gt/a.png").read_bytes(),
    )
    assert (read[1]["degraded.png"], read[1]["clean.jpg"]) == tuple(
        (tmp_path / each).read_bytes() for each in ("in/b/c.png", "gt/b/c.jpg")
    )
    assert (report.images, len(report.shards), rules) == (2, 2, {"same": 2})
    assert report.bytes == sum(path.stat().st_size for part in ("in", "gt") for path in (tmp_path / part).rglob("*.*g"))
    checked = verify(report.shards)
    assert (checked.images, checked.pairs, checked.problems) == (2, 2, [])


def test_whoever_wants_clean_pictures_reads_a_paired_shard_as_any_other(tmp_path):
    write(tmp_path, "in/a.png", "in/b.png", "gt/a.png", "gt/b.png")
    paired = ShardSet.open(pack_pairs(tmp_path / "in", tmp_path / "gt", tmp_path / "pairs")[0].shards)
    plain = ShardSet.open(pack(tmp_path / "gt", tmp_path / "plain").shards)

    assert [paired.read(i) for i in range(2)] == [plain.read(i) for i in range(2)]
    assert (paired.pairs, plain.pairs) == (2, 0)
    assert paired.digest != plain.digest
    with pytest.raises(DataError, match="has no degraded half"):
        plain.locate_degraded(0)


def test_the_index_of_plain_shards_is_as_it_was(tmp_path):
    shard = pack(write(tmp_path / "photos", "a.png"), tmp_path / "out").shards[0]

    assert "degraded" not in index_path(shard).read_text()
    assert load_index(shard).pairs == 0


def test_the_same_pairs_give_the_same_bytes(tmp_path):
    write(tmp_path, *(f"{part}/{i}.png" for part in ("in", "gt") for i in range(6)))
    one, two = (pack_pairs(tmp_path / "in", tmp_path / "gt", tmp_path / f"out{n}", threads=n)[0].shards for n in (1, 3))

    assert [shard.read_bytes() for shard in one] == [shard.read_bytes() for shard in two]
    assert [index_path(shard).read_bytes() for shard in one] == [index_path(shard).read_bytes() for shard in two]


@pytest.fixture
def faulty(tmp_path) -> Path:
    write(
        tmp_path, "in/good.png", "in/alone.png", "in/large.png", "in/cut.png", "in/half.png", "in/rain-1.png", "in/rainy_1.png"
    )
    write(tmp_path, "gt/good.png", "gt/other.png", "gt/cut.png", "gt/half.png", "gt/norain-1.png")
    write(tmp_path / "gt", "large.png", size=(21, 14))
    for name in ("in/cut.png", "gt/half.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-60])
    (tmp_path / "in/notes.txt").touch()
    return tmp_path


FAULTS = (
    "in/alone.png: no clean picture belongs to it",
    "in/rain-1.png: 2 degraded pictures belong to {}/gt/norain-1.png",
    "in/rainy_1.png: 2 degraded pictures belong to {}/gt/norain-1.png",
    "gt/other.png: no degraded picture belongs to it",
    "in/cut.png: The png does not decode: it is cut off or damaged.",
    "in/half.png: its clean half {}/gt/half.png: The png does not decode: it is cut off or damaged.",
    "in/large.png: has 20x14 pixels, its clean half {}/gt/large.png has 21x14.",
)


def test_everything_without_a_partner_or_unlike_it_is_named_and_nothing_is_written(faulty):
    before = sorted(path.name for path in faulty.iterdir())

    with pytest.raises(DataError, match=r"7 of 8 pairs or pictures cannot be used, nothing was written") as caught:
        pack_pairs(faulty / "in", faulty / "gt", faulty / "out")

    lines = str(caught.value).splitlines()[1:-1]
    assert lines == [f"  {faulty}/{fault.format(faulty)}" for fault in FAULTS]
    assert sorted(path.name for path in faulty.iterdir()) == before


def test_what_cannot_be_used_can_be_left_out(faulty):
    report, rules = pack_pairs(faulty / "in", faulty / "gt", faulty / "out", skip_bad=True)

    assert [entry.key for entry in load_index(report.shards[0]).members] == ["good"]
    assert rules == {"same": 4}  # of which three turned out to be unusable
    assert [f"{bad.name}: {bad.reason}" for bad in report.bad] == [f"{faulty}/{fault.format(faulty)}" for fault in FAULTS]
    assert report.ignored == [f"{faulty}/in/notes.txt"]
    (faulty / "in/good.png").unlink()
    with pytest.raises(DataError, match="no pair can be used"):
        pack_pairs(faulty / "in", faulty / "gt", faulty / "none", skip_bad=True)
    assert not (faulty / "none").exists()


def test_two_clean_pictures_for_one_degraded_are_both_named(tmp_path):
    write(tmp_path, "in/rain-1.png", "gt/norain-1.png", "gt/clean_1.png")

    with pytest.raises(
        DataError, match=r"rain-1\.png: more than one clean picture belongs to it: .*clean_1\.png and .*norain-1\.png"
    ):
        pack_pairs(tmp_path / "in", tmp_path / "gt", tmp_path / "out")


def test_names_that_a_pattern_does_not_fit_are_named(tmp_path):
    write(tmp_path, "in/1.png", "in/x.png", "in/2.png", "gt/1.png")

    with pytest.raises(DataError) as caught:
        pack_pairs(tmp_path / "in", tmp_path / "gt", tmp_path / "out", re.compile(r"\d"))
    assert r"x.png: its name does not match '\\d'" in str(caught.value)
    assert "2.png: no clean picture has '2'" in str(caught.value)


def test_folders_that_are_not_as_they_should_be_are_named(tmp_path):
    write(tmp_path, "in/1.png", "in/1.jpg", "gt/1.png", "mixed/a.png", "mixed/blur-b.png")

    with pytest.raises(NotFoundError, match="none: there is no such folder"):
        pack_pairs(tmp_path / "none", tmp_path / "gt", tmp_path / "out")
    with pytest.raises(DataError, match=r"1: 1\.jpg and 1\.png"):
        pack_pairs(tmp_path / "in", tmp_path / "gt", tmp_path / "out")
    with pytest.raises(DataError, match=r"holds 1 degraded and 0 clean pictures. Name two folders"):
        pack_pairs(tmp_path / "mixed", tmp_path / "gt/../mixed", tmp_path / "out")
    with pytest.raises(RefusedError, match="not empty"):
        pack_pairs(tmp_path / "in", tmp_path / "gt", tmp_path / "gt")


def test_a_tar_of_pairs_made_by_anyone_is_indexed(tmp_path):
    members = {name: picture(name) for name in ("b/2.degraded.png", "b/2.clean.png", "1.clean.png", "1.degraded.png")}
    shard = write_tar(tmp_path / "x.tar", members | {"1.txt": b"label"})
    ensure_index(shard)
    index = load_index(shard)

    assert [(entry.key, entry.name, entry.degraded and entry.degraded.name) for entry in index.members] == [
        ("b/2", "b/2.clean.png", "b/2.degraded.png"),
        ("1", "1.clean.png", "1.degraded.png"),
    ]
    shards = ShardSet.open([shard])
    degraded, clean = (shards.read_range(locate(0)) for locate in (shards.locate_degraded, shards.locate))
    assert (degraded, clean) == (members["b/2.degraded.png"], members["b/2.clean.png"])
    assert np.array_equal(decode_halves(degraded, clean), [decode_rgb(degraded), decode_rgb(clean)])


def test_a_tar_with_halves_of_pairs_is_refused_and_each_half_named(tmp_path):
    names = ("1.degraded.png", "2.clean.png", "3.png", "4.clean.png", "4.clean.jpg", "4.degraded.png", "5.clean.png")
    shard = write_tar(tmp_path / "x.tar", {name: picture(name) for name in names} | {"5.degraded.png": picture("5", (20, 15))})

    with pytest.raises(DataError, match="5 members cannot be used") as caught:
        index_tar(shard)
    assert str(caught.value).splitlines()[1:] == [
        "3.png: no half of a pair; beside pairs only key.clean.* and key.degraded.* may lie.",
        "1.degraded.png: its other half 1.clean.* is missing.",
        "2.clean.png: its other half 2.degraded.* is missing.",
        "4.clean.png and 4.clean.jpg: two pictures for one half of the pair 4.",
        "5.degraded.png: has 20x15 pixels, its clean half has 20x14.",
    ]


def test_a_picture_that_only_calls_itself_clean_is_no_pair(tmp_path):
    shard = write_tar(tmp_path / "x.tar", {"1.clean.png": picture("1"), "2.png": picture("2")})

    assert [(entry.key, entry.degraded) for entry in index_tar(shard).members] == [("1", None), ("2", None)]


def test_damage_to_a_degraded_half_is_found(tmp_path):
    write(tmp_path, "in/a.png", "gt/a.png", "in/b.png", "gt/b.png")
    flipped, moved = pack_pairs(tmp_path / "in", tmp_path / "gt", tmp_path / "out", shard_size=1)[0].shards
    half = load_index(flipped).members[0].degraded
    assert half
    data = bytearray(flipped.read_bytes())
    data[half.offset + 100] ^= 0xFF
    flipped.write_bytes(data)
    text = index_path(moved).read_text()
    at = load_index(moved).members[0].degraded
    assert at
    index_path(moved).write_text(text.replace(f'"offset": {at.offset}', f'"offset": {at.offset + 1}'))

    says = [str(problem) for problem in verify([flipped, moved]).problems]
    assert says[0].startswith(f"{flipped}: a.degraded.png: its bytes have sha256")
    assert f"{moved}: b.degraded.png: 000001.tar.index.json places it at bytes {at.offset + 1}+" in says[1]

    index_path(moved).write_text(text.replace(f'"offset": {at.offset}', f'"offset": {at.offset + 9**9}'))
    with pytest.raises(DataError, match=r"b\.degraded\.png is said to end at byte"):
        load_index(moved)


def test_halves_of_two_sizes_are_refused_where_they_are_read():
    with pytest.raises(DataError, match="its degraded half has 20x14 pixels, its clean half 9x8"):
        decode_halves(picture("a"), picture("b", (9, 8)))
