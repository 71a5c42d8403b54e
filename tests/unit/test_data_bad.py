"""Bad pictures: how errors about them become names, counts and words."""

from ipt_platform.data.bad import Bad, count_kinds, kinds_in_words, names_in_lines
from ipt_platform.data.told import EXPECTED, retell, tell
from ipt_platform.errors import BAD_KINDS, BadPictureError, DataError


def test_kinds_are_counted_in_one_order_whatever_came_first():
    found = [Bad.of(BadPictureError(kind, "x"), "name") for kind in ("damaged", "cut-off", "damaged")]

    assert list(count_kinds(found).items()) == [("cut-off", 1), ("damaged", 2)]
    assert list(count_kinds(Bad.of(BadPictureError(kind, ""), "") for kind in reversed(BAD_KINDS))) == list(BAD_KINDS)
    assert kinds_in_words(count_kinds(found)) == "1 cut-off, 2 damaged"
    assert kinds_in_words({}) == ""


def test_a_bad_picture_is_named_with_its_reason():
    bad = Bad.of(BadPictureError("too-large", "is too large."), "a.png", "0.tar")

    assert (bad.name, bad.kind, bad.reason, bad.shard) == ("a.png", "too-large", "is too large.", "0.tar")
    assert names_in_lines([bad]) == "  a.png: is too large."


def test_what_a_bad_picture_ends_travels_in_its_words():
    error = BadPictureError("damaged", "it is damaged")

    again = retell(*tell(error))

    assert isinstance(error, EXPECTED)
    assert (type(again), str(again)) == (DataError, "it is damaged")
