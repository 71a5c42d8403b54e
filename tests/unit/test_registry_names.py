"""How versions and aliases are named, and what cannot be a name."""

import pytest

from ipt_platform.errors import UsageError
from ipt_platform.registry.names import Reference, check_alias, parse_reference, parse_versioned


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my-derain", Reference("my-derain")),
        ("my-derain@12", Reference("my-derain", version=12)),
        ("my-derain@prod", Reference("my-derain", alias="prod")),
        ("a@a1", Reference("a", alias="a1")),
    ],
)
def test_a_name_a_version_or_an_alias_and_back(text, expected):
    assert parse_reference(text) == expected
    assert str(expected) == text


BAD_TASKS = ("", "@1", "2x", "-a", "My", "a_b", "a/b", "..", "../a", "a b", "a" * 64, "a\n", "ä")
BAD_VERSIONS = ("a@", "a@0", "a@01", "a@-1", "a@1.0", "a@../b", "a@B", "a@1@2", "a@" + "b" * 64, "a@1\n", "a@\x00")


@pytest.mark.parametrize("text", [*BAD_TASKS, *BAD_VERSIONS])
def test_what_could_lead_elsewhere_is_no_name(text):
    with pytest.raises(UsageError):
        parse_reference(text)


def test_where_one_version_is_wanted_a_task_or_an_alias_will_not_do():
    for text in ("my-derain", "my-derain@prod"):
        with pytest.raises(UsageError, match="my-derain@3"):
            parse_versioned(text)
    with pytest.raises(UsageError, match="cannot be an alias"):
        check_alias("3")
