"""Aliases: what the gates say is done, and what became of them can be told from the history alone."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipt_platform.errors import IptError, NotFoundError, RefusedError, UsageError
from ipt_platform.registry.backbones import BACKBONES
from ipt_platform.registry.catalogue import ABOUT_PACK, SHEET, VERDICT
from ipt_platform.registry.gates import Judgement, missed_gates, regressions, value_of
from ipt_platform.registry.history import By, holders
from ipt_platform.registry.names import Reference, parse_reference
from ipt_platform.registry.promote import drop, promote, remove, rollback
from ipt_platform.registry.record import Signature, TaskRecord
from ipt_platform.registry.serve import choose
from ipt_platform.registry.store import Registry, open_registry
from ipt_platform.spec.gates import parse_gate
from ipt_platform.spec.task import parse_task

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ANNA = By("anna", NOW)
TASK = "apiVersion: ipt/v1\nkind: task\nname: mine\ndescription: Mine.\nstage: downstream\ndegradation: {name: rain}\n"
PACK = b'{"backbone": {"fingerprint": "sha256:ab"}, "task": "mine"}'
SCORES = {"test": {"psnr": 30.0, "psnr_input": 28.0, "ssim": 0.9, "n": 2}}


def version(number: int) -> TaskRecord:
    return TaskRecord(
        id=f"{number:032x}",
        name="mine",
        version=number,
        owner="anna",
        created=NOW.isoformat(),
        signature=Signature(scale=1),
        task=parse_task(TASK, "mine.yaml"),
        sets=(),
        pairs=None,
    )


def made(storage: Path, versions: int, passed: bool = False) -> Registry:
    """A registry whose versions have packs, but for the first."""
    registry = open_registry(storage, None)
    registry.files.create(f"{BACKBONES}/ab/backbone.json", b"{}")
    registry.add_version(version(1), {SHEET: b"sheet"})
    verdict = b'{"passed": %s, "missed": [], "numbers": []}' % str(passed).lower().encode()
    for number in range(2, versions + 1):
        registry.add_version(version(number), {SHEET: b"sheet", ABOUT_PACK: PACK, VERDICT: verdict})
    return registry


@pytest.fixture
def registry(tmp_path) -> Registry:
    return made(tmp_path, 4)


def says(*missed: str):
    return lambda candidate, holder: Judgement([{"set": "test", "psnr": 30.0}], list(missed))


def test_the_judge_is_shown_the_version_and_the_one_that_it_would_replace(registry):
    shown = []

    def judge(candidate, holder):
        shown.append((str(candidate), holder and str(holder)))
        return Judgement()

    for number in (2, 3, 3):
        promote(registry, parse_reference(f"mine@{number}"), "prod", judge, ANNA)

    assert shown == [("mine@2", None), ("mine@3", "mine@2")]


def test_a_missed_gate_refuses_unless_forced_with_a_reason_that_is_kept(registry):
    with pytest.raises(RefusedError, match=r"mine@2 was not promoted to prod:\n  too dark\n.*--force --reason"):
        promote(registry, parse_reference("mine@2"), "prod", says("too dark"), ANNA)
    with pytest.raises(UsageError, match="needs a reason"):
        promote(registry, parse_reference("mine@2"), "prod", says(), ANNA, force=True)
    assert registry.catalogue.view("mine").revision == 0

    change = promote(registry, parse_reference("mine@2"), "prod", says("too dark"), By("anna", NOW, "night shots"), force=True)

    assert change
    assert registry.catalogue.change("mine", 1) == change
    assert (change.forced, change.missed, change.reason, change.actor) == (True, ("too dark",), "night shots", "anna")
    assert change.numbers == ({"set": "test", "psnr": 30.0},)
    assert change.passed == ()
    passed = promote(registry, parse_reference("mine@3"), "prod", says(), By("anna", NOW, "needless"), force=True)
    assert passed
    assert (passed.forced, passed.passed) == (False, (3,))


def test_without_prod_the_newest_that_passed_restores(registry):
    with pytest.raises(NotFoundError, match=r"no version of mine has passed its gates.*mine@2, mine@3, mine@4"):
        choose(registry.catalogue, Reference("mine"))
    promote(registry, parse_reference("mine@3"), "staging", says(), ANNA)
    promote(registry, parse_reference("mine@4"), "other", says("no"), By("anna", NOW, "why not"), force=True)

    assert str(choose(registry.catalogue, Reference("mine"))) == "mine@3"
    promote(registry, parse_reference("mine@2"), "prod", says(), ANNA)
    assert str(choose(registry.catalogue, Reference("mine"))) == "mine@2"
    assert str(choose(registry.catalogue, parse_reference("mine@4"))) == "mine@4"
    with pytest.raises(NotFoundError, match="a record without a pack"):
        choose(registry.catalogue, parse_reference("mine@1"))


def test_what_passed_when_it_was_registered_restores_without_any_alias(tmp_path):
    assert str(choose(made(tmp_path, 3, passed=True).catalogue, Reference("mine"))) == "mine@3"


def test_what_is_pointed_to_cannot_be_removed_and_prod_cannot_be_taken_away(registry):
    for alias in ("prod", "staging"):
        promote(registry, parse_reference("mine@2"), alias, says(), ANNA)

    with pytest.raises(RefusedError, match="mine@2 is prod and staging"):
        remove(registry, parse_reference("mine@2"), ANNA)
    with pytest.raises(RefusedError, match="prod is protected"):
        drop(registry, "mine", "prod", ANNA)
    drop(registry, "mine", "staging", ANNA)
    promote(registry, parse_reference("mine@3"), "prod", says(), ANNA)
    remove(registry, parse_reference("mine@2"), ANNA)
    with pytest.raises(RefusedError, match="mine@2, which was prod before, was removed"):
        rollback(registry, "mine", "prod", ANNA)
    with pytest.raises(NotFoundError, match="was removed"):
        remove(registry, parse_reference("mine@2"), ANNA)


class Model:
    """What the aliases should be, told without any file: a stack of versions for each."""

    def __init__(self, versions: int):
        self.stacks: dict[str, list[int]] = {}
        self.there = set(range(1, versions + 1))

    def do(self, action: str, alias: str, number: int) -> bool:
        """Whether it may be done; and does it."""
        stack = self.stacks.get(alias, [])
        match action:
            case "promote":
                allowed = number in self.there and number > 1
                if allowed and stack[-1:] != [number]:
                    self.stacks[alias] = [*stack, number]
            case "rollback":
                allowed = len(stack) > 1 and stack[-2] in self.there
                if allowed:
                    stack.pop()
            case "drop":
                allowed = bool(stack) and alias != "prod"
                if allowed:
                    del self.stacks[alias]
            case _:
                allowed = number in self.there and number not in self.pointing().values() and len(self.there) > 1
                if allowed:
                    self.there.remove(number)
        return allowed

    def pointing(self) -> dict[str, int]:
        return {alias: stack[-1] for alias, stack in self.stacks.items()}


ACTIONS = st.tuples(
    st.sampled_from(["promote", "promote", "rollback", "drop", "remove"]), st.sampled_from(["prod", "b"]), st.integers(1, 5)
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTIONS, max_size=12))
def test_whatever_is_done_in_whatever_order_is_what_a_simple_model_says(tmp_path_factory, actions):
    registry, model = made(tmp_path_factory.mktemp("registry"), 4), Model(4)
    for action, alias, number in actions:
        reference = Reference("mine", version=number)
        deeds = {
            "promote": lambda to=reference, at=alias: promote(registry, to, at, says(), ANNA),
            "rollback": lambda at=alias: rollback(registry, "mine", at, ANNA),
            "drop": lambda at=alias: drop(registry, "mine", at, ANNA),
            "remove": lambda to=reference: remove(registry, to, ANNA),
        }
        try:
            deeds[action]()
            done = True
        except IptError:
            done = False
        if action == "remove" and len(model.there) == 1:
            break  # the task would be gone
        assert done == model.do(action, alias, number), (action, alias, number)

        view = registry.catalogue.view("mine")
        assert dict(view.aliases) == model.pointing()
        assert set(view.versions) == model.there
        assert {alias: version for _, alias, version in registry.index.aliases()} == model.pointing()
        changes = registry.catalogue.changes("mine")
        assert {alias: holders(changes, alias) for alias in model.stacks} == model.stacks


# The gates as functions of numbers


@pytest.mark.parametrize(
    ("gate", "missed"),
    [
        ("psnr >= 30", []),
        ("psnr >= 30.01", ["psnr >= 30.01 is missed on test: psnr is 30.00 dB"]),
        ("gain >= 2", []),
        ("gain >= 2.5", ["gain >= 2.5 is missed on test: gain is 2.00 dB"]),
        ("ssim >= 0.9", []),
        ("ssim >= 0.91", ["ssim >= 0.91 is missed on test: ssim is 0.9000"]),
    ],
)
def test_a_gate_holds_at_its_very_number(gate, missed):
    assert missed_gates([parse_gate(gate)], SCORES) == missed


def test_pictures_without_any_error_pass_and_gain_nothing_where_they_had_none():
    perfect = {"psnr": None, "psnr_input": None, "ssim": 1.0, "n": 1}

    assert missed_gates([parse_gate("psnr >= 99"), parse_gate("gain >= 0")], {"test": perfect}) == []
    assert value_of("gain", perfect) == 0
    assert value_of("gain", {**perfect, "psnr_input": 20.0}) == float("inf")
    assert regressions({"test": {**perfect, "psnr": 60.0}}, {"test": perfect}, 1.0, "mine@1") != []
    assert regressions({"test": perfect}, {"test": perfect}, 0.0, "mine@1") == []


@given(st.floats(10, 50), st.floats(10, 50), st.floats(0, 2))
def test_a_loss_is_told_if_and_only_if_it_is_above_the_margin(new, old, margin):
    told = regressions(
        {"a": {"psnr": new, "psnr_input": 9, "ssim": 1}}, {"a": {"psnr": old, "psnr_input": 9, "ssim": 1}}, margin, "x"
    )

    assert bool(told) == (new < old - margin)
