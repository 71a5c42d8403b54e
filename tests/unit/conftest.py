"""What more than one unit test uses."""

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A working directory with shards (only their names matter here) and a folder of pictures."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "shards").mkdir()
    (folder / "shards" / "a.tar").touch()
    (folder / "test").mkdir()
    return folder
