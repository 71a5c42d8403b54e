"""Secrets out of text that leaves the house: by the form they have, by the name they stand behind, by their value.

What is found is replaced by MASK. When in doubt a word is lost rather than a secret told; digests, ids, numbers and paths that
stand behind no such name stay as they are.
"""

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

MASK = "[redacted]"
SHORTEST = 6
"""Characters. A shorter value of an environment variable is looked for nowhere: it would be found in everything."""

_WORDS = (
    r"(?:pass(?:word|wd|phrase|code)|secret(?:[_-]?(?:access[_-]?)?key)?|token|api[_-]?key|access[_-]?key(?:[_-]?id)?"
    r"|private[_-]?key|auth[_-]?key|signing[_-]?key|credentials?|cookie)"
)
_SECRET_VARIABLE = re.compile(rf"{_WORDS}(?:$|[_\d])(?!.*(?:file|path|dir|directory|mode)$)", re.IGNORECASE)

_KEY_BEGIN = r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
_KEY_END = r"-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
_WHOLE_KEY = re.compile(rf"{_KEY_BEGIN}.*?{_KEY_END}", re.DOTALL)
_BEGUN_KEY = re.compile(rf"{_KEY_BEGIN}(?:[A-Za-z0-9+/=\s]|\\[nr])*")
_ENDED_KEY = re.compile(_KEY_END)
_KEY_LINES = re.compile(r"(?:[A-Za-z0-9+/=]{1,100}(?:\r?\n|\\r\\n|\\n))+\Z")
_KEY_BYTES = 1 << 14  # no key is longer

_QUOTE = r"\\*[\"']"  # also one in a text that stands in JSON itself
_SIGNED = "x-(?:amz|goog|ms)-(?:signature|credential|security-token)|signature|sig|awsaccesskeyid|key|code|auth|jwt"
_FORMS = [
    re.compile(pattern, re.IGNORECASE)  # group 1 stays
    for pattern in (
        # user:password@ of a URL, up to the last @ before the path
        r"(\b[a-z][a-z0-9+.-]{0,20}://)[^\s/\"'<>\\]+(?=@)",
        # queries that are signed
        rf"([?&](?:{_SIGNED})=)[^&\s\"'#<>\\]+",
        rf"((?:proxy-)?authorization(?:{_QUOTE})?\s*(?:[:=]\s*(?:b?{_QUOTE})?|,\s*b?{_QUOTE}))[^\"'\n\\]+",
        r"(bearer\s+)[^\s\"',;\\]+",
        rf"(--[\w-]{{0,40}}{_WORDS}\s+)(?![-\"'=])[^\s\"'\\]+",
        # AWS key ids; in JSON a line end is written \n
        r"((?:(?<![a-z0-9])|(?<=\\[nrt]))(?-i:A(?:KIA|SIA|ROA|IDA|GPA|NPA|NVA|BIA|CCA)))(?-i:[A-Z0-9]{16})(?![a-z0-9])",
    )
]

# Values that tell nothing, and the beginning of an object or a list, whose members have names of their own.
_NO_SECRET = rf"(?!(?:null|none|true|false|~)(?![^\s,}}\]\"'])|{re.escape(MASK)}|[\[{{]\s*(?:[\"'\[{{\]}}]|$))"
_NAME = rf"[\w.-]{{0,60}}?{_WORDS}"
# A block of text in YAML: the lines that stand further to the right than its name.
_BLOCK = re.compile(
    rf"^(?P<name>(?P<indent>[ \t]*)(?:- )?[\"']?{_NAME}[\"']?:[ \t]*[|>][-+0-9]*[ \t]*\n)"
    r"(?:(?P=indent)[ \t]+\S.*(?:\n|\Z)|[ \t]*\n)+",
    re.IGNORECASE | re.MULTILINE,
)
# A name that begins its line, as in YAML and in files of variables: all of the line that is left.
_LINE = re.compile(
    rf"^([ \t]*(?:- |export )?{_NAME}(?:[ \t]*=[ \t]*|:[ \t]+)){_NO_SECRET}(?![\s\"'|>]).+", re.IGNORECASE | re.MULTILINE
)
_ASSIGNED = re.compile(
    rf"(?P<name>{_WORDS}(?P<close>{_QUOTE})?\]?\s*(?:=>|=|:|,(?=\s*{_QUOTE}))\s*)"
    r"(?:(?P<double>b?\")(?:[^\"\\\n]|\\.)+"
    r"|(?P<single>b?')(?:[^'\\\n]|\\.|'')+"
    r"|(?P<inner>\\+\")(?:(?!\\+\").)+"
    rf"|{_NO_SECRET}(?P<bare>(?:[^\s\"'&\\]|\\(?![\"'\\]))+))",
    re.IGNORECASE,
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without secrets; doing it twice changes nothing more.

    Args:
        text: lines of a log, JSON, YAML or plain words.
        secrets: values that are secret wherever they stand (`secrets_of`).
    """
    for secret in sorted({form for each in secrets for form in _spellings(each)}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _without_keys(text)
    for form in _FORMS:
        text = form.sub(lambda found: found[1] + MASK, text)
    text = _BLOCK.sub(lambda found: f"{found['name']}{found['indent']}  {MASK}\n", text)
    text = _LINE.sub(lambda found: found[1] + MASK, text)
    return _ASSIGNED.sub(_masked, text)


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """The values of environment variables whose names say that they are secret, and the lines of those that have several."""
    values = [value.strip() for name, value in environment.items() if _SECRET_VARIABLE.search(name)]
    return [text for value in values for text in {value, *value.splitlines()} if len(text) >= SHORTEST]


def _spellings(secret: str) -> set[str]:
    """A secret as it stands, in JSON, and in a URL."""
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
        quote(secret),
    }


def _masked(found: re.Match[str]) -> str:
    """An assignment without its value, in the quotes in which that stood."""
    if found["bare"] and (quotes := found["close"]):  # a number in JSON, which ends where its object does
        bare = found["bare"]
        return f"{found['name']}{quotes}{MASK}{quotes}{bare[len(bare.rstrip(',}]')) :]}"
    return f"{found['name']}{found['double'] or found['single'] or found['inner'] or ''}{MASK}"


def _without_keys(text: str) -> str:
    """Without private keys in PEM, also those whose beginning or end was cut off."""
    text = _BEGUN_KEY.sub(MASK, _WHOLE_KEY.sub(MASK, text))
    while found := _ENDED_KEY.search(text):
        before = text[: found.start()]
        lines = _KEY_LINES.search(before, max(0, len(before) - _KEY_BYTES))
        text = before[: lines.start() if lines else len(before)] + MASK + text[found.end() :]
    return text
