"""Who may use the page: the file of users, logins, limits, and the names of the page."""

import stat
from datetime import UTC, datetime, timedelta

import pytest

from ipt_platform.errors import NotFoundError, RefusedError, SpecError, UsageError
from ipt_platform.web.security.hosts import is_loopback, known_host, own_names, same_origin
from ipt_platform.web.security.limits import Limiter
from ipt_platform.web.security.sessions import Sessions
from ipt_platform.web.security.users import ROLES, User, Users, add_user, read_users, remove_user

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def test_a_token_is_known_by_its_digest_alone(tmp_path):
    path = tmp_path / "users.toml"
    token = add_user(path, "ann@lab", "runner")
    other = add_user(path, "bob", "viewer")

    users = Users(path)

    assert users.with_token(token, NOW) == User("ann@lab", "runner", read_users(path)["ann@lab"].token_sha256)
    assert users.with_token(other, NOW).name == "bob"
    assert users.with_token(token[:-1], NOW) is None
    assert users.with_token("", NOW) is None
    assert token not in path.read_text()
    assert len(token) > 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_that_expired_or_was_taken_back_is_nobodys(tmp_path):
    path = tmp_path / "users.toml"
    token = add_user(path, "ann", "admin", NOW + timedelta(days=1))
    users = Users(path)

    assert users.with_token(token, NOW + timedelta(hours=23))
    assert users.with_token(token, NOW + timedelta(days=1)) is None

    remove_user(path, "ann")
    assert users.with_token(token, NOW) is None


def test_a_wrong_file_lets_nobody_in_and_says_why(tmp_path):
    path = tmp_path / "users.toml"
    with pytest.raises(UsageError, match="user add"):
        Users(path).with_token("x", NOW)
    path.write_text("[users.ann\n")
    with pytest.raises(UsageError, match="no file of users"):
        Users(path).with_token("x", NOW)
    path.write_text('[users.ann]\nrole = "king"\ntoken_sha256 = "00"\nexpires = 2027-01-01\n')
    with pytest.raises(SpecError) as caught:
        Users(path).with_token("x", NOW)
    assert {problem.path for problem in caught.value.problems} == {
        "users.ann.role",
        "users.ann.token_sha256",
        "users.ann.expires",
    }


def test_what_cannot_be_added_or_removed_is_refused(tmp_path):
    path = tmp_path / "users.toml"
    add_user(path, "ann", "viewer")

    with pytest.raises(RefusedError, match="already"):
        add_user(path, "ann", "admin")
    with pytest.raises(UsageError, match="no name"):
        add_user(path, 'x"]\nrole', "viewer")
    with pytest.raises(UsageError, match="no role"):
        add_user(path, "bob", "king")
    with pytest.raises(NotFoundError, match="it has ann"):
        remove_user(path, "bob")
    assert list(read_users(path)) == ["ann"]


def test_each_role_may_what_those_before_it_may():
    assert [[User("a", mine).may(asked) for asked in ROLES] for mine in ROLES] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_a_login_ends_in_time_and_when_asked_to():
    now = [0.0]
    sessions = Sessions(10, lambda: now[0])
    first, second = sessions.begin("digest"), sessions.begin("digest")

    sessions.end(first)
    now[0] = 9.9
    assert sessions.find(first) is None
    assert sessions.find(second)
    now[0] = 10.0
    assert sessions.find(second) is None


def test_a_form_counts_for_its_own_login_alone():
    sessions = Sessions(10, lambda: 0.0)
    first, second = sessions.begin("digest"), sessions.begin("digest")

    assert sessions.proves(first, sessions.proof(first))
    assert not sessions.proves(second, sessions.proof(first))
    assert not sessions.proves(first, "")
    assert not sessions.proves(first, "\N{LATIN SMALL LETTER E WITH ACUTE}")
    assert not Sessions(10, lambda: 0.0).proves(first, sessions.proof(first))


def test_a_bucket_fills_again_with_time_and_is_nobody_elses():
    now = [0.0]
    limiter = Limiter(burst=3, per_minute=60, clock=lambda: now[0])

    assert [limiter.take("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.take("a") == pytest.approx(1)
    assert limiter.take("b") == 0
    now[0] = 1.0
    assert limiter.take("a") == 0
    assert limiter.take("a") > 0
    now[0] = 1e6
    assert [limiter.take("a") for _ in range(4)][:3] == [0, 0, 0]


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("localhost:80", True),
        ("LOCALHOST", True),
        ("127.0.0.1:8260", True),
        ("[::1]:8260", True),
        ("10.0.0.7", True),  # digits belong to no name, so nobody can point them here
        ("page.lab.example:443", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:80", False),
        ("user@localhost", False),
        ("localhost/x", False),
        ("localhost:x", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_only_names_of_the_page_are_answered(header, known):
    assert known_host(header, own_names("127.0.0.1", ["Page.Lab.example."])) is known


@pytest.mark.parametrize(
    ("origin", "site", "ours"),
    [
        ("http://localhost:80", "same-origin", True),
        ("http://localhost:80", None, True),
        (None, "same-origin", True),
        (None, None, False),
        ("null", None, False),
        ("http://localhost:81", None, False),
        ("http://evil.example", "cross-site", False),
        ("http://localhost:80", "same-site", False),
        ("http://localhost:80", "cross-site", False),
        ("http://localhost:80.evil.example", None, False),
    ],
)
def test_what_changes_something_must_come_from_a_page_of_ours(origin, site, ours):
    assert same_origin(origin, site, "localhost:80") is ours


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("lab", False),
    ],
)
def test_what_only_this_machine_can_reach_is_loopback(host, loopback):
    assert is_loopback(host) is loopback
