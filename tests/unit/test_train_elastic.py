"""Which number of workers there is room for."""

from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.observe.events import append_event
from ipt_platform.observe.process import this_process
from ipt_platform.observe.storage import create
from ipt_platform.spec.parts import ClusterSpec
from ipt_platform.spec.workers import ElasticSpec
from ipt_platform.train.elastic import largest_count, newest_checkpoint, scaling_of
from ipt_platform.train.submission import Submission


@given(
    st.sets(st.integers(1, 32), max_size=6), st.integers(0, 40), st.integers(0, 64), st.sampled_from([0.1, 0.3, 0.5, 1, 1.5, 3])
)
def test_the_number_is_the_greatest_that_fits_and_is_fed(counts, room, cpus, each):
    found = largest_count(sorted(counts), room, cpus, each)

    fits = [count for count in counts if count <= room and count * each <= cpus + 1e-6]
    assert found == max(fits, default=0)


def test_a_share_of_a_core_is_not_lost_to_rounding():
    assert largest_count([1, 2, 3], 3, 0.3 + 0.3 + 0.3, 0.3) == 3


def test_streams_count_beside_their_workers():
    assert largest_count([1, 2, 4], room=4, cpus=4, each=1) == 4
    assert largest_count([1, 2, 4], room=4, cpus=4, each=1.5) == 2


def test_the_newest_checkpoint_is_the_one_committed_last(tmp_path):
    run = create(tmp_path, "r")
    submission = Submission.of(run, this_process())
    assert newest_checkpoint(submission) is None

    for step in (50, 100, 50):  # an attempt that went back
        append_event(run, "checkpoint", 1, step=step)
    append_event(run, "resized", 1, reason="1 -> 2 workers")

    assert newest_checkpoint(submission) == 50


def test_ray_is_asked_for_a_number_or_for_a_range():
    fixed = scaling_of(ClusterSpec(workers=3, gpus_per_worker=1, cpus_per_worker=2))
    elastic = scaling_of(ClusterSpec(workers=ElasticSpec(min=1, max=4, look_every_s=7)))

    assert (fixed.num_workers, fixed.use_gpu, fixed.resources_per_worker) == (3, True, {"CPU": 2, "GPU": 1})
    assert (elastic.num_workers, elastic.use_gpu, elastic.resources_per_worker) == ((1, 4), False, {"CPU": 1})
    assert elastic.elasticity_enabled
    assert elastic.elastic_resize_monitor_interval_s == 7
