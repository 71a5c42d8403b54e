"""What is secret is not told, in whatever form it stands; what is not secret stays as it is."""

import json
import re

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ipt_platform.observe.redact import MASK, redact, secrets_of

# Made up of characters that keys and tokens have; long enough not to be found by chance in the words around it.
SECRET = st.text("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789+/=_-.", min_size=12, max_size=60).map(
    lambda t: f"q{t}Zx"
)
NAME = st.sampled_from(
    ["password", "PASSWORD", "db_password", "passwd", "secret", "client_secret", "token", "RAY_AUTH_TOKEN", "session-token",
     "aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "aws_access_key_id", "secretAccessKey", "api_key", "x-api-key", "apikey"]
)  # fmt: skip
KEY_BODY = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", min_size=40, max_size=300)
AROUND = st.text("lIO01 ,:\n\t()", max_size=30)  # nothing that a secret consists of


def pem(body: str, kind: str = "RSA ") -> str:
    lines = "\n".join(body[start : start + 64] for start in range(0, len(body), 64))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----\n"


ASSIGNMENTS = {
    "text": "2026-11-26 11:00:00,000 INFO m: {name}={secret} was used",
    "text, quoted": "called with {name}='{secret}', then more",
    "text, colon": "the {name}: {secret} is wrong",
    "variables": "export {name}={secret}",
    "option": "ipt-x --{name} {secret} --json",
    "option, joined": "ipt-x --{name}={secret} --json",
    "json": '{{"a": 1, "{name}": "{secret}", "b": [2]}}',
    "json in json": '{{"reason": "got {{\\"{name}\\": \\"{secret}\\"}} back"}}',
    "words in json": '{{"reason": "{name}={secret}"}}',
    "yaml": "a: 1\n{name}: {secret}\nb: 2",
    "yaml, several words": "a: 1\n{name}: one two {secret}\nb: 2",
    "yaml, quoted": "a:\n  - {name}: '{secret}'\n    b: 2",
    "yaml, block": "a:\n  {name}: |\n    first\n    {secret}\n  b: 2",
    "yaml, flow": "a: {{{name}: {secret}}}",
    "python": "Client({{'{name}': b'{secret}'}})",
    "index": "os.environ['{name}'] = '{secret}'",
    "header": "{name}: {secret}\nHost: example.test",
    "query": "https://example.test/a?x=1&{name}={secret}&y=2",
}
FORMS = {
    "bearer": "Authorization: Bearer {secret}",
    "basic": "{{'Authorization': 'Basic {secret}'}}",
    "header json": '{{"authorization": "{secret}", "b": 1}}',
    "curl": "curl -H 'Authorization: Token {secret}' https://example.test",
    "pairs": "[('Authorization', 'Basic {secret}')]",
    "bearer alone": "sent bearer {secret}, got 403",
    "userinfo": "postgresql+psycopg://ann:{userinfo}@db.example.test/x",
    "userinfo alone": "fetching https://{userinfo}@example.test/repo.git failed",
    "signature": "https://b.example.test/k?X-Amz-Credential=x&X-Amz-Signature={query}&X-Amz-Date=2026",
    "security token": "GET /k?X-Amz-Security-Token={query} HTTP/1.1",
    "sig": "https://b.example.test/k?sv=2026&sig={query}",
}


def assert_json_tells_nothing(text: str, secret: str) -> None:
    """The same text as the value of a line of JSON, and as one in a text that is JSON itself."""
    once = json.dumps({"reason": text, "step": 1})
    for line in (once, json.dumps([once])):
        told = redact(line)
        assert secret not in told
        assert json.loads(told)


@pytest.mark.parametrize("form", ASSIGNMENTS)
@given(NAME, SECRET, AROUND)
def test_what_is_assigned_to_a_secret_name_is_not_told(form, name, secret, around):
    text = f"{around}\n{ASSIGNMENTS[form].format(name=name, secret=secret)}\n{around}"

    told = redact(text)

    assert secret not in told
    assert secret[1:-2] not in told
    assert MASK in told
    assert told.startswith(f"{around}\n")
    assert redact(told) == told
    if form not in ("yaml, several words", "yaml, block"):  # which have no lines in JSON
        assert_json_tells_nothing(text, secret[1:-2])


@pytest.mark.parametrize("form", FORMS)
@given(SECRET, AROUND)
def test_what_has_the_form_of_a_secret_is_not_told(form, secret, around):
    plain = secret.replace("/", "_")
    text = f"{around}\n{FORMS[form].format(secret=secret, userinfo=plain, query=plain)}\n{around}"

    told = redact(text)

    assert secret[1:-2] not in told
    assert plain[1:-2] not in told
    assert told.endswith(f"\n{around}")
    assert redact(told) == told
    assert_json_tells_nothing(text, secret[1:-2])
    assert_json_tells_nothing(text, plain[1:-2])


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=16, max_size=16), st.sampled_from(["AKIA", "ASIA"]))
@example("IOSFODNN7EXAMPLE", "AKIA")
def test_key_ids_are_known_by_their_form(end, begin):
    assert redact(f"denied to {begin}{end}, twice") == f"denied to {begin}{MASK}, twice"
    assert redact(json.dumps(f"to\n{begin}{end}")) == json.dumps(f"to\n{begin}{MASK}")


@given(KEY_BODY, st.sampled_from(["RSA ", "", "EC ", "OPENSSH "]), AROUND, st.data())
def test_private_keys_are_not_told_even_in_part(body, kind, around, data):
    key = pem(body, kind)
    lines = key.splitlines(keepends=True)
    first = data.draw(st.integers(0, len(lines) - 2))
    cut = "".join(lines[first:]) if data.draw(st.booleans()) else "".join(lines[: len(lines) - first])

    for text in (f"{around}:\n{key}{around}", f"{around}:\n{cut}{around}", json.dumps({"text": f"x: {key}"})):
        told = redact(text)
        # neither whole lines nor most of one
        assert not [line for line in body_lines(lines) if len(line) > 8 and line in told]
        assert redact(told) == told


def body_lines(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if "-----" not in line]


@given(st.text(min_size=6, max_size=40).map(str.strip).filter(lambda text: len(text) >= 6 and "redacted" not in text), AROUND)
def test_values_of_secret_variables_are_found_wherever_they_stand(value, around):
    secrets = secrets_of({"MY_TOKEN": value, "AWS_SECRET_ACCESS_KEY": "short", "RAY_AUTH_TOKEN_PATH": "around", "HOME": around})

    for text in (value, json.dumps(f"x{value}y"), f"see {value} and {value}"):
        assert value not in redact(text, secrets)
        assert json.dumps(value)[1:-1] not in redact(text, secrets)
    assert redact(around) == redact(around, secrets) or value in around


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "PGPASSWORD", "GITHUB_TOKEN", "API_KEY", "SECRET_KEY_BASE", "TOKEN_2"])
def test_variables_that_say_that_they_are_secret(name):
    assert secrets_of({name: "made-up-value"}) == ["made-up-value"]


@pytest.mark.parametrize(
    "name", ["HOME", "TOKENIZERS_PARALLELISM", "RAY_AUTH_MODE", "AWS_SHARED_CREDENTIALS_FILE", "MONKEY", "TOKEN_PATH"]
)
def test_variables_that_are_not_secret(name):
    assert secrets_of({name: "made-up-value"}) == []


PATH = st.lists(st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True), min_size=1, max_size=4)
ORDINARY = [
    "s3://bucket/prefix/a.tar", "loss", "denoise:", "step=12", '"key":', "https://example.test/a?b=1", "tokens: 12",
    "Traceback", "key=value", "author: ann", "--set a.b=2", "tokenizer=x", "RAY_AUTH_MODE=token", "secretary: bob",
    "ann@example.test",
]  # fmt: skip
WORDS = st.one_of(
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.from_regex(r"[a-z][a-z0-9]{0,9}-20[0-9]{6}-[0-9]{6}", fullmatch=True),
    st.floats(allow_nan=False).map(str),
    st.integers().map(str),
    PATH.map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(ORDINARY),
)


@given(st.lists(WORDS, max_size=12), st.sampled_from([" ", "\n", ", "]))
def test_ordinary_text_stays_as_it_is(words, between):
    text = between.join(words)

    assert redact(text) == text


VALUES = st.one_of(st.text(), st.none(), st.booleans(), st.integers(), st.dictionaries(NAME, st.text(), max_size=2))


@given(st.dictionaries(NAME, VALUES, max_size=4))
def test_json_stays_json_and_yaml_yaml(value):
    assert json.loads(redact(json.dumps(value))).keys() == value.keys()
    assert json.loads(redact(json.dumps(value, indent=2, ensure_ascii=True))).keys() == value.keys()
    words = {name: each for name, each in value.items() if isinstance(each, str) and re.fullmatch(r"[\w ./-]*", each)}
    assert yaml.safe_load(redact(yaml.safe_dump({"a": words}))).keys() == {"a"}
