"""How many sentences of people the text router sends to the right tasks, and how long it takes for one.

The sentences (benchmarks/sentences) never enter the grammar that the router learns from. A sentence counts when exactly the
tasks were chosen that it asks for, none for one that asks for nothing that we do; their order is the platform's.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.measure import Figure, finish, machine, note, parser, run_script, spread
from ipt_platform.restore.route.known import known_tasks
from ipt_platform.restore.route.text import train_text_router
from ipt_platform.spec.task import load_task, task_names

SENTENCES = Path(__file__).with_name("sentences")
SORTS = {0: "nothing that we do", 1: "one task"}


@dataclass(frozen=True)
class Said:
    """A sentence of a person, and the tasks that it asks for."""

    text: str
    tasks: frozenset[str]

    @property
    def sort(self) -> str:
        """Asks for one task, for several, or for nothing that we do."""
        return SORTS.get(len(self.tasks), "several tasks")


def sentences(path: Path) -> list[Said]:
    """The sentences of a file: `task + task | what was said`, "-" for no task."""
    found = []
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            tasks, _, text = line.partition(" | ")
            found.append(Said(text, frozenset(tasks.split(" + ")) - {"-"}))
    return found


def main() -> None:
    arguments = _parser().parse_args()
    before = machine()
    torch.set_num_threads(1)
    began = time.perf_counter()
    router = train_text_router(known_tasks([load_task(name) for name in task_names()]), arguments.seed)
    figures = [Figure("training", time.perf_counter() - began, "s")]
    rows, misses, times = [], [], []
    for path in sorted(SENTENCES.glob("*.txt")):
        right: dict[str, list[bool]] = {}
        for said in sentences(path):
            began = time.perf_counter()
            route = router.route(said.text)
            times.append(1e3 * (time.perf_counter() - began))
            right.setdefault(said.sort, []).append({*route.tasks} == said.tasks)
            if not right[said.sort][-1]:
                wanted = " + ".join(sorted(said.tasks)) or "nothing"
                misses.append(
                    {"said": said.text, "wanted": wanted, "got": ", ".join(map(str, route.steps or route.nearest[:2]))}
                )
        rows += [{"sentences": path.stem, "ask for": sort, "n": len(hits), "right": sum(hits)} for sort, hits in right.items()]
        hits = [hit for each in right.values() for hit in each]
        figures.append(Figure(f"{path.stem}: right", sum(hits) / len(hits), at_least=0.9))
    figures.append(Figure("one sentence", spread(times), "ms", at_most=5))
    note(f"{len(misses)} sentences went wrong")
    finish(arguments, before, figures, by_sort=rows, misses=misses)


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--seed", type=int, default=0, help="of the sentences that are generated, and of the training")
    return made


if __name__ == "__main__":
    run_script(main)
