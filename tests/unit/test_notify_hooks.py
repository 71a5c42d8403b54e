"""Webhooks as a configuration names them."""

import base64

import pytest

from ipt_platform.cluster import telling
from ipt_platform.cluster.target import read_config
from ipt_platform.errors import NotFoundError, SpecError, UsageError
from ipt_platform.notify.hooks import HookEntry, hook_of
from tests.receiver import KEY, SECRET


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/x", "https://me:secret@hooks.example/x", "ftp://hooks.example/x", "https:///x", "hooks.test/runs",
        "https://[::1/x", "https://hooks.example:99999/", "https://hooks.example/#me@there",
    ],
)  # fmt: skip
def test_an_address_that_is_none_or_tells_a_secret_is_refused_and_not_shown(url):
    with pytest.raises(ValueError, match="expected") as met:
        HookEntry(url=url, secret="env:S")

    assert url not in str(met.value.errors()[0]["msg"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("secret", ["", "abc", "whsec_", "whsec_!!!", f"whsec_{base64.b64encode(b'short').decode()}"])
def test_a_secret_that_is_no_key_is_refused_and_not_shown(secret, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", secret)

    with pytest.raises((UsageError, NotFoundError)) as met:
        hook_of("chat", HookEntry(url="https://hooks.example/", secret="env:HOOK_SECRET"))

    assert not secret or secret == "whsec_" or secret not in str(met.value)


def test_hooks_are_read_from_the_configuration_and_a_wrong_one_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    (tmp_path / "ipt-platform").mkdir()
    file = tmp_path / "ipt-platform" / "config.toml"
    file.write_text('[notify.chat]\nurl = "https://hooks.example/runs"\nsecret = "env:HOOK_SECRET"\non = ["failed"]\n')

    (hook,) = telling.hooks()

    assert (hook.name, hook.key, hook.on, hook.host) == ("chat", KEY, {"failed"}, "hooks.example")
    assert SECRET not in repr(hook)
    assert repr(KEY) not in repr(hook)

    file.write_text('[notify.chat]\nurl = "https://me:mine@hooks.test/runs"\nsecret = "whsec_abc"\non = ["fails"]\n')
    with pytest.raises(SpecError) as met:
        read_config()
    assert "whsec_abc" not in str(met.value)
    assert "me:mine" not in str(met.value)
    assert "notify.chat.secret" in str(met.value)
    assert "notify.chat.on" in str(met.value)
