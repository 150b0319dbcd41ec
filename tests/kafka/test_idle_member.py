"""A member of a group that has nothing to do: what it costs, and the client's threads."""

import collections
import time

from publish import publish
from waiting import wait_until
from workload import SHORT_SESSION, outcomes

SECONDS = 6
# Of the group, of the transactions, one that asks about topics and offsets, and two that read model
# events and write the models' states.
CLIENTS = 5


def test_idle_member_costs_next_to_nothing(kafka, topics, serve):
    with serve(kafka, topics, *SHORT_SESSION, "-s", "executor.threads=2") as worker:
        publish(kafka, topics.requests, 500)
        wait_until(lambda: outcomes(worker) == 500)
        time.sleep(1)  # The last commit and what follows it.
        # The least of three: the machine is busy with others.
        used = min(worker.cores_used(SECONDS) for _ in range(3))
        assert used < 0.01, f"{100 * used:.2f} % of a core"
        names = collections.Counter(worker.thread_names())
        own = ["millrace", "mr-intake", "mr-exec-0", "mr-exec-1", "mr-watch", "mr-commit",
               "mr-admin", "mr-signals", "mr-events",
               "mr-models", "mr-shadow", "mr-idle", "jemalloc_bg_thd"]
        client = {name: names.pop(name) for name in list(names) if name.startswith("rdk:")}
        assert names == collections.Counter(own), names
        # Each client has a thread of its own, one for the broker, and one (-1) for each address
        # that it was given or that it looks for: bootstrap, group, transaction coordinator.
        assert client == {"rdk:main": CLIENTS, "rdk:broker1": CLIENTS,
                          "rdk:broker-1": CLIENTS + 2}, client
        assert worker.stop() == 0
