"""The group gets past what no request is: markers of transactions, and what was aborted."""

import pytest
from confluent_kafka import Producer

from publish import publish
from test_records import Sender, answer_all
from waiting import wait_until
from workload import SHORT_SESSION, Progress, settled, verdict, verify


@pytest.mark.parametrize("last", ["commit", "abort"])
def test_aborted_requests_get_no_outcome_and_leave_no_lag(last, kafka, topics, serve, run_millrace):
    """Each partition ends with a control record: the group has to get past it."""
    published = publish(kafka, topics.requests, 2_000, transactional=True, transaction_size=100,
                        abort_every=3)
    assert published.aborted == 700
    if last == "abort":
        sender = Sender(kafka, transactional_id=f"{topics.group}-aborts")
        sender.producer.init_transactions(30)
        sender.producer.begin_transaction()
        for partition in range(4):
            sender.send(topics.requests, b"aborted", partition=partition)
        sender.producer.abort_transaction(30)
    answer_all(kafka, topics, serve)
    verdict(kafka, topics, requests=2_000, poisoned={})
    settled(kafka, topics)
    verify(run_millrace, kafka, topics)


def test_records_of_a_transaction_in_progress_are_no_requests_yet(kafka, topics, serve):
    """An open transaction in the input holds back what lies behind it, and nothing else."""
    progress = Progress(kafka, topics)
    producer = Producer(kafka.client_config(transactional_id=f"{topics.group}-input"))
    producer.init_transactions(30)
    with serve(kafka, topics, *SHORT_SESSION) as worker:
        publish(kafka, topics.requests, 200)
        progress.wait_idle()
        producer.begin_transaction()
        producer.produce(topics.requests, b"not json", b"k", partition=0)
        producer.flush(30)
        publish(kafka, topics.requests, 200, first=200)
        others = {number: lag for number, lag in progress.lags().items() if number != 0}
        wait_until(lambda: not any(progress.lags().get(number) for number in others))
        assert progress.lag() > 0, "partition 0 waits for the transaction"
        producer.abort_transaction(30)
        progress.wait_idle()
        assert worker.stop() == 0
    verdict(kafka, topics, requests=400, poisoned={})
    settled(kafka, topics)
