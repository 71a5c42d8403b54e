"""How many packs a registry holds."""

from ipt_platform.registry.catalogue import ABOUT_PACK, COMMIT, TASKS
from ipt_platform.registry.counting import packs_by_task
from ipt_platform.registry.store import FOLDER


def test_versions_with_a_pack_count_once_they_are_committed(tmp_path):
    assert packs_by_task(str(tmp_path)) == {}
    files = {
        "dusk/1": [COMMIT, ABOUT_PACK, "task.json"],
        "dusk/2": [COMMIT, ABOUT_PACK],
        "dusk/3": [ABOUT_PACK],  # its writer was killed
        "mist/1": [COMMIT, "task.json"],  # registered, and not trained
        "rain/1": [COMMIT, ABOUT_PACK],
    }
    for version, names in files.items():
        for name in names:
            path = tmp_path / FOLDER / TASKS / version / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")

    assert packs_by_task(str(tmp_path)) == {"dusk": 2, "rain": 1}
