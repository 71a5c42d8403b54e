"""`bundle RUN`: what a run said and how it stands as one archive, for whoever is asked for help."""

import functools
import os
from pathlib import Path
from typing import Annotated

import typer

from ipt_platform.cli.output import Json, Run, Storage, emit, say
from ipt_platform.errors import UsageError
from ipt_platform.observe.bundle import write_bundle
from ipt_platform.observe.redact import redact, secrets_of
from ipt_platform.observe.storage import find_run


def bundle(
    run: Run,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Archive to write, FILE.tar.gz.")],
    storage: Storage = "runs",
    as_json: Json = False,
) -> None:
    """Pack what a run said and how it stands into an archive, without weights and secrets."""
    if not out.name.endswith((".tar.gz", ".tgz")):
        raise UsageError(f"{out}: the archive is a .tar.gz; name it so")
    folder = find_run(storage, run)
    contents = write_bundle(folder, out, functools.partial(redact, secrets=secrets_of(os.environ)))
    size = out.stat().st_size
    words = f"{out}: {len(contents)} files, {size:,} bytes; look through it before you send it on"
    emit({"run": folder.id, "file": str(out), "bytes": size, "contents": contents}, as_json, lambda to: say(to, words))
