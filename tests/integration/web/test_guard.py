"""What every request passes: host, headers, login, role, forms, rate and size."""

import re
from datetime import UTC, datetime

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from ipt_platform.observe.events import read_events
from ipt_platform.web.app import create_app
from ipt_platform.web.security.users import add_user, remove_user
from ipt_platform.web.settings import Settings
from tests.integration.web.conftest import HTML, client_of, login, post, proof_of, write_run


def test_every_response_says_what_a_browser_may_do(guarded):
    browser = guarded()
    for path in ("/", "/login", "/nothing", "/static/app.css", "/healthz", "/runs/none"):
        headers = browser.get(path, headers=HTML).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "strict-transport-security" not in headers


def test_no_page_needs_what_the_policy_forbids(client, storage):
    write_run(storage, "demo")
    write_run(storage, "other")
    for path in ("/", "/runs", "/runs/demo", "/runs/demo/logs", "/runs/demo/job", "/compare?run=demo&run=other", "/nothing"):
        text = client.get(path, headers=HTML).text
        assert not re.search(r"<[^>]+\s(style|on\w+)\s*=", text), path
        assert not re.search(r"<script(?![^>]*\ssrc=)", text), path
        assert not re.search(r"""(src|href)=["'](https?:)?//""", text), path


def test_a_name_that_is_not_ours_is_refused(client):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/static/app.css", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/", headers={"Host": "localhost:1234"}).status_code == 200


def test_who_has_not_logged_in_sees_nothing(guarded, storage):
    write_run(storage, "demo")
    browser = guarded()

    page = browser.get("/runs/demo?x=1", headers=HTML)
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=/runs/demo%3Fx%3D1")
    for path in ("/", "/runs", "/runs/demo/series", "/parts/fleet", "/compare?run=a&run=b"):
        refused = browser.get(path)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
    assert browser.get("/static/app.css").status_code == 200


def test_a_login_opens_the_page_and_goes_where_one_came_from(guarded, tokens):
    browser = guarded()

    answer = login(browser, tokens["viewer"], next="/runs?q=a")

    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?q=a")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    assert tokens["viewer"] not in cookie
    assert "viewer-ann (viewer)" in browser.get("/", headers=HTML).text


def test_over_https_the_cookie_is_sent_over_https_alone(storage, users, tokens):
    browser = TestClient(create_app(Settings(str(storage), users=users)), base_url="https://localhost", follow_redirects=False)

    answer = browser.post("/login", data={"token": tokens["viewer"]}, headers={"Origin": "https://localhost"})

    assert "secure" in answer.headers["set-cookie"].lower()
    assert "strict-transport-security" not in answer.headers  # it would hold for the services at other ports too


@pytest.mark.parametrize("after", ["//evil.example", "/\\evil.example", "https://evil.example", "", "/login", "/a\r\nX: 1"])
def test_a_login_leads_to_no_other_place(guarded, tokens, after):
    assert login(guarded(), tokens["viewer"], next=after).headers["location"] == "/"


def test_a_wrong_token_is_not_said_again(guarded):
    browser = guarded()

    answer = login(browser, "ipt_secret<b>")

    assert answer.status_code == 401
    assert "not known" in answer.text
    assert "ipt_secret" not in answer.text
    assert browser.get("/").status_code == 401


def test_pages_at_other_ports_of_a_host_end_no_login(storage, users, tokens):
    pages = [create_app(Settings(str(storage), users=users)) for _ in range(2)]
    first, second = (
        TestClient(page, base_url=f"http://localhost:{port}", follow_redirects=False)
        for page, port in zip(pages, (8260, 8261), strict=True)
    )
    second.cookies.jar = first.cookies.jar  # a browser does not tell the ports of a host apart

    for browser in (first, second):
        assert (
            browser.post("/login", data={"token": tokens["viewer"]}, headers={"Origin": str(browser.base_url)}).status_code
            == 303
        )
    assert [browser.get("/runs").status_code for browser in (first, second)] == [200, 200]

    assert post(second, "/logout", origin=str(second.base_url)).status_code == 303
    assert [browser.get("/runs").status_code for browser in (first, second)] == [200, 401]


def test_a_cookie_of_another_application_hides_no_login(guarded):
    browser = guarded("viewer")
    ((name, value),) = browser.cookies.items()
    browser.cookies.clear()

    for others in ('prefs={"a":1}; ', "é=1; ", "a b=c; ", "=; ;", "x,y=z; "):
        cookies = f"{others}{name}={value}".encode()
        assert browser.get("/runs", headers={"Cookie": cookies}).status_code == 200, others


def test_a_user_who_is_taken_out_is_logged_out(guarded, users):
    browser = guarded("viewer")
    assert browser.get("/").status_code == 200

    remove_user(users, "viewer-ann")

    assert browser.get("/").status_code == 401
    again = browser.get("/", headers=HTML)
    assert again.headers["location"].endswith("&again=1")
    assert "login has ended" in browser.get(again.headers["location"], headers=HTML).text


def test_a_token_that_has_expired_opens_nothing(guarded, users):
    token = add_user(users, "late", "admin", datetime(2020, 1, 1, tzinfo=UTC))

    assert login(guarded(), token).status_code == 401
    assert guarded().get("/", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_file_of_users_that_is_wrong_lets_nobody_in_and_tells_nobody_why(guarded, users, tokens):
    browser = guarded("admin")
    users.write_text("[users.ann\n")

    for answer in (browser.get("/"), browser.get("/", headers={"Authorization": f"Bearer {tokens['admin']}"})):
        assert answer.status_code == 401
        assert "users.toml" not in answer.text
    again = login(browser, tokens["admin"])
    assert again.status_code == 503
    assert "users.toml" not in again.text


def test_after_a_logout_the_cookie_is_worth_nothing(guarded):
    browser = guarded("viewer")
    cookie = dict(browser.cookies)

    assert post(browser, "/logout").headers["location"] == "/login"

    browser.cookies.update(cookie)
    assert browser.get("/").status_code == 401


def test_programs_show_their_token_in_a_header(guarded, tokens, storage):
    run = write_run(storage, "demo")
    browser = guarded()

    assert browser.get("/runs", headers={"Authorization": f"Bearer {tokens['viewer']}"}).status_code == 200
    assert browser.get("/runs", headers={"Authorization": "Bearer wrong"}).status_code == 401
    done = browser.post("/runs/demo/cancel", headers={"Authorization": f"Bearer {tokens['runner']}"})
    assert done.status_code == 303
    assert run.stop_requested(1) == "cancelled by runner-ann on the page"


def test_who_may_only_look_steers_nothing(guarded, storage):
    run = write_run(storage, "demo")
    viewer, runner = guarded("viewer"), guarded("runner")

    assert "Cancel after a checkpoint" not in viewer.get("/runs/demo", headers=HTML).text
    assert post(viewer, "/runs/demo/cancel").status_code == 403
    assert post(viewer, "/runs/demo/resume").status_code == 403
    assert run.stop_requested(1) is None

    assert "Cancel after a checkpoint" in runner.get("/runs/demo", headers=HTML).text
    assert post(runner, "/runs/demo/cancel").status_code == 303
    assert run.stop_requested(1) == "cancelled by runner-ann on the page"
    assert [event["reason"] for event in read_events(run) if event["type"] == "stop-requested"] == [
        "cancelled by runner-ann on the page"
    ]


def test_who_may_steer_asks_for_a_checkpoint(guarded, storage):
    run = write_run(storage, "demo")
    viewer, runner = guarded("viewer"), guarded("runner")

    assert "Checkpoint now" not in viewer.get("/runs/demo", headers=HTML).text
    assert post(viewer, "/runs/demo/checkpoint").status_code == 403
    assert run.checkpoint_requested(1) is None

    assert "Checkpoint now" in runner.get("/runs/demo", headers=HTML).text
    assert post(runner, "/runs/demo/checkpoint").headers["location"] == "/runs/demo"
    assert run.checkpoint_requested(1)
    assert run.stop_requested(1) is None
    assert [event["reason"] for event in read_events(run) if event["type"] == "checkpoint-requested"] == [
        "a checkpoint was asked for by runner-ann on the page"
    ]


def test_a_form_that_is_not_one_of_ours_does_nothing(guarded, client, storage):
    run = write_run(storage, "demo")
    runner, other = guarded("runner"), guarded("runner")

    for browser, foreign in ((runner, proof_of(other)), (client, "00")):
        assert post(browser, "/runs/demo/cancel", proof="").status_code == 403
        assert post(browser, "/runs/demo/cancel", proof=foreign).status_code == 403
        assert post(browser, "/runs/demo/cancel", origin="http://evil.example").status_code == 403
        assert post(browser, "/runs/demo/cancel", origin="null").status_code == 403
        good = {"X-CSRF-Token": proof_of(browser)}
        assert browser.post("/runs/demo/cancel", headers=good).status_code == 403  # nothing says where it came from
        crossed = {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}
        assert browser.post("/runs/demo/cancel", headers=good | crossed).status_code == 403
    assert run.stop_requested(1) is None

    ours = {"X-CSRF-Token": proof_of(runner), "Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert runner.post("/runs/demo/cancel", headers=ours).status_code == 303
    assert run.stop_requested(1)


def test_what_nobody_would_send_is_refused_and_no_error_of_ours(guarded, storage, caplog):
    write_run(storage, "demo")
    nobody, runner = guarded(), guarded("runner")
    ours = {"X-CSRF-Token": proof_of(runner), "Origin": "http://localhost"}

    for path in ("/healthz", "/static/app.css"):
        assert nobody.post(path, headers={"Origin": "http://localhost"}).status_code == 401
        assert runner.post(path, headers=ours).status_code == 405
    assert runner.post("/runs/demo/cancel", headers=ours | {"Origin": "http://["}).status_code == 403
    assert login(nobody, "", **{f"field{number}": "x" for number in range(100)}).status_code == 400
    for host in ("[", "localhost:x", "localhost:99999", ""):
        assert nobody.get("/login", headers={"Host": host}).status_code == 421
    for step in ("9" * 5000, "9" * 300, "x", "٣"):
        assert runner.get(f"/runs/demo/pictures/{step}/a/params").status_code == 404
        assert runner.get(f"/runs/demo/pictures/{step}/a/clean.png").status_code == 404
    assert caplog.text == ""


def test_what_changes_something_is_no_get(client, storage):
    run = write_run(storage, "demo")

    assert client.get("/runs/demo/cancel").status_code == 405
    assert run.stop_requested(1) is None


def test_who_tries_tokens_has_to_wait(guarded, tokens):
    browser = guarded()
    codes = [login(browser, f"guess-{number}").status_code for number in range(12)]

    assert codes[0] == 401
    assert codes[-1] == 429
    late = login(browser, tokens["admin"])
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) >= 1


def test_too_large_a_body_is_refused(storage):
    small = client_of(Settings(str(storage), upload_bytes=1000))
    proof = {"X-CSRF-Token": proof_of(small), "Origin": "http://localhost"}

    assert small.post("/logout", content=b"x" * 2000, headers=proof).status_code == 413
    assert (
        small.post(
            "/logout", content=iter([b"x" * 600] * 3), headers=proof | {"Content-Type": "application/x-www-form-urlencoded"}
        ).status_code
        == 413
    )
    assert small.post("/logout", content=b"", headers=proof | {"Content-Length": "-1"}).status_code == 413


def test_an_error_of_our_own_tells_nothing_of_it(storage, caplog):
    def broken(request: Request):
        raise ValueError("a secret of the inside")

    def refusing(request: Request):
        raise HTTPException(418, "<b>no</b>")

    app = create_app(Settings(str(storage)))
    app.router.routes += [
        Route("/broken", broken),
        Route("/refusing", refusing),
        Route("/fine", lambda request: PlainTextResponse("fine")),
    ]
    browser = TestClient(app, base_url="http://localhost")

    answer = browser.get("/broken", headers=HTML)

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "content-security-policy" in answer.headers
    assert "a secret of the inside" in caplog.text
    assert "&lt;b&gt;no&lt;/b&gt;" in browser.get("/refusing", headers=HTML).text
