"""How the exporter is reached: the configuration file, the environment, secrets by name alone."""

import json

import pytest

from ipt_platform.cluster.scraping import VARIABLES, MetricsEntry, metrics_entry, remove_targets, write_targets
from ipt_platform.cluster.target import config_path, read_config
from ipt_platform.errors import NotFoundError, SpecError, UsageError
from ipt_platform.observe.listen import Listen
from ipt_platform.spec.secret import read_secret

TOKEN = "planted-0123456789"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


def configured(text: str) -> MetricsEntry:
    config_path().parent.mkdir(parents=True, exist_ok=True)
    config_path().write_text(text)
    return read_config().metrics


def test_without_a_section_nothing_is_asked_for():
    assert metrics_entry(read_config().metrics) == MetricsEntry()


def test_the_environment_comes_before_the_file(monkeypatch):
    entry = configured('[metrics]\nlisten = "127.0.0.1:9464"\ntoken = "env:OF_THE_FILE"\n')
    monkeypatch.setenv("IPT_METRICS_LISTEN", "0.0.0.0:9000")
    monkeypatch.setenv("IPT_METRICS_TARGETS", "/somewhere/targets.json")

    assert metrics_entry(entry) == MetricsEntry(
        listen="0.0.0.0:9000", token="env:OF_THE_FILE", targets="/somewhere/targets.json"
    )


@pytest.mark.parametrize("line", ['listen = "9464"', f'token = "{TOKEN}"', 'adress = "127.0.0.1:9464"', "listen = 9464"])
def test_what_is_wrong_in_the_file_is_named_with_its_key_and_without_the_secret(line):
    with pytest.raises(SpecError) as found:
        configured(f"[metrics]\n{line}\n")

    assert f"metrics.{line.split()[0]}" in str(found.value)
    assert TOKEN not in str(found.value)


@pytest.mark.parametrize(("variable", "value"), [("IPT_METRICS_LISTEN", "9464"), ("IPT_METRICS_TOKEN", TOKEN)])
def test_what_is_wrong_in_the_environment_is_named_without_the_secret(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)

    with pytest.raises(UsageError, match=variable) as found:
        metrics_entry(MetricsEntry())
    assert TOKEN not in str(found.value)


def test_a_token_comes_from_a_file_that_only_its_owner_reads(tmp_path):
    path = tmp_path / "token"
    with pytest.raises(NotFoundError, match="the exporter: its token should be in"):
        read_secret(f"file:{path}", "the exporter", "token")
    path.touch(mode=0o644)
    path.write_text(f"{TOKEN}\n")
    with pytest.raises(UsageError, match="others can read"):
        read_secret(f"file:{path}", "the exporter", "token")
    path.chmod(0o600)
    assert read_secret(f"file:{path}", "the exporter", "token")[0] == TOKEN


def test_targets_are_what_prometheus_reads(tmp_path):
    path = tmp_path / "new" / "targets.json"
    write_targets(path, Listen("127.0.0.1", 9464))
    write_targets(path, Listen("::1", 9465))

    assert json.loads(path.read_text()) == [{"targets": ["[::1]:9465"], "labels": {}}]
    assert [each.name for each in path.parent.iterdir()] == ["targets.json"]


def test_targets_that_name_another_exporter_stay(tmp_path):
    path = tmp_path / "targets.json"
    remove_targets(path, ["127.0.0.1:9464"])
    write_targets(path, Listen("127.0.0.1", 9464))
    for addresses in ([], ["127.0.0.1:9465"]):
        remove_targets(path, addresses)
        assert path.exists()

    remove_targets(path, ["127.0.0.1:9465", "127.0.0.1:9464"])

    assert not path.exists()
