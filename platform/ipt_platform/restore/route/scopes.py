"""Words and the scope in which they stand: "not the rain, the haze" speaks of two things in two ways.

Words that a cue reaches are told apart from all others, by the kind of cue; what each kind means for which word is left to the
classifier, for "no rain please" asks for something and "no need to sharpen" does not.
Source: marking words between a negation and the next punctuation, Pang, Lee and Vaithyanathan, "Thumbs up?" (EMNLP 2002),
section 6.1; here with kinds of cues and words that end a scope.
"""

import re
import unicodedata

PLAIN = ""

FORWARD: dict[str, tuple[str, ...]] = {
    "not": (
        "not",
        "never",
        "dont",
        "doesnt",
        "didnt",
        "isnt",
        "arent",
        "wasnt",
        "cant",
        "cannot",
        "couldnt",
        "wont",
        "no need",
    ),
    "keep": ("keep", "leave", "ignore", "forget", "skip", "preserve", "never mind", "dont mind", "i like", "i love"),
    "no": ("no", "without", "neither", "nor", "none"),
    "but": ("except", "apart from", "besides", "other than", "instead of", "rather than"),
}
"""Cues by kind; each reaches the words after it, to the end of the clause or to one of `ENDS`."""

ENDS = ("but", "just", "only", "instead", "its", "because", "then", "though", "although", "it is", "it was", "there is")
"""What ends the scope of a cue."""

BACKWARD = re.compile(
    r"\b(?:(?:can|may|should|must|has to) (?:stay|remain)|stays|"
    r"(?:is|are|looks?) (?:fine|ok|okay|good|nice|pretty|lovely|great|cool|beautiful)|"
    r"(?:doesnt|dont|does not|do not) (?:bother|matter|worry)|enough)\b"
)
"""Cues that reach the words before them, to the beginning of the clause; their kind is `keep`."""

MERGED = re.compile(r"(?<=\b(?:de|un|in|re))-(?=\w)")
"""The hyphens that are left out; others part two words."""

_TOKEN = re.compile(r"\d+(?:[.,]\d+)?%|\w+|[^\w\s]+")
_PUNCTUATION = re.compile(r"[^\w\s%]+")


def tokens(text: str) -> list[str]:
    """Words, numbers and punctuation of a text, in lower case, without accents, apostrophes and the hyphen of "de-noise"."""
    plain = unicodedata.normalize("NFKD", text).lower().translate({ord(mark): "'" for mark in "’‘`´"})
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    plain = re.sub(r"(?<=\w)'(?=\w)", "", MERGED.sub("", plain))
    return _TOKEN.findall(re.sub(r"(?<=\w)-(?=\w)", " ", plain))


def scoped(text: str) -> list[list[tuple[str, str]]]:
    """The clauses of a text, each a list of (word, scope); scope is `PLAIN` or a kind of cue."""
    clauses: list[list[str]] = [[]]
    for token in tokens(text):
        if _PUNCTUATION.fullmatch(token):
            clauses.append([])
        else:
            clauses[-1].append(token)
    return [_marked(clause) for clause in clauses if clause]


def _marked(words: list[str]) -> list[tuple[str, str]]:
    scopes: list[str] = []
    current = PLAIN
    while len(scopes) < len(words):
        kind, length = _cue(words, len(scopes))
        if kind is not None:
            current = kind
            scopes += [PLAIN] * length
        else:
            scopes.append(current)
    if found := BACKWARD.search(" ".join(words)):
        before = len(found.string[: found.start()].split())
        scopes[:before] = [scope or "keep" for scope in scopes[:before]]
    return list(zip(words, scopes, strict=True))


def _cue(words: list[str], number: int) -> tuple[str | None, int]:
    """What begins at a word: a cue (its kind and its number of words), an end (`PLAIN`), or nothing (None)."""
    for length in (3, 2, 1):
        found = " ".join(words[number : number + length])
        if number + length > len(words):
            continue
        if found in ENDS:
            return PLAIN, length
        for kind, cues in FORWARD.items():
            if found in cues:
                return kind, length
    return None, 0
