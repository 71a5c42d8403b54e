"""Names and quantities as Kubernetes writes them."""

import hashlib
import re

RAYJOB_NAME = 47
"""Longest name of a RayJob: the operator makes names of pods and services from it, which may have 63 characters."""

LABEL = 63
"""Longest name that serves as a label of DNS, and longest value of a label."""

GIB = 1 << 30

_OTHERS = re.compile(r"[^a-z0-9]+")
_DIGEST = 8


def kube_name(text: str, longest: int = RAYJOB_NAME) -> str:
    """The text as a name (RFC 1035: lower-case letters, digits and dashes, a letter first), at most so many characters.

    A name that is one already stays as it is; any other ends with a digest of the text, so that different texts have different
    names.
    """
    name = _OTHERS.sub("-", text.lower()).strip("-")
    if not name[:1].isalpha():
        name = f"run-{name}".rstrip("-")
    if name == text and len(name) <= longest:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
    return f"{name[: longest - _DIGEST - 1].rstrip('-')}-{digest}"


def memory(size: int) -> str:
    """Bytes as a quantity of whole MiB, rounded up."""
    return f"{-(-size // (1 << 20))}Mi"
