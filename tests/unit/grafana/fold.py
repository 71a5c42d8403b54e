"""`python fold.py WHOLE.json SCHEMA.json`: leaves out descriptions, and says once what stands at several places."""

import collections
import json
import sys
from pathlib import Path
from typing import Any

ORIGIN = "Made from the types of @grafana/schema 13.2.3 (Grafana Labs, Apache-2.0); see README.md beside it."


def bare(part: Any, names: bool = False) -> Any:
    """Without descriptions. `names`: the keys of this mapping are names of properties, not words of JSON Schema."""
    if isinstance(part, list):
        return [bare(each) for each in part]
    if not isinstance(part, dict):
        return part
    kept = {key: each for key, each in part.items() if names or key not in ("description", "$comment")}
    return {key: bare(each, key == "properties" and not names) for key, each in kept.items()}


def count(part: Any, seen: collections.Counter[str], names: bool = False) -> None:
    """How often each schema stands somewhere."""
    if isinstance(part, dict):
        if not names:
            seen[json.dumps(part, sort_keys=True)] += 1
        for key, each in part.items():
            count(each, seen, key == "properties" and not names)
    elif isinstance(part, list):
        for each in part:
            count(each, seen)


def fold(
    part: Any, hint: str, seen: collections.Counter[str], definitions: dict[str, Any], known: dict[str, str], names=False
) -> Any:
    """With references in the place of what stands at several places and is long."""
    if isinstance(part, list):
        return [fold(each, hint, seen, definitions, known) for each in part]
    if not isinstance(part, dict):
        return part

    def inner() -> dict[str, Any]:
        return {
            key: fold(each, key if names else hint, seen, definitions, known, key == "properties" and not names)
            for key, each in part.items()
        }

    text = json.dumps(part, sort_keys=True)
    if names or seen[text] < 2 or len(text) < 100:
        return inner()
    if text not in known:
        known[text] = next(name for name in (hint, *(f"{hint}-{n}" for n in range(2, 99))) if name not in known.values())
        definitions[known[text]] = inner()
    return {"$ref": f"#/definitions/{known[text]}"}


def main(source: str, target: str) -> None:
    whole = bare(json.loads(Path(source).read_text())["definitions"]["ShippedDashboard"])
    seen: collections.Counter[str] = collections.Counter()
    count(whole, seen)
    definitions: dict[str, Any] = {}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "$comment": ORIGIN}
    body = fold(whole, "dashboard", seen, definitions, {})
    lines = [f" {json.dumps(key)}: {json.dumps(each, sort_keys=True)}" for key, each in (head | body).items()]
    named = [f"  {json.dumps(key)}: {json.dumps(each, sort_keys=True)}" for key, each in sorted(definitions.items())]
    lines.append(' "definitions": {\n' + ",\n".join(named) + "\n }")
    Path(target).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
