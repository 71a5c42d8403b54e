"""Manifests as YAML that people read and Kubernetes takes."""

from collections.abc import Sequence
from typing import Any

import yaml

from ipt_platform.spec.source import CoreDumper

MARK = "# ipt-platform render"
"""The first words of every file that is written here; so one that is somebody else's is never replaced."""


class _Readable(CoreDumper):
    """Texts of several lines as blocks."""


def _text(dumper: _Readable, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


def manifest_text(documents: Sequence[Any], notes: Sequence[str]) -> str:
    """The documents as one stream of YAML.

    Args:
        documents: plain values.
        notes: what its reader should know, one line each; they become comments.
    """
    head = "".join(f"{line}\n" for line in [MARK, *(f"#   {note}" for note in notes)])
    parts = [yaml.dump(each, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=1 << 16) for each in documents]
    return head + "---\n".join(parts)
