"""The pictures of a run on S3, shown on a machine that has never seen the run."""

import numpy as np
import requests

from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.working import place_of
from ipt_platform.web.settings import Settings
from tests.pages import decode, draw_samples, served


def test_pictures_of_a_run_on_s3_are_shown_anywhere(store, tmp_path, monkeypatch):
    storage = f"s3://{store.bucket}/runs"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "trains"))
    drawn = draw_samples(storage, "far", [3, 6], ["set-denoise-one"])
    run = RunDir(place_of(storage, "far"))
    for path in sorted(run.samples(0).parent.rglob("*.*")):
        run.keep(path)
    run.write_job(run.job.read_bytes())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "looks"))

    with served(Settings(storage)) as page:
        pictures = f"{page}/runs/far/pictures"
        found = requests.get(f"{pictures}/list", timeout=60).json()["pictures"]
        for (step, name, panel), picture in drawn.pictures.items():
            tag = dict(found[0]["steps"])[step]
            response = requests.get(f"{pictures}/{step}/{name}/{panel}.png", params={"v": tag}, timeout=60)

            assert "immutable" in response.headers["cache-control"]
            np.testing.assert_array_equal(decode(response.content), picture)
        params = requests.get(f"{pictures}/3/set-denoise-one/params", timeout=60).json()
        assert params["params"]["sigma"] == 40
        assert requests.get(f"{pictures}/3/..%2f6%2fset-denoise-one/clean.png", timeout=60).status_code == 404

    assert not (tmp_path / "looks" / run.path.relative_to(tmp_path / "trains") / "samples").exists()
