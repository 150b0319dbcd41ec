#include "transport/kafka/client_events.h"

#include <string_view>

namespace millrace::kafka {
namespace {

constexpr int kSyslogWarning = 4;

// kafka.properties go to every client; that some are for producers or consumers only is no news.
bool OfAnotherRole(std::string_view facility, std::string_view text) {
  return facility == "CONFWARN" && text.find("will be ignored by") != std::string_view::npos;
}

}  // namespace

void ClientEvents::Register(rd_kafka_conf_t* conf) {
  rd_kafka_conf_set_opaque(conf, this);
  rd_kafka_conf_set_log_cb(conf, &ClientEvents::OnLog);
  rd_kafka_conf_set_error_cb(conf, &ClientEvents::OnError);
}

Status ClientEvents::CheckBrokers(rd_kafka_t* client) {
  constexpr int kTimeoutMs = 1'000;
  if (!brokers_down_.load(std::memory_order_relaxed)) return {};
  const rd_kafka_metadata_t* metadata = nullptr;
  if (rd_kafka_metadata(client, 0, nullptr, &metadata, kTimeoutMs) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return {StatusCode::kUnavailable, "no broker answers: " + last_error()};
  }
  rd_kafka_metadata_destroy(metadata);
  brokers_down_.store(false, std::memory_order_relaxed);
  LogEvent(LogLevel::kInfo, "brokers_back", "the brokers answer again", {{"client", client_}});
  return {};
}

std::string ClientEvents::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

void ClientEvents::OnLog(const rd_kafka_t* client, int level, const char* facility,
                         const char* text) {
  // A client that fails while it is being made has no opaque yet.
  auto* const self =
      client == nullptr ? nullptr : static_cast<ClientEvents*>(rd_kafka_opaque(client));
  if (self == nullptr) return;
  if (level > kSyslogWarning || OfAnotherRole(facility, text)) {
    LogEvent(LogLevel::kDebug, "kafka_client", text,
             {{"client", self->client_}, {"facility", facility}});
    return;
  }
  LogEvery(self->log_limiter_, LogLevel::kWarn, "kafka_client", text,
           {{"client", self->client_}, {"facility", facility}});
}

void ClientEvents::OnError(rd_kafka_t*, int error, const char* reason, void* opaque) {
  auto* const self = static_cast<ClientEvents*>(opaque);
  if (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
    self->brokers_down_.store(true, std::memory_order_relaxed);
    return;
  }
  // An abort purges what was not sent yet; that is no news.
  if (error == RD_KAFKA_RESP_ERR__PURGE_QUEUE || error == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT) return;
  if (error == RD_KAFKA_RESP_ERR__AUTHENTICATION) {
    self->login_refused_.store(true, std::memory_order_relaxed);
  }
  const std::lock_guard lock(self->mutex_);
  self->last_error_ = reason;
}

}  // namespace millrace::kafka
