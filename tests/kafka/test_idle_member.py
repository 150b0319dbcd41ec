"""A member of a group that has nothing to do: what it costs, and the client's threads."""

import collections
import time

from publish import publish
from workload import SHORT_SESSION, outcomes, wait_until

SECONDS = 6


def test_idle_member_costs_next_to_nothing(kafka, topics, serve):
    with serve(kafka, topics, *SHORT_SESSION, "-s", "executor.threads=2") as worker:
        publish(kafka, topics.requests, 500)
        wait_until(lambda: outcomes(worker) == 500)
        time.sleep(1)  # The last commit and what follows it.
        used = worker.cores_used(SECONDS)
        assert used < 0.01, f"{100 * used:.2f} % of a core"
        names = collections.Counter(name.split(":")[0] for name in worker.thread_names())
        own = ["millrace", "mr-intake", "mr-exec-0", "mr-exec-1", "mr-watch", "mr-commit",
               "mr-admin", "mr-signals", "mr-idle", "jemalloc_bg_thd"]
        # A consumer and a producer, each with a thread of its own and one for each broker it knows:
        # the bootstrap address, the broker's own, the group or the transaction coordinator.
        rdk = names.pop("rdk", 0)
        assert names == collections.Counter(own), names
        assert 4 <= rdk <= 8, worker.thread_names()
        assert worker.stop() == 0
