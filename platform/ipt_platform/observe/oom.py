"""How often the kernel has killed a process for want of memory."""

from pathlib import Path

COUNTS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))
"""Where the kernel counts: in a container for the container, elsewhere for the machine."""


def oom_kills(files: tuple[Path, ...] = COUNTS) -> int:
    """Processes that the kernel's OOM killer has ended so far, here; 0 where it does not say.

    Args:
        files: where to look; the first that has a line `oom_kill N` counts.
    """
    for file in files:
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
