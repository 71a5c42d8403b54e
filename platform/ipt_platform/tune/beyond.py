"""What a compound job names beyond its file, looked for when it is given: weights, runs of analyses."""

from pathlib import Path

from ipt_platform.errors import DataError, NotFoundError, SpecError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import AnalyzeJob, TuneJob
from ipt_platform.spec.load import LoadedJob, loaded_job
from ipt_platform.spec.members import PLACE, member_chains, trial_document
from ipt_platform.train.given import keeper
from ipt_platform.tune.prior import proposal
from ipt_platform.tune.weights import check_sides


def check_beyond(loaded: LoadedJob, base: Path) -> None:
    """That the weights and runs are there which a search or an analysis names.

    Raises:
        SpecError: one is missing, or cannot be used; with the line that names it.
    """
    # Documents as if their runs lay among the others: what a first job names is looked for there.
    job, place, outer = loaded.job, loaded.job.storage, base / loaded.job.storage
    if isinstance(job, TuneJob):
        _check_prior(loaded, outer, base)
        _check_weights(loaded_job(trial_document(loaded.document, place, outer, "t001", job.seed, {}), base), base)
        return
    assert isinstance(job, AnalyzeJob)
    check_sides(loaded, base)
    for chain in member_chains(loaded.document, place, outer):
        # What comes later in a chain begins with what the first makes.
        _check_weights(loaded_job(chain[0].document, base), base)


def _check_prior(loaded: LoadedJob, storage: Path, base: Path) -> None:
    assert isinstance(loaded.job, TuneJob)
    problems = []
    for position, named in enumerate(loaded.job.search.prior):
        try:
            proposal(named, storage, base)
        except (NotFoundError, DataError) as error:
            problems.append(loaded.document.problem(("search", "prior", position), str(error)))
    if problems:
        raise SpecError(problems)


def _check_weights(member: LoadedJob, base: Path) -> None:
    keeper(member, RunDir(base / PLACE), base)
