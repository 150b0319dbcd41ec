#include "transport/kafka/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/check.h"
#include "base/crash_point.h"
#include "telemetry/log.h"
#include "transport/kafka/client_config.h"
#include "transport/kafka/error.h"

namespace millrace::kafka {
namespace {

// How long Start waits for the group to give it partitions; a member without any is ready too.
constexpr Millis kJoinWait{5'000};
constexpr Millis kCommittedTimeout{5'000};
constexpr std::size_t kErrorText = 512;

PartitionSlot SlotOf(std::int32_t partition) { return PartitionSlot(partition); }

bool IsEnd(const rd_kafka_message_t& message) {
  return message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
}

std::span<rd_kafka_topic_partition_t> Elements(const rd_kafka_topic_partition_list_t* list) {
  return {list->elems, static_cast<std::size_t>(list->cnt)};
}

}  // namespace

Result<std::unique_ptr<KafkaSource>> KafkaSource::Open(const KafkaOptions& options,
                                                       const LogMemory& memory,
                                                       std::shared_ptr<Membership> membership) {
  auto source = std::make_unique<KafkaSource>(std::move(membership));
  MILLRACE_RETURN_IF_ERROR(source->Connect(options, memory));
  return source;
}

Status KafkaSource::Connect(const KafkaOptions& options, const LogMemory& memory) {
  Membership& membership = *membership_;
  ClientSpec spec;
  spec.role = ClientRole::kGroupConsumer;
  spec.group = membership.group;
  leaves_ = IsSupervisedMember(options);
  spec.memory = memory;
  auto conf = BuildConf(options, spec, &membership.events);
  if (!conf.ok()) return conf.status();
  rd_kafka_conf_set_rebalance_cb(conf->get(), &KafkaSource::OnRebalance);
  membership.events.owner = this;
  auto client = NewClient(RD_KAFKA_CONSUMER, std::move(*conf), membership.events);
  if (!client.ok()) return client.status();
  membership.client = std::move(*client);
  rd_kafka_t* const handle = membership.client.get();
  rd_kafka_poll_set_consumer(handle);
  MILLRACE_RETURN_IF_ERROR(queue_.Open(handle));
  const QueuePtr events(rd_kafka_queue_get_consumer(handle));
  queue_.WakeOn(events.get());
  return {};
}

KafkaSource::~KafkaSource() {
  const Status ignored = Close();
  static_cast<void>(ignored);
  for (Partition& partition : partitions_) {
    for (rd_kafka_message_t* message : partition.parked) rd_kafka_message_destroy(message);
  }
  for (std::size_t i = 0; i < partitions_.size(); ++i) {
    if (membership_->client != nullptr) Forward(static_cast<std::int32_t>(i), false);
  }
  queue_.Close();
  if (abandoned_) {
    // Its threads go on until the process ends, and may look at what they were given; in silence.
    rd_kafka_set_log_level(membership_->client.get(), 0);
    static_cast<void>(new std::shared_ptr<Membership>(membership_));
    return;
  }
  membership_->client.reset();
}

KafkaSource::Partition& KafkaSource::At(std::int32_t partition) {
  MILLRACE_CHECK(partition >= 0);
  const auto index = static_cast<std::size_t>(partition);
  if (index >= partitions_.size()) partitions_.resize(index + 1);
  return partitions_[index];
}

Status KafkaSource::Start(Listener* listener) {
  MILLRACE_CHECK(listener != nullptr && listener_ == nullptr && !closed_);
  listener_ = listener;
  const PartitionListPtr topics = NewPartitionList(1);
  rd_kafka_topic_partition_list_add(topics.get(), membership_->requests.c_str(),
                                    RD_KAFKA_PARTITION_UA);
  MILLRACE_RETURN_IF_ERROR(StatusOf(rd_kafka_subscribe(membership_->client.get(), topics.get()),
                                    "subscribing to " + membership_->requests));
  const MonoTime deadline = SystemClock().Now() + kJoinWait;
  while (!joined_ && !queue_.woken() && SystemClock().Now() < deadline) {
    const Status status = ServeEvents();
    // What passes is no reason not to start; the polls go on trying.
    if (!status.ok() && status.code() != StatusCode::kUnavailable) return status;
    if (!joined_) queue_.Wait(Millis(100));
  }
  return {};
}

// --- Rebalances -------------------------------------------------------------------------------

void KafkaSource::OnRebalance(rd_kafka_t* client, rd_kafka_resp_err_t error,
                              rd_kafka_topic_partition_list_t* list, void* opaque) {
  auto* const self = ClientEvents::OwnerOf<KafkaSource>(opaque);
  switch (error) {
    case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS:
      self->Assign(list);
      return;
    case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
      self->Revoke(list);
      return;
    default:
      LogEvent(LogLevel::kError, "rebalance_failed", "the group could not assign partitions",
               {{"error", rd_kafka_err2str(error)}});
      rd_kafka_assign(client, nullptr);
  }
}

void KafkaSource::Assign(rd_kafka_topic_partition_list_t* list) {
  CrashPoint("partitions_assigned");
  joined_ = true;
  for (const rd_kafka_topic_partition_t& element : Elements(list)) {
    Partition& partition = At(element.partition);
    MILLRACE_CHECK(!partition.assigned);
    partition.assigned = true;
    partition.opened = false;
    partition.held = false;
    partition.end_seen = -1;
    ++unopened_;
    Forward(element.partition, true);
  }
  const ErrorPtr error(rd_kafka_incremental_assign(membership_->client.get(), list));
  if (error != nullptr) {
    LogEvent(LogLevel::kError, "assign_failed", "partitions could not be taken over",
             {{"error", rd_kafka_error_string(error.get())}});
  }
}

void KafkaSource::Revoke(rd_kafka_topic_partition_list_t* list) {
  const bool lost = rd_kafka_assignment_lost(membership_->client.get()) != 0;
  CrashPoint(lost ? "partitions_lost" : "partitions_revoked");
  std::vector<PartitionSlot> opened;
  for (const rd_kafka_topic_partition_t& element : Elements(list)) {
    Partition& partition = At(element.partition);
    if (!partition.assigned) continue;
    if (partition.opened) opened.push_back(SlotOf(element.partition));
    Drop(element.partition);
  }
  LogEvent(lost ? LogLevel::kWarn : LogLevel::kInfo,
           lost ? "partitions_lost" : "partitions_revoked",
           lost ? "the group gave partitions away while this worker was out of touch; their work "
                  "is dropped, their new owner does it"
                : "partitions move to another worker",
           {{"count", list->cnt}});
  if (!opened.empty()) {
    if (lost) {
      listener_->OnLost(opened);
    } else {
      listener_->OnRevoked(opened);
    }
  }
  for (const PartitionSlot slot : opened) membership_->assignment.Close(slot);
  const ErrorPtr error(rd_kafka_incremental_unassign(membership_->client.get(), list));
  if (error != nullptr) {
    LogEvent(LogLevel::kError, "unassign_failed", "partitions could not be given up",
             {{"error", rd_kafka_error_string(error.get())}});
  }
}

// Forgets what was read of a partition that is ours no more.
void KafkaSource::Drop(std::int32_t number) {
  Partition& partition = At(number);
  if (!partition.opened) --unopened_;
  partition.assigned = false;
  partition.opened = false;
  parked_ -= partition.parked.size();
  for (rd_kafka_message_t* message : partition.parked) rd_kafka_message_destroy(message);
  partition.parked.clear();
  queue_.DropPartition(number);
}

void KafkaSource::Forward(std::int32_t partition, bool on) {
  const QueuePtr queue(rd_kafka_queue_get_partition(membership_->client.get(),
                                                    membership_->requests.c_str(), partition));
  if (queue != nullptr) rd_kafka_queue_forward(queue.get(), on ? queue_.handle() : nullptr);
}

void KafkaSource::HoldDispatch(PartitionSlot slot, bool hold) {
  Partition& partition = At(slot.value());
  if (!partition.assigned || partition.held == hold) return;
  partition.held = hold;
  Forward(slot.value(), !hold);
}

// --- Events -----------------------------------------------------------------------------------

Status KafkaSource::ServeEvents() {
  Status status;
  while (true) {
    const MessagePtr event(rd_kafka_consumer_poll(membership_->client.get(), 0));
    if (event == nullptr) return status;
    // One that came this way would be lost: records have a queue of their own.
    MILLRACE_CHECK(event->err != RD_KAFKA_RESP_ERR_NO_ERROR && !IsEnd(*event));
    if (Status error = EventError(*event); !error.ok() && status.ok()) status = std::move(error);
  }
}

Status KafkaSource::EventError(const rd_kafka_message_t& event) {
  char text[kErrorText];
  switch (event.err) {
    case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
      LogEvent(LogLevel::kWarn, "poll_interval_exceeded",
               "this worker did not poll for longer than max.poll.interval.ms; it leaves the group "
               "and joins again");
      return {};
    case RD_KAFKA_RESP_ERR__FATAL: {
      const rd_kafka_resp_err_t error =
          rd_kafka_fatal_error(membership_->client.get(), text, sizeof text);
      if (CodeOf(error) == StatusCode::kFenced) {
        return {StatusCode::kFenced,
                fmt::format("another worker of group {} has the same kafka.instance_id: give each "
                            "its own ({})",
                            membership_->group, text)};
      }
      return {StatusCode::kInternal, fmt::format("the group's client cannot go on: {} ({})", text,
                                                 rd_kafka_err2name(error))};
    }
    default:
      return {StatusCode::kUnavailable,
              fmt::format("group {}: {} ({})", membership_->group, rd_kafka_message_errstr(&event),
                          rd_kafka_err2name(event.err))};
  }
}

Status KafkaSource::RecordError(const rd_kafka_message_t& message) const {
  const std::string where =
      fmt::format("{} partition {}", membership_->requests, message.partition);
  if (message.err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
    return {StatusCode::kCorruption,
            fmt::format("{}: there is no valid committed offset to start from, and "
                        "auto.offset.reset=error forbids to choose one: {}",
                        where, rd_kafka_message_errstr(&message))};
  }
  const StatusCode code = CodeOf(message.err) == StatusCode::kCorruption ? StatusCode::kCorruption
                                                                         : StatusCode::kUnavailable;
  return {code, fmt::format("{}: {} ({})", where, rd_kafka_message_errstr(&message),
                            rd_kafka_err2name(message.err))};
}

// --- Polling ----------------------------------------------------------------------------------

Status KafkaSource::Poll(const PollLimits& limits, RecordBatch* batch) {
  MILLRACE_CHECK(listener_ != nullptr);
  MessageCopier copier(batch);
  MILLRACE_RETURN_IF_ERROR(ServeEvents());
  // From the last poll: its records are known to the listener only now.
  ReportEnds();
  if (!record_error_.ok()) {
    const Status error = record_error_;
    if (error.code() == StatusCode::kUnavailable) record_error_ = Status();
    return error;
  }
  if (limits.max_records == 0) return {};
  if (!queue_.Fill() && parked_ == 0) {
    MILLRACE_RETURN_IF_ERROR(membership_->events.CheckBrokers(membership_->client.get()));
    if (limits.max_wait > Millis(0)) queue_.Wait(limits.max_wait);
    MILLRACE_RETURN_IF_ERROR(ServeEvents());
    queue_.Fill();
  }
  if (unopened_ > 0) MILLRACE_RETURN_IF_ERROR(OpenPartitions());
  HandOut(limits, &copier);
  copier.Finish();
  return {};
}

void KafkaSource::Wake() { queue_.Wake(); }

Status KafkaSource::OpenPartitions() {
  std::vector<const rd_kafka_message_t*> firsts;
  for (const rd_kafka_message_t* waiting : queue_.waiting()) {
    const rd_kafka_message_t& message = *waiting;
    const Partition& partition = At(message.partition);
    if (!partition.assigned || partition.opened) continue;
    if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR && !IsEnd(message)) continue;
    const bool known = std::any_of(firsts.begin(), firsts.end(), [&](const auto* first) {
      return first->partition == message.partition;
    });
    if (!known) firsts.push_back(&message);
  }
  return firsts.empty() ? Status() : OpenAt(firsts);
}

Status KafkaSource::OpenAt(const std::vector<const rd_kafka_message_t*>& firsts) {
  const std::string& topic = membership_->requests;
  rd_kafka_t* const client = membership_->client.get();
  const PartitionListPtr list = NewPartitionList(firsts.size());
  for (const rd_kafka_message_t* first : firsts) {
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), first->partition);
  }
  const rd_kafka_resp_err_t error =
      rd_kafka_committed(client, list.get(), static_cast<int>(kCommittedTimeout.count()));
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return {StatusCode::kUnavailable,
            fmt::format("reading the committed offsets of {}: {}", topic, rd_kafka_err2str(error))};
  }
  std::vector<PartitionAssignment> assigned;
  for (std::size_t i = 0; i < firsts.size(); ++i) {
    const rd_kafka_topic_partition_t& element = Elements(list.get())[i];
    if (element.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return {StatusCode::kUnavailable,
              fmt::format("committed offset of {} partition {}: {}", topic, element.partition,
                          rd_kafka_err2str(element.err))};
    }
    std::int64_t position = element.offset;
    if (position < 0) {
      // The group has never committed here: the client started where auto.offset.reset says. At an
      // end there may be offsets before it that carry no record.
      std::int64_t low = 0;
      std::int64_t high = 0;
      position = firsts[i]->offset;
      if (IsEnd(*firsts[i]) &&
          rd_kafka_get_watermark_offsets(client, topic.c_str(), element.partition, &low, &high) ==
              RD_KAFKA_RESP_ERR_NO_ERROR &&
          low >= 0) {
        position = std::min(low, position);
      }
    }
    const PartitionSlot slot = SlotOf(element.partition);
    Partition& partition = At(element.partition);
    partition.opened = true;
    partition.next = Offset(position);
    --unopened_;
    assigned.push_back({slot, membership_->assignment.Open(slot),
                        TopicPartition{topic, element.partition}, partition.next,
                        std::string(NoteOf(element))});
  }
  listener_->OnAssigned(assigned);
  return {};
}

void KafkaSource::ReportEnds() {
  for (std::size_t i = 0; i < partitions_.size(); ++i) {
    Partition& partition = partitions_[i];
    if (partition.end_seen < 0 || !partition.opened) continue;
    if (Offset(partition.end_seen) > partition.next) {
      partition.next = Offset(partition.end_seen);
      listener_->OnPositionAdvanced(SlotOf(static_cast<std::int32_t>(i)), partition.next);
    }
    partition.end_seen = -1;
  }
}

void KafkaSource::HandOut(const PollLimits& limits, MessageCopier* copier) {
  if (parked_ > 0) HandOutParked(limits, copier);
  while (!queue_.empty() && record_error_.ok()) {
    rd_kafka_message_t* const message = queue_.front();
    Partition& partition = At(message->partition);
    if (partition.held || !partition.parked.empty()) {
      partition.parked.push_back(message);
      ++parked_;
    } else if (!HandOutOne(message, limits, copier)) {
      return;
    }
    queue_.PopFront();
  }
}

void KafkaSource::HandOutParked(const PollLimits& limits, MessageCopier* copier) {
  for (Partition& partition : partitions_) {
    while (!partition.held && !partition.parked.empty() && record_error_.ok()) {
      if (!HandOutOne(partition.parked.front(), limits, copier)) return;
      partition.parked.pop_front();
      --parked_;
    }
  }
}

bool KafkaSource::HandOutOne(rd_kafka_message_t* message, const PollLimits& limits,
                             MessageCopier* copier) {
  MessagePtr owned(message);
  Partition& partition = At(message->partition);
  if (!partition.assigned) return true;  // A leftover of an assignment that ended.
  if (IsEnd(*message)) {
    partition.end_seen = message->offset;
    return true;
  }
  if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    record_error_ = RecordError(*message);
    return true;
  }
  if (Offset(message->offset) < partition.next) return true;
  const bool full = copier->records() >= limits.max_records ||
                    (copier->records() > 0 && copier->bytes() + message->len > limits.max_bytes);
  if (full) {
    static_cast<void>(owned.release());  // Still the list's that it came from.
    return false;
  }
  const PartitionSlot slot = SlotOf(message->partition);
  if (copier->StartsRun(slot)) {
    rd_kafka_timestamp_type_t type;
    membership_->assignment.OnHandedOut(slot, Offset(message->offset),
                                        rd_kafka_message_timestamp(message, &type));
  }
  copier->Add(*message, slot);
  partition.next = Next(Offset(message->offset));
  return true;
}

Result<std::vector<PartitionLag>> KafkaSource::Lags() {
  std::vector<PartitionLag> lags = membership_->assignment.Lags();
  for (PartitionLag& lag : lags) {
    std::int64_t low = 0;
    std::int64_t high = 0;
    // As of the last fetch: no request goes out.
    if (rd_kafka_get_watermark_offsets(membership_->client.get(), membership_->requests.c_str(),
                                       lag.partition, &low, &high) == RD_KAFKA_RESP_ERR_NO_ERROR) {
      lag.end = Offset(std::max<std::int64_t>(0, high));
    }
  }
  return lags;
}

void KafkaSource::LeaveGroup() {
  constexpr Millis kPause{10};
  constexpr int kPauses = 200;
  rd_kafka_t* const client = membership_->client.get();
  rd_kafka_unsubscribe(client);
  // The events bring the revocation; with the last partition given up the client leaves, and has
  // no member id any more. Where that takes too long the group misses it after its session.
  for (int i = 0; i < kPauses; ++i) {
    const Status status = ServeEvents();
    char* const id = rd_kafka_memberid(client);
    const bool left = id == nullptr || *id == '\0';
    if (id != nullptr) rd_kafka_mem_free(client, id);
    if (left || status.code() == StatusCode::kFenced) return;
    std::this_thread::sleep_for(kPause);
  }
}

Status KafkaSource::Close() {
  if (closed_ || membership_->client == nullptr) return {};
  closed_ = true;
  if (listener_ == nullptr) return {};
  if (membership_->claiming) return Abandon();
  if (leaves_) LeaveGroup();
  // Serves the rebalance that takes the rest away, on this thread.
  return StatusOf(rd_kafka_consumer_close(membership_->client.get()), "leaving the group");
}

// In an outage, the client waits a minute and more for the answer to a commit before it closes or
// is destroyed, and can be told of no other time.
Status KafkaSource::Abandon() {
  abandoned_ = true;
  std::vector<PartitionSlot> opened;
  for (std::size_t i = 0; i < partitions_.size(); ++i) {
    if (!partitions_[i].assigned) continue;
    const auto number = static_cast<std::int32_t>(i);
    if (partitions_[i].opened) opened.push_back(SlotOf(number));
    Drop(number);
  }
  if (!opened.empty()) listener_->OnRevoked(opened);
  for (const PartitionSlot slot : opened) membership_->assignment.Close(slot);
  return {StatusCode::kUnavailable,
          "leaving the group: the cluster has not answered a claim, so this worker left without a "
          "word; the group misses it after its session"};
}

}  // namespace millrace::kafka
