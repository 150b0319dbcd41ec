"""A slow request holds back its partition's position, not the outcomes behind it; whoever takes the
partition over goes on from both, the position and its note."""

import pytest

from publish import SLOW_SECONDS, first_is_slow, publish
from waiting import wait_until
from workload import PROTOCOLS, Progress, assigned, outcomes, settled, verdict, verify

COUNT = 3_000


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_a_partition_with_a_gap_goes_from_one_worker_to_another(
        protocol, kafka, topics, serve, run_millrace):
    if protocol == "consumer":
        kafka.set_group(topics.group, session_ms=2500, heartbeat_ms=500)
    settings = [*PROTOCOLS[protocol], "-s", "executor.threads=2"]
    publish(kafka, topics.requests, COUNT, make=first_is_slow)
    progress = Progress(kafka, topics)
    with serve(kafka, topics, *settings) as first:
        wait_until(lambda: outcomes(first) == COUNT - 1, SLOW_SECONDS, every=0.02,
                   what="all but the slow one")
        # A commit is answered a moment before the group shows its offsets.
        (stuck,) = wait_until(lambda: [one.partition for one in progress.committed()
                                       if (one.metadata or "").startswith("mr1:")],
                              SLOW_SECONDS, every=0.02, what="a note beside a position")
        assert progress.lags()[stuck] > 1, "the position stands before the slow one"
        verify(run_millrace, kafka, topics)
        # A second worker takes some of the partitions over, and all of them when the first is gone.
        with serve(kafka, topics, *settings) as second:
            wait_until(lambda: assigned(second) > 0)
            publish(kafka, topics.requests, COUNT, first=COUNT)
            first.kill()
            progress.wait_idle()
            assert outcomes(second) <= COUNT + 1, "nothing that was answered is run again"
            assert second.stop() == 0
    verdict(kafka, topics, requests=2 * COUNT, poisoned={})
    settled(kafka, topics)
    verify(run_millrace, kafka, topics)
