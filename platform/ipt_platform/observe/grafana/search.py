"""The dashboard of searches: what was tried, what is best, and what the trials cost."""

from ipt_platform.observe.grafana.choices import ANY, OF_JOB, SEARCH_JOB
from ipt_platform.observe.grafana.model import Dashboard, Panel, Row, Target

_NOW = (
    Panel(
        title="Trials",
        description="Of each search, by state; stopped: by the search itself, for others were better.",
        unit="short",
        kind="stat",
        width=12,
        height=5,
        targets=(Target(f"sum by (job, state) (ipt_search_trials{{{OF_JOB}}})", "{{job}} {{state}}"),),
        steps=((None, "blue"),),
        link="/search",
    ),
    Panel(
        title="Best so far",
        description="Mean PSNR of the best trial of each search.",
        unit="dB",
        kind="stat",
        width=6,
        height=5,
        targets=(Target(f"max by (job) (ipt_search_best_psnr_db{{{OF_JOB}}})", "{{job}}"),),
        link="/search",
    ),
    Panel(
        title="Failed trials",
        description="Of each search. Single ones are usual where a rank is too large for the memory; many mean that the job is"
        " wrong.",
        unit="short",
        kind="stat",
        width=6,
        height=5,
        targets=(Target(f'sum by (job) (ipt_search_trials{{{OF_JOB},state="failed"}})', "{{job}}"),),
        steps=ANY,
    ),
)

_COURSE = (
    Panel(
        title="Best PSNR",
        description="Of the best trial, as the search goes on. Flat for long: what was asked for is found, or cannot be.",
        unit="dB",
        targets=(Target(f"max by (job) (ipt_search_best_psnr_db{{{OF_JOB}}})", "{{job}}"),),
        link="/search",
    ),
    Panel(
        title="Trials by state",
        description="As the search goes on. Those that run at a time are bounded by the room for their jobs.",
        unit="short",
        targets=(Target(f"sum by (job, state) (ipt_search_trials{{{OF_JOB}}})", "{{job}} {{state}}"),),
        least=0,
        stacked=True,
    ),
)

_COST = (
    Panel(
        title="Images per second, all jobs",
        description="Of all trainings together, those of the trials included.",
        unit="si:img/s",
        targets=(Target("sum(job:ipt_train_images:rate10m)", "all jobs"),),
        least=0,
    ),
    Panel(
        title="Trials that ended, per hour",
        description="Finished, stopped or failed within the last hour.",
        unit="short",
        targets=(Target(f'sum by (job) (clamp_min(delta(ipt_search_trials{{{OF_JOB},state!="running"}}[1h]), 0))', "{{job}}"),),
        least=0,
    ),
)

SEARCH = Dashboard(
    uid="ipt-search",
    title="IPT / Search",
    description="For who searches for ranks and layers: what was tried, what is best, and what the trials cost.",
    variables=(SEARCH_JOB,),
    rows=(Row("Now", _NOW), Row("Course", _COURSE), Row("Cost", _COST)),
    page="/search",
)
"""Its page is the one of searches."""
