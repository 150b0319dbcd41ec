#include "pipeline/options.h"

namespace millrace {

void DescribeSettings(SettingSet& set, MemoryOptions& options) {
  set.Bytes("memory.budget", &options.budget, MemoryOptions::kLeastBudget, std::int64_t{1} << 40,
            "Memory of everything that grows with load: requests and outcomes in flight, what is "
            "read ahead, what is being written, pools. Limits in bytes that are not set follow "
            "from it. Models and the program itself come on top.");
}

void DescribeSettings(SettingSet& set, DeliveryOptions& options) {
  set.Enum("delivery.mode", &options.mode, {"exactly-once", "at-least-once", "at-most-once"},
           "What happens to outcomes when a worker fails. `exactly-once`: each request gets one "
           "outcome, committed together with its offset. `at-least-once` (Kafka): outcomes first, "
           "offsets after; a crash repeats some. `at-most-once`: offsets first, then requests run; "
           "a crash leaves some without an outcome, and none gets two.");
  set.Duration("delivery.commit_interval", &options.commit_interval, Millis(1), Millis(60'000),
               "Longest time that a finished outcome waits for its unit of work to be committed; "
               "longer means fewer, larger commits and later results.");
  set.Duration("delivery.min_commit_interval", &options.min_commit_interval, Millis(-1),
               Millis(1'000),
               "Shortest time from the end of one commit to the start of the next, unless a unit "
               "is full: longer means fewer commits under a light load. A request that comes after "
               "a pause is committed at once whatever it says. -1ms: what the log asks for, 1ms "
               "on Kafka, where every commit is a transaction of some ten requests to the brokers, "
               "and 0 on the local log.");
  set.Integer("delivery.max_in_flight_records", &options.max_in_flight_records, 64, 1 << 20,
              "Records read and not yet committed; at the limit the worker stops reading.");
  set.Bytes("delivery.max_in_flight_bytes", &options.max_in_flight_bytes, 0, std::int64_t{16} << 30,
            "Bytes of records read and not yet committed; at the limit the worker stops reading. "
            "0: a quarter of memory.budget, whose half bounds all that these records need. At "
            "least 1MiB.");
  set.Integer("delivery.max_unit_records", &options.max_unit_records, 1, 1 << 20,
              "Outcomes in one unit of work; a full unit is committed at once.");
  set.Bytes("delivery.max_unit_bytes", &options.max_unit_bytes, 0, std::int64_t{1} << 30,
            "Encoded bytes in one unit of work; a full unit is committed at once. 0: a 32nd of "
            "memory.budget. At least 64KiB.");
  set.Bool("delivery.commit_beyond", &options.commit_beyond,
           "Commit the outcomes behind a request that takes long, in the order of each key, and "
           "note their offsets beside the committed position (the metadata of a Kafka offset); "
           "at-most-once has nothing to note. Off: they wait for it.");
  set.Enum("delivery.expired", &options.expired, {"dead-letter", "result"},
           "What becomes of a request whose deadline passes before it is run: a dead letter "
           "`expired`, or a result with status `expired` and no output.");
  set.Duration("delivery.transaction_timeout", &options.transaction_timeout, Millis(1'000),
               Millis(15'000),
               "Kafka: how long the cluster lets one unit of work be open before it aborts it; how "
               "long the partitions of a worker that died can stay blocked.");
  set.Duration(
      "delivery.drain_timeout", &options.drain_timeout, Millis(0), Millis(600'000),
      "Time that a stopping worker may take to finish and commit what it has read; what is "
      "left after it is read again by the next worker.");
}

void DescribeSettings(SettingSet& set, RetryOptions& options) {
  set.Integer(
      "retry.max_attempts", &options.max_attempts, 1, 1000,
      "Runs of one request before it becomes a dead letter, where a failure may pass: for "
      "want of memory, or while nothing of its model succeeds. Commits and reads of the log "
      "are tried for as long as it takes.");
  set.Duration("retry.initial_backoff", &options.initial_backoff, Millis(1), Millis(60'000),
               "Wait before the first retry of what failed for a passing reason: a commit, a read "
               "of the log, a model of which nothing succeeds.");
  set.Duration("retry.max_backoff", &options.max_backoff, Millis(1), Millis(600'000),
               "Longest wait between two retries.");
  set.Number("retry.multiplier", &options.multiplier, 1.0, 10.0,
             "Factor by which the wait grows from one retry to the next.");
}

void DescribeSettings(SettingSet& set, ExecutorOptions& options) {
  set.Integer(
      "executor.threads", &options.threads, 0, 256,
      "Threads that run models; 0 takes as many as the processors that this process may use "
      "leave room for.");
  set.Integer("executor.nice", &options.nice, 0, 19,
              "Niceness of the threads that run models: with more than 0 they leave the processors "
              "sooner to the threads that read, commit and answer, and to a log on the same "
              "machine, so that a machine full of work still commits in time.");
  set.String("executor.crash_journal", &options.crash_journal,
             "File that keeps which rows a model was running when it crashed the process, best in "
             "memory (/dev/shm, /run): rows that did it twice become dead letters, `model_crash`. "
             "Empty: none, but `serve --supervise` keeps one in memory.");
}

}  // namespace millrace
