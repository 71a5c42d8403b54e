"""What is told of a run that is led: that it is, whatever kind of job it is; of workers speaks who has some."""

import pytest

from ipt_platform.observe.teller import Teller
from ipt_platform.train import exporting
from tests.exporter import Exporter


@pytest.fixture
def exporter(monkeypatch) -> Exporter:
    found = Exporter("1.0")
    monkeypatch.setattr(exporting, "new_teller", lambda: Teller(lambda: found))
    return found


def test_a_search_is_led_and_has_no_workers_of_its_own_that_could_be_missed(exporter):
    with exporting.led("search") as voice:
        voice.set("ipt_search_best_psnr_db", 30)
    assert 'ipt_train_running{job="search"} 0.0' in exporter.text()

    with exporting.led("search") as voice:
        voice.set("ipt_search_best_psnr_db", 30)

    assert 'ipt_search_best_psnr_db{job="search"} 30.0' in exporter.text()
    assert "ipt_train_workers" not in exporter.text()


def test_of_a_part_of_a_job_nothing_is_told(exporter):
    with exporting.led("search", part=True):
        pass

    assert 'job="search"' not in exporter.text()
