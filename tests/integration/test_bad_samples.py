"""Every kind of odd picture, as real bytes, through every door: pack, index, verify, batches, carriers, training."""

import hashlib
import io
import json
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from ipt_platform.cli.main import app
from ipt_platform.data.bad import Bad
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.index import HalfEntry, MemberEntry, ShardIndex, load_index, write_index
from ipt_platform.data.pack import pack
from ipt_platform.data.paired import pack_pairs
from ipt_platform.data.pairs import BatchMaker, PairedDraw, TaskDraw
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.scan import index_tar, index_usable
from ipt_platform.data.shards import verify
from ipt_platform.errors import DataError, ExitCode, TrainingError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir, create
from ipt_platform.observe.status import run_status
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.group import ALONE
from ipt_platform.train.session import Place, Session

PATCH = 32
TEN_GB = 10 << 30


def noise(seed: int, height: int = 40, width: int = 48, channels: int = 3) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (6, 7, channels), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)).reshape(height, width, channels)


def encoded(pixels: np.ndarray, form: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def deep(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 65536, (40, 48, 3), dtype=np.uint16)
    return cv2.imencode(".png", pixels)[1].tobytes()


def torn(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def hurt(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0x5A for byte in data[middle : middle + 9]) + data[middle + 9 :]


HANDLED = {
    "cmyk.jpg": encoded(noise(1), "JPEG", "CMYK"),
    "deep.png": deep(2),
    "grey.png": encoded(noise(3), mode="L"),
    "veil.png": encoded(noise(4), mode="LA"),
    "alpha.png": encoded(noise(5), mode="RGBA"),
    "palette.png": encoded(noise(6), mode="P"),
    "pixel.png": encoded(noise(7, 1, 1)),
    "line.png": encoded(noise(8, 1, 60)),
    "small.png": encoded(noise(9, PATCH - 9, PATCH - 15)),
    "plain.webp": encoded(noise(10), "WEBP"),
}
"""What a photographer expects to be used."""

FAULTY = {
    "half.jpg": ("cut-off", torn(encoded(noise(11), "JPEG", quality=95))),
    "torn.png": ("cut-off", torn(encoded(noise(12)))),
    "empty.png": ("cut-off", b""),
    "hurt.png": ("damaged", hurt(encoded(noise(13)))),
    "huge.png": ("too-large", png_claiming(50_000, 50_000)),
    "gif.jpg": ("other-format", encoded(noise(14), "GIF")),
    "page.jpg": ("other-format", b"<html>404 Not Found</html>"),
}
"""What cannot be used, and how it is counted."""

BY_HEADER = {"empty.png", "huge.png", "gif.jpg", "page.jpg"}
"""What needs no decoding to be found out."""


@dataclass
class Tar:
    """A tar of members as somebody else's program wrote them."""

    path: Path

    def write(self, members: dict[str, bytes], links: tuple[str, ...] = ()) -> Path:
        with tarfile.open(self.path, "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            for name in links:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.SYMTYPE, next(iter(members))
                tar.addfile(info)
        return self.path


def kinds(found: list[Bad]) -> dict[str, str]:
    return {Path(bad.name).name: bad.kind for bad in found}


EVERYTHING = {**HANDLED, **{name: data for name, (_, data) in FAULTY.items()}}
KINDS = {name: kind for name, (kind, _) in FAULTY.items()}


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in EVERYTHING.items():
        (folder / name).write_bytes(data)
    (folder / "link.png").symlink_to(folder / "alpha.png")
    with (folder / "film.jpg").open("wb") as file:
        file.truncate(TEN_GB)  # takes no room on the disk
    return folder


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


# Door 1: data pack


def test_pack_names_each_by_its_kind_and_writes_the_others(photos, tmp_path):
    with pytest.raises(DataError, match=f"{len(FAULTY) + 2} of {len(EVERYTHING) + 2} pictures cannot be used"):
        pack(photos, tmp_path / "none")
    report = pack(photos, tmp_path / "out", skip_bad=True)

    assert kinds(report.bad) == {**KINDS, "link.png": "not-a-file", "film.jpg": "too-large"}
    assert report.images == len(HANDLED)
    assert verify(report.shards).problems == []
    said = run("data", "pack", photos, tmp_path / "again", "--skip-bad").stdout
    assert "9 left out: 3 cut-off, 1 damaged, 2 other-format, 2 too-large, 1 not-a-file" in said


def test_packing_pairs_names_missing_halves_and_unlike_ones(tmp_path):
    for name, size in (("a", (40, 48)), ("b", (40, 48)), ("c", (40, 48))):
        for half, folder in enumerate(("dark", "bright")):
            (tmp_path / folder).mkdir(exist_ok=True)
            height, width = (size[0] + 2 * half, size[1]) if name == "b" else size
            (tmp_path / folder / f"{name}.png").write_bytes(encoded(noise(half, height, width)))
    (tmp_path / "bright/c.png").unlink()

    report, _ = pack_pairs(tmp_path / "dark", tmp_path / "bright", tmp_path / "out", skip_bad=True)

    assert kinds(report.bad) == {"b.png": "sizes-differ", "c.png": "half-missing"}
    assert report.images == 1


# Door 2: data index of a tar from elsewhere


def test_index_takes_the_good_and_names_the_rest(tmp_path):
    tar = Tar(tmp_path / "web.tar").write(EVERYTHING, links=("link.png", "link.txt"))

    with pytest.raises(DataError, match=rf"{len(BY_HEADER) + 1} members cannot be used"):
        index_tar(tar)
    index, bad = index_usable(tar)

    assert {entry.name for entry in index.members} == set(HANDLED)
    assert kinds(bad) == {**KINDS, "link.png": "not-a-file"}
    assert all(each.shard == "web.tar" and each.reason for each in bad)


def test_the_command_says_how_to_go_on_and_then_goes_on(tmp_path):
    tar = Tar(tmp_path / "web.tar").write(EVERYTHING, links=("link.png",))

    with pytest.raises(DataError, match=r"1 shards cannot be indexed\. Leave out what cannot be used with --skip-bad\."):
        run("data", "index", tar)
    found = json.loads(run("data", "index", tar, "--skip-bad", "--json").stdout)
    assert found["made"] == [str(tar)]
    assert {each["name"]: each["kind"] for each in found["bad"]} == {**KINDS, "link.png": "not-a-file"}
    assert {each["shard"] for each in found["bad"]} == {str(tar)}
    said = run("data", "index", tar, "--skip-bad", "--force").stdout
    assert "8 left out: 3 cut-off, 1 damaged, 2 other-format, 1 too-large, 1 not-a-file" in said
    assert f"left out: {tar}: gif.jpg: Not a PNG, JPEG or WebP picture but a GIF" in said
    assert json.loads(run("data", "verify", tar, "--json").stdout)["problems"] == []


@pytest.mark.parametrize("there", [True, False])
def test_a_member_of_10_gb_by_its_header(tmp_path, there):
    tar = tmp_path / "big.tar"
    members = [tarfile.TarInfo(name) for name in ("first.png", "film.jpg", "last.png")]
    members[0].size = members[2].size = len(HANDLED["alpha.png"])
    members[1].size = TEN_GB
    body = HANDLED["alpha.png"] + bytes(-len(HANDLED["alpha.png"]) % 512)
    with tar.open("wb") as file:
        file.write(members[0].tobuf() + body + members[1].tobuf())
        if there:  # as a hole, which takes no room
            file.seek(TEN_GB, io.SEEK_CUR)
            file.write(members[2].tobuf() + body + bytes(1024))

    index, bad = index_usable(tar)

    (only,) = bad
    assert [entry.name for entry in index.members] == ["first.png", "last.png"][: 2 if there else 1]
    assert (only.name, only.kind) == (("film.jpg", "too-large") if there else ("", "cut-off"))
    assert str(TEN_GB) in only.reason
    with pytest.raises(DataError, match=str(TEN_GB)):
        index_tar(tar)


def test_a_cut_off_tar_gives_what_comes_before_the_cut(tmp_path):
    tar = Tar(tmp_path / "cut.tar").write({f"{i}.png": encoded(noise(i)) for i in range(5)})
    tar.write_bytes(tar.read_bytes()[: index_tar(tar).members[3].offset + 100])

    index, bad = index_usable(tar)

    assert [entry.key for entry in index.members] == ["0", "1", "2"]
    assert [(each.name, each.kind) for each in bad] == [("", "cut-off")]
    write_index(tar, index)
    assert ShardSet.open([tar]).read(2).data == encoded(noise(2))


def test_names_that_two_pictures_share_go_to_the_first(tmp_path):
    tar = Tar(tmp_path / "x.tar").write({"a.png": HANDLED["alpha.png"], "a.jpg": HANDLED["cmyk.jpg"], "../b.png": b""})

    index, bad = index_usable(tar)

    assert [entry.name for entry in index.members] == ["a.png"]
    assert [(each.name, each.kind) for each in bad] == [("../b.png", "bad-name"), ("a.jpg", "bad-name")]


def test_halves_of_pairs_are_named_and_their_partners_with_them(tmp_path):
    good, large = encoded(noise(1)), encoded(noise(1, 44, 48))
    members = {f"{key}.{half}.png": good for key in "abcd" for half in ("degraded", "clean")}
    members |= {"b.degraded.png": torn(good), "c.clean.png": large}
    del members["d.clean.png"]
    tar = Tar(tmp_path / "pairs.tar").write(members)

    index, bad = index_usable(tar)

    assert [entry.key for entry in index.members] == ["a"]
    assert index.pairs == 1
    assert kinds(bad) == {
        "b.degraded.png": "cut-off",
        "b.clean.png": "half-missing",
        "c.degraded.png": "sizes-differ",
        "d.degraded.png": "half-missing",
    }
    assert "b.degraded.* cannot be used" in next(each.reason for each in bad if each.name == "b.clean.png")


# Door 3: data verify


def by_hand(tar: Path, names: set[str] | None = None) -> Path:
    """An index that somebody else's program made, which looked at nothing."""
    members = []
    with tarfile.open(tar) as file:
        for info in file:
            if names is None or info.name in names:
                data = (file.extractfile(info) or io.BytesIO()).read()
                entry = {"name": info.name, "offset": info.offset_data, "size": info.size}
                digest = hashlib.sha256(data).hexdigest()
                members.append(
                    MemberEntry(key=info.name.replace(".", "_"), width=48, height=40, sha256=digest, **entry)  # pyright: ignore
                )
    write_index(tar, ShardIndex(shard=tar.name, bytes=tar.stat().st_size, members=members))
    return tar


def test_verify_tells_the_kind_of_each_fault(tmp_path):
    tar = by_hand(Tar(tmp_path / "x.tar").write(EVERYTHING))

    found = {problem.member: problem.kind for problem in verify([tar]).problems}

    # pictures of another size than the index says are told too
    others = {name: "changed" for name, data in HANDLED.items() if decode_rgb(data).shape[:2] != (40, 48)}
    assert found == {**KINDS, **others}
    result = run("data", "verify", tar)
    assert result.exit_code == ExitCode.USAGE
    assert "10 problems (3 cut-off, 1 damaged, 2 other-format, 1 too-large, 3 changed)" in result.stdout


# Door 4: batches and carriers

DRAW = TaskDraw("denoise", 1, build_degradation({"name": "gaussian-noise", "sigma": 25}))


def maker_of(shards: ShardSet, steps: int, images: int = 4, draw: TaskDraw | PairedDraw = DRAW) -> BatchMaker:
    schedule = Schedule((Stage(steps=steps, patch=PATCH, images=images),))
    return BatchMaker(shards=shards, plan=Plan(3, shards.images), schedule=schedule, draws=(draw,), seed=3)


@pytest.fixture
def everything(tmp_path) -> ShardSet:
    return ShardSet.open([by_hand(Tar(tmp_path / "x.tar").write(EVERYTHING))])


@pytest.mark.parametrize("processes", [0, 2])
def test_batches_hold_what_can_be_used_and_name_the_rest(everything, processes):
    keys: set[str] = set()
    found: dict[str, str] = {}
    for batch in local_stream(maker_of(everything, steps=10), 0, 10, processes=processes):
        keys.update(batch.keys)
        found |= {bad.name: bad.kind for bad in batch.bad}
        assert all(bad.shard == "x.tar" and bad.reason for bad in batch.bad)
        assert all(
            np.isfinite(degraded).all() and clean.shape[1:] == (PATCH, PATCH, 3) for degraded, clean in batch.tasks.values()
        )

    assert found == {name.replace(".", "_"): kind for name, kind in KINDS.items()}
    assert keys == {name.replace(".", "_") for name in HANDLED}


def test_one_pixel_gives_a_crop_of_its_colour(tmp_path):
    pixel = np.full((1, 1, 3), (10, 200, 30), np.uint8)
    tar = by_hand(Tar(tmp_path / "x.tar").write({"pixel.png": encoded(pixel)}))

    batch = maker_of(ShardSet.open([tar]), steps=1, images=1).make(0)

    assert (batch.tasks["denoise"][1] == (10, 200, 30)).all()


def test_pairs_in_batches_are_named_by_what_is_wrong_with_them(tmp_path):
    good = encoded(noise(1))
    members = {f"{key}.{half}.png": good for key in "abcd" for half in ("degraded", "clean")}
    members |= {"b.degraded.png": FAULTY["gif.jpg"][1], "c.clean.png": encoded(noise(1, 44, 48))}
    tar = by_hand(Tar(tmp_path / "pairs.tar").write(members))
    lying = {entry.name: entry for entry in load_index(tar).members}
    entries = []
    for key in "abcd":
        clean, half = lying[f"{key}.clean.png"], lying[f"{key}.degraded.png"]
        degraded = HalfEntry(name=half.name, offset=half.offset, size=half.size, sha256=half.sha256)
        entries.append(clean.model_copy(update={"key": key, "degraded": None if key == "d" else degraded}))
    write_index(tar, ShardIndex(shard=tar.name, bytes=tar.stat().st_size, members=entries))
    shards = ShardSet.open([tar])

    batches = [maker_of(shards, 6, draw=PairedDraw("rain", 1, shards)).make(step) for step in range(6)]

    assert {(bad.name, bad.kind) for batch in batches for bad in batch.bad} == {
        ("b", "other-format"),
        ("c", "sizes-differ"),
        ("d", "half-missing"),
    }
    assert {key for batch in batches for key in batch.keys} == {"a"}


# Door 5: training


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(base: Path, run: RunDir, max_bad: float | None) -> dict:
    spec = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "bad",
        "model": {"backbone": "iptv2-tiny", "bias": {"rank": 2}},
        "tasks": {"denoise": {"params": {"sigma": 25}}},
        "data": {"shards": "*.tar", "carrier": "local"} | ({} if max_bad is None else {"max_bad": max_bad}),
        "train": {"stages": [{"steps": 9, "patch": PATCH, "images": 4}], "schedule": {"warmup": 1}, "log_every": 3},
        "checkpoint": {"every": 100},
    }
    job = JOB.validate_python(spec)
    assert isinstance(job, TrainJob)

    def stream(maker, start, stop):
        return local_stream(maker, start, stop, processes=1)

    return Session(job, Place(run, run.new_attempt(), base, ALONE, torch.device("cpu")), stream).train()


def test_training_passes_over_what_is_bad_and_tells_it_everywhere(everything, tmp_path, monkeypatch):
    recorded = create(tmp_path / "runs", "bad")

    report = train(tmp_path, recorded, max_bad=0.9)

    events = [event for event in read_events(recorded) if event["type"] == "bad-sample"]
    assert {event["key"]: event["kind"] for event in events} == {name.replace(".", "_"): kind for name, kind in KINDS.items()}
    assert all(event["shard"] == "x.tar" and event["reason"] for event in events)
    counted: dict[str, int] = {}
    for event in events:
        counted[event["kind"]] = counted.get(event["kind"], 0) + 1
    assert report["samples"] == {"seen": 36, "bad": counted}
    assert read_metrics(recorded)[-1]["samples"] == report["samples"] == run_status(recorded).samples
    monkeypatch.chdir(tmp_path)
    told = f"{len(events)} of 36 samples could not be used: {counted['cut-off']} cut-off, {counted['damaged']} damaged"
    assert told in run("status", "bad").stdout


def test_training_stops_past_max_bad_with_a_code_and_a_sentence(everything, tmp_path):
    with pytest.raises(
        TrainingError, match=r"of \d+ samples could not be used: .*more than data\.max_bad 0\.001 allows"
    ) as end:
        train(tmp_path, create(tmp_path / "runs", "bad"), max_bad=None)

    assert end.value.exit_code == ExitCode.JOB_FAILED == 5
    assert "for example x.tar: " in str(end.value)
    assert "data verify" in str(end.value)
