import json
import math

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from ipt_platform.errors import DataError, NotFoundError, TrainingError
from ipt_platform.evaluate.protocols import PROTOCOLS
from ipt_platform.evaluate.report import make_report, markdown_table, read_report, rows_of, text_table, write_report
from ipt_platform.evaluate.run import Scores, evaluate_model, evaluate_sets, summarise
from ipt_platform.evaluate.testset import TestSet, frozen_task, open_testset


@pytest.fixture(scope="module")
def testset(tmp_path_factory) -> TestSet:
    folder = tmp_path_factory.mktemp("pictures")
    for place, crop in enumerate(np.split(skimage.data.coffee()[:100, :500], 5, axis=1)):
        Image.fromarray(crop).save(folder / f"{place}.png")
    return open_testset("cups", [folder])


def smooth(picture: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), 1.0)


def test_a_model_that_does_nothing_gains_nothing(testset):
    for protocol in PROTOCOLS:
        numbers = summarise(evaluate_model(lambda x: x, testset, frozen_task("denoise"), protocol))

        assert numbers["psnr"] == numbers["psnr_input"]
        assert numbers["n"] == 5
    # Noise of sigma 25 alone is 20.17 dB; clipping at black and white takes some of it away.
    assert 20.0 < numbers["psnr_input"] < 26


def test_a_model_that_smoothes_gains_on_noise(testset):
    numbers = summarise(evaluate_model(smooth, testset, frozen_task("denoise"), "rgb-uint8"))

    assert numbers["psnr"] > numbers["psnr_input"] + 2


def test_any_number_of_ranks_gives_the_same_bits(testset):
    task = frozen_task("denoise")
    alone = evaluate_model(smooth, testset, task, "rgb-float")

    for world in (2, 3, 7):
        parts = [evaluate_model(smooth, testset, task, "rgb-float", share=(rank, world)) for rank in range(world)]
        together = sum(parts[1:], start=parts[0])

        np.testing.assert_array_equal(together.table, alone.table)
        assert summarise(together) == summarise(alone)


def test_the_mean_is_over_pictures_in_decibels():
    table = np.array([[30, 20, 0.9, 1], [0, 0, 0, 0], [40, 22, 0.7, 1]], float)

    numbers = summarise(Scores(table))

    assert numbers == {"psnr": 35.0, "psnr_input": 21.0, "ssim": pytest.approx(0.8), "n": 2}
    with pytest.raises(ValueError, match="no picture"):
        summarise(Scores(np.zeros((3, 4))))


def test_every_picture_is_told_once_with_its_numbers(testset):
    told = []

    scores = evaluate_model(
        smooth,
        testset,
        frozen_task("denoise"),
        "rgb-uint8",
        on_item=lambda item, restored, numbers: told.append((item.key, restored.shape, numbers["psnr"])),
    )

    assert [key for key, _, _ in told] == ["0", "1", "2", "3", "4"]
    assert [psnr for _, _, psnr in told] == scores.table[:, 0].tolist()


def test_a_model_that_gives_nan_is_named_with_the_picture(testset):
    with pytest.raises(TrainingError, match="denoise, test set cups, picture 0: 30000 of 30000"):
        evaluate_model(lambda x: x * math.nan, testset, frozen_task("denoise"), "rgb-uint8")


def test_sets_and_tasks_give_the_form_of_the_report(testset, tmp_path):
    loaded = []

    def restore_fn_of(task):
        loaded.append(task)
        return smooth

    sets = evaluate_sets(restore_fn_of, [testset], [frozen_task("denoise"), frozen_task("deblur")], "rgb-uint8")
    report = make_report(
        protocol="rgb-uint8",
        sets=sets,
        backbone_parameters=500_000,
        bias_parameters={"denoise": 40_000, "deblur": 40_000},
        steps=10,
        seconds=2.5,
        images_per_second=16.0,
        data_wait_share=0.01,
        samples={"seen": 40, "bad": {"cut-off": 2}},
    )
    write_report(tmp_path / "report.json", report)

    assert loaded == ["denoise", "deblur"]
    assert read_report(tmp_path / "report.json") == report
    assert set(report) == {
        "protocol",
        "sets",
        "parameters",
        "steps",
        "seconds",
        "images_per_second",
        "data_wait_share",
        "samples",
    }
    assert set(report["sets"]["cups"]["deblur"]) == {"psnr", "psnr_input", "ssim", "n"}
    assert report["samples"] == {"seen": 40, "bad": {"cut-off": 2}}
    assert report["parameters"] == {"backbone": 500_000, "bias": {"denoise": 40_000, "deblur": 40_000}}


def test_a_perfect_picture_is_null_in_the_report_and_inf_in_the_table(testset, tmp_path):
    sets = evaluate_sets(lambda task: lambda x: x, [testset], [frozen_task("denoise", {"sigma": 0})], "rgb-uint8")

    assert sets["cups"]["denoise"]["psnr"] is None
    write_report(tmp_path / "report.json", {"protocol": "rgb-uint8", "sets": sets})
    assert json.loads((tmp_path / "report.json").read_text()) == {"protocol": "rgb-uint8", "sets": sets}
    assert rows_of(sets)[0].cells() == ("cups", "denoise", "5", "inf", "inf", "+0.00", "1.0000")
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path / "other.json", {"protocol": "x", "sets": math.inf})
    assert not (tmp_path / "other.json").exists()


def test_tables_show_input_restored_and_gain():
    sets = {"cats": {"denoise": {"psnr": 29.054, "psnr_input": 20.456, "ssim": 0.81239, "n": 68}}}

    lines = text_table(sets).splitlines()
    assert lines[0].split() == ["set", "task", "pictures", "input", "dB", "restored", "dB", "gain", "SSIM"]
    assert lines[1].split() == ["cats", "denoise", "68", "20.46", "29.05", "+8.60", "0.8124"]
    assert len(lines[0]) == len(lines[1])
    assert "| cats | denoise | 68 | 20.46 | 29.05 | +8.60 | 0.8124 |" in markdown_table(sets, "rgb-uint8")
    assert "`rgb-uint8`" in markdown_table(sets, "rgb-uint8")


def test_what_is_no_report_is_refused(tmp_path):
    with pytest.raises(NotFoundError):
        read_report(tmp_path / "report.json")
    for content in ("{", "[]", '{"protocol": 1}'):
        (tmp_path / "report.json").write_text(content)
        with pytest.raises(DataError):
            read_report(tmp_path / "report.json")
