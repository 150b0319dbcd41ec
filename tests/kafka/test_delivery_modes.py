"""What a crash may do in each delivery.mode: nothing, repeat outcomes, or leave some requests
without one; and that at-most-once does neither without a crash.
"""

import collections
import json
import time

import pytest

from judge import judge
from publish import expected_output, first_is_slow, publish
from test_outages import set_topic
from waiting import wait_until
from workload import (EAGER, SHORT_SESSION, SMALL_UNITS, Load, Progress, assigned, dice, events,
                      outcomes, wait_at_work, wait_event, wait_outcomes)

CRASHED = 86
SETTINGS = [*SHORT_SESSION, *SMALL_UNITS, *EAGER]

# Where a crash does the mode's worst, at the third time; and which faults there are to be then.
WORST = {
    "exactly-once": ("before_end_txn:3", set()),
    "at-least-once": ("before_send_offsets:3", {"duplicated"}),
    "at-most-once": ("claimed:3", {"missing"}),
}


def mode(name):
    return ["-s", f"delivery.mode={name}"]


def judged(cluster, topics, count):
    """The judge's report; one outcome for each of `count` requests but for what it names."""
    report = judge(cluster, topics, answer=expected_output)
    print(report)
    assert report.requests == count
    return report


def verified(run_millrace, cluster, topics, report):
    """`millrace verify` says what the judge says."""
    done = run_millrace(["verify", "-b", cluster.bootstrap, *topics.settings, "-o", "json"],
                        check=False, timeout=300)
    found = json.loads(done.stdout)
    assert found["missing"] == len(report.missing), found
    assert (found["duplicated"] > 0) == bool(report.duplicated), found
    assert (done.returncode, found["ok"]) == ((5, False) if report.faults else (0, True)), found


def none_missing_none_doubled(run_millrace, cluster, topics, count):
    report = judged(cluster, topics, count)
    assert not report.faults, report
    verified(run_millrace, cluster, topics, report)


@pytest.mark.parametrize("name", sorted(WORST))
def test_what_a_crash_may_do(name, kafka, topics, serve, run_millrace, millrace_test,
                             requests_in_all):
    """One crash at the worst moment, and three kills at random ones under load."""
    random = dice()
    point, faults = WORST[name]
    count = min(requests_in_all, 20_000)
    progress = Progress(kafka, topics)
    with Load(kafka, topics, count, 8) as load:
        with serve(kafka, topics, *SETTINGS, *mode(name), binary=millrace_test, ready=False,
                   env={"MILLRACE_CRASH_POINT": point}) as worker:
            assert worker.process.wait(60) == CRASHED, "the crash point did not fire"
        for _ in range(3):
            with serve(kafka, topics, *SETTINGS, *mode(name)) as worker:
                wait_outcomes(worker)
                time.sleep(random.uniform(0.0, 0.3))
                worker.kill()
    with serve(kafka, topics, *SETTINGS, *mode(name)) as worker:
        progress.wait_idle()
        assert worker.stop() == 0
    report = judged(kafka, topics, load.count)
    also = {"order"} if "duplicated" in faults else set()  # The second one comes behind later ones.
    assert faults <= set(report.faults) <= faults | also, report
    verified(run_millrace, kafka, topics, report)


@pytest.mark.parametrize("point, some_missing", [
    ("after_poll", False), ("claimed", True), ("first_produced", True), ("all_produced", True)])
def test_at_most_once_a_crash_costs_what_was_claimed(point, some_missing, kafka, topics, serve,
                                                     run_millrace, millrace_test):
    count = 3_000
    publish(kafka, topics.requests, count)
    progress = Progress(kafka, topics)
    settings = [*SETTINGS, *mode("at-most-once")]
    with serve(kafka, topics, *settings, binary=millrace_test, ready=False,
               env={"MILLRACE_CRASH_POINT": f"{point}"}) as worker:
        assert worker.process.wait(60) == CRASHED, "the crash point did not fire"
    claimed = count - progress.lag()
    assert (claimed > 0) == some_missing
    with serve(kafka, topics, *settings) as worker:
        progress.wait_idle()
        assert worker.stop() == 0
    report = judged(kafka, topics, count)
    assert set(report.faults) <= {"missing"}, report
    # What was with the broker by then is there.
    assert len(report.missing) <= claimed
    assert bool(report.missing) == some_missing
    verified(run_millrace, kafka, topics, report)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_at_most_once_loses_nothing_while_workers_come_and_go(protocol, kafka, topics, serve,
                                                              run_millrace):
    """Claims are refused while the group rebalances; what was claimed is answered before it moves.
    """
    settings = [*SMALL_UNITS, *EAGER, *mode("at-most-once")]
    if protocol == "consumer":
        settings += ["-X", "group.protocol=consumer"]
    progress = Progress(kafka, topics)
    with Load(kafka, topics, 20_000, 12) as load:
        with serve(kafka, topics, *settings) as first:
            wait_outcomes(first)
            for _ in range(2):
                with serve(kafka, topics, *settings) as second:
                    wait_until(lambda: assigned(second) > 0, what="the second worker's share")
                    wait_outcomes(second, more=200)
                    assert second.stop() == 0
                wait_outcomes(first, more=200)
            load.join()
            progress.wait_idle()
            assert first.stop() == 0
            # Neither what was claimed and not run, nor what nobody knows whether it was claimed.
            assert events(first, "requests_unanswered") == 0
            assert events(first, "claim_given_up") == 0
    none_missing_none_doubled(run_millrace, kafka, topics, load.count)


def test_at_most_once_an_outage_costs_and_doubles_nothing(own_kafka, make_topics, serve,
                                                          run_millrace):
    """The broker falls silent for longer than a request may take, then is killed and comes back."""
    random = dice()
    topics = make_topics(own_kafka)
    progress = Progress(own_kafka, topics)
    with Load(own_kafka, topics, 20_000, 10) as load:
        with serve(own_kafka, topics, *SMALL_UNITS, *EAGER, *mode("at-most-once"),
                   "-X", "socket.timeout.ms=1200", "-X", "request.timeout.ms=1100") as worker:
            for _ in range(2):
                wait_outcomes(worker, more=300)
                time.sleep(random.uniform(0.0, 0.1))
                own_kafka.pause()
                time.sleep(random.uniform(1.3, 2.0))
                own_kafka.resume()
            wait_outcomes(worker, more=300)
            own_kafka.kill()
            own_kafka.restart()
            wait_outcomes(worker, more=300)
            load.join()
            progress.wait_idle()
            assert worker.stop() == 0
            said = collections.Counter(
                {name: events(worker, name) for name in (
                    "claim_failed", "commit_failed", "claim_given_up", "outcomes_given_up")})
            print(said)
            assert said["claim_failed"] + said["commit_failed"] > 0, "no outage was noticed"
            assert not said["claim_given_up"] and not said["outcomes_given_up"]
    none_missing_none_doubled(run_millrace, own_kafka, topics, load.count)


def test_at_most_once_worker_stops_on_request_while_the_broker_is_away(own_kafka, make_topics,
                                                                       serve):
    """Leaving does not wait for the broker; what was under way then may be missing, not doubled."""
    topics = make_topics(own_kafka)
    progress = Progress(own_kafka, topics)
    count = 20_000
    publish(own_kafka, topics.requests, count, make=first_is_slow)
    with serve(own_kafka, topics, *SMALL_UNITS, *mode("at-most-once"),
               "-X", "session.timeout.ms=4000", "-s", "delivery.transaction_timeout=3s",
               "-s", "delivery.drain_timeout=1s", "-s", "executor.threads=2",
               "-s", "delivery.max_in_flight_records=1024") as worker:
        wait_at_work(worker)
        own_kafka.kill()
        assert outcomes(worker) < count, "the work was done before the outage"
        wait_until(lambda: worker.get("/readyz")[0] == 503, 30, what="/readyz telling of it")
        asked = time.monotonic()
        code = worker.stop()
        print(f"left with {code} after {time.monotonic() - asked:.1f} s")
        assert code in (0, 4)
    own_kafka.restart()
    with serve(own_kafka, topics, *SETTINGS, *mode("at-most-once")) as worker:
        progress.wait_idle()
        assert worker.stop() == 0
    report = judged(own_kafka, topics, count)
    assert set(report.faults) <= {"missing"}, report
    # In flight, one poll that was being claimed, and one unit with the producer.
    assert len(report.missing) <= 1024 + 1024 + 256


def test_at_most_once_what_a_topic_refuses_waits_for_somebody_to_mend_it(kafka, topics, serve,
                                                                         run_millrace):
    progress = Progress(kafka, topics)
    with serve(kafka, topics, *SETTINGS, *mode("at-most-once")) as worker:
        publish(kafka, topics.requests, 500)
        wait_until(lambda: outcomes(worker) == 500, what="500 outcomes")
        set_topic(kafka, topics.results, max_message_bytes="100")
        publish(kafka, topics.requests, 500, first=500)
        wait_event(worker, "commit_failed", 2)
        assert "MSG_SIZE_TOO_LARGE" in worker.log.read_text()
        assert worker.get("/readyz")[0] == 503 and worker.process.poll() is None
        set_topic(kafka, topics.results, max_message_bytes="1048588")
        wait_until(lambda: outcomes(worker) == 1000, what="1,000 outcomes")
        assert progress.idle() and worker.stop() == 0
    none_missing_none_doubled(run_millrace, kafka, topics, 1000)


def test_at_most_once_frozen_worker_that_lost_its_partitions_doubles_nothing(kafka, topics, serve):
    """It stands still past its session, in the middle of the work; another one goes on."""
    random = dice()
    progress = Progress(kafka, topics)
    settings = ["-X", "session.timeout.ms=2500", "-X", "heartbeat.interval.ms=500",
                "-s", "delivery.transaction_timeout=2s", *SMALL_UNITS, *EAGER,
                *mode("at-most-once")]
    with Load(kafka, topics, 20_000, 12) as load:
        with serve(kafka, topics, *settings) as frozen, serve(kafka, topics, *settings) as other:
            wait_until(lambda: assigned(frozen) > 0 and assigned(other) > 0, what="a share each")
            wait_outcomes(frozen, more=200)
            time.sleep(random.uniform(0.0, 0.2))
            frozen.pause()
            wait_until(lambda: assigned(other) == 4, what="the other's taking over")
            wait_outcomes(other, more=500)
            frozen.resume()
            wait_event(frozen, "partitions_lost")
            wait_until(lambda: assigned(frozen) > 0, what="the frozen worker's coming back")
            load.join()
            progress.wait_idle()
            assert frozen.stop() == 0 and other.stop() == 0
    report = judged(kafka, topics, load.count)
    # What it had claimed and not written when it lost them counts as crashed; what it had written
    # before it knew may come behind the other's.
    assert set(report.faults) <= {"missing", "order"}, report
