"""What people say: scopes of negation, features of sentences, the grammar, and the words of tasks."""

import dataclasses

import numpy as np
import pytest
import torch

from ipt_platform.restore.route import grammar as grammar_module
from ipt_platform.restore.route.grammar import Grammar
from ipt_platform.restore.route.known import known_tasks, rivals, tasks_here
from ipt_platform.restore.route.lexicon import Words, built_in_words, words_of_instructions
from ipt_platform.restore.route.ngrams import STOP, NgramEncoder, features_of
from ipt_platform.restore.route.scopes import scoped, tokens
from ipt_platform.spec.task import TaskSpec, task_names


def scopes(text: str) -> dict[str, str]:
    return {word: scope for clause in scoped(text) for word, scope in clause}


def task(name: str, degradation, *instructions: str) -> TaskSpec:
    return TaskSpec(
        apiVersion="ipt/v1",
        kind="task",
        name=name,
        description="Mine.",
        stage="downstream",
        degradation=degradation,
        instructions=instructions,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("De-noise it, PLEASE!", ["denoise", "it", ",", "please", "!"]),
        ("don’t re-touch my café", ["dont", "retouch", "my", "cafe"]),
        ("rain-streaks 50% off", ["rain", "streaks", "50%", "off"]),
        ("", []),
    ],
)
def test_tokens_are_what_people_mean_by_words(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not the rain, the haze", {"rain": "not", "haze": ""}),
        ("keep the grain but remove the moire", {"grain": "keep", "moire": ""}),
        ("the shadows can stay, just brighten it", {"shadows": "keep", "brighten": ""}),
        ("i want it without fog", {"fog": "no", "want": ""}),
        ("everything is fine except the fog", {"everything": "keep", "fog": "but"}),
        ("no need to sharpen, just denoise", {"sharpen": "not", "denoise": ""}),
    ],
)
def test_a_cue_reaches_as_far_as_people_mean_it_to(text, told):
    found = scopes(text)

    assert {word: found[word] for word in told} == told


def test_features_of_some_texts_are_those_of_each_alone():
    texts = ["remove the grain", "", "the the the", "not the rain, the haze please"]
    together = features_of(texts)

    assert len(together) == 4
    for number, text in enumerate(texts):
        alone, taken = features_of([text]), together.take(np.array([number]))
        for field in dataclasses.fields(alone):
            np.testing.assert_array_equal(getattr(alone, field.name), getattr(taken, field.name))
    np.testing.assert_array_equal(together.take(np.array([3, 0])).ids, features_of([texts[3], texts[0]]).ids)
    assert {"the", "please"} <= STOP
    assert features_of(["the the the"]).ids.size == 0


def test_vectors_are_the_largest_of_each_word_and_zero_for_no_word():
    torch.manual_seed(0)
    encoder = NgramEncoder().eval()
    with torch.inference_mode():
        both, rain, fog, none = encoder(encoder.prepare(["rain. fog", "rain", "fog", "the"]))

    assert torch.equal(none, torch.zeros(encoder.size))
    # two clauses have no pair of neighbours in common, so nothing else is there
    torch.testing.assert_close(both, torch.maximum(rain, fog))
    assert both.min() >= 0


def test_every_built_in_task_has_words_of_its_own_and_a_grammar_of_thousands_of_sentences(monkeypatch):
    monkeypatch.setattr(grammar_module, "TYPO", 0.0)  # a slip of the hand is no other sentence
    words = built_in_words()
    grammar = Grammar(words, np.random.default_rng(0))

    assert sorted(words) == task_names()
    for name in words:
        assert len({grammar.single(name).text.lower() for _ in range(2500)}) >= 2000, name


def test_instructions_mean_the_tasks_that_their_phrases_are_of():
    words = {"fog": Words(things=("fog",), looks=("foggy",)), "dark": Words(things=("darkness",), looks=("dark",))}
    grammar = Grammar(words, np.random.default_rng(0))

    single = [grammar.single("fog") for _ in range(50)]
    several = [grammar.several(2) for _ in range(50)]
    nothing = [grammar.nothing() for _ in range(50)]

    assert {sentence.tasks for sentence in single} == {frozenset({"fog"})}
    assert {sentence.tasks for sentence in several} == {frozenset({"fog", "dark"})}
    assert {sentence.tasks for sentence in nothing} == {frozenset()}
    assert all({grammar.instead("dark").tasks} == {frozenset({"dark"})} for _ in range(50))


def test_a_phrase_of_two_tasks_asks_for_both():
    words = {"one": Words(asks=("take it off",)), "two": Words(asks=("take it off",))}
    grammar = Grammar(words, np.random.default_rng(0))

    assert grammar.single("one").tasks == {"one", "two"}


def test_a_phrase_of_one_s_own_is_not_lost_among_those_of_another_task():
    many = Words(things=tuple(f"thing{number}" for number in range(500)))
    mine = Words(things=("murk",))
    words = {"one": many, "mine": many + mine}
    grammar = Grammar(words, np.random.default_rng(0), {"mine": mine})

    found = [grammar.single("mine") for _ in range(400)]

    own = [sentence for sentence in found if sentence.tasks == {"mine"}]
    assert 150 < len(own) < 250
    assert {sentence.tasks for sentence in found} == {frozenset({"mine"}), frozenset({"mine", "one"})}


def test_the_words_of_a_task_are_in_its_own_sentences():
    assert words_of_instructions(("Remove the sepia tint and the stains.", "undo Grandpa's varnish!")) == Words(
        asks=("remove the sepia tint and the stains", "undo grandpa's varnish"),
        things=("sepia tint", "stains", "grandpa's varnish"),
    )


def test_a_task_of_one_s_own_is_asked_for_by_the_words_of_the_built_in_one_that_undoes_the_same():
    mine = task("mine", {"name": "gaussian-noise", "sigma": 10}, "take my noise away")
    other = task("sepia", ["lowlight", "haze"], "remove the sepia")
    known = {each.name: each for each in known_tasks([*tasks_here(), mine, other])}

    assert "grain" in known["mine"].words.things
    assert "take my noise away" in known["mine"].words.asks
    assert known["sepia"].words == words_of_instructions(["remove the sepia"])
    assert (known["mine"].built_in, known["denoise"].built_in) == (False, True)
    assert "denoise" in rivals(list(known.values()))["mine"]
    assert rivals(list(known.values()))["sepia"] == frozenset()
