// ClientEvents: what one client of librdkafka says about itself, to the event log and to us.
//
// librdkafka calls from its own threads; the state here is what others may ask. One object per
// client, which it must outlive. Internal to transport/kafka.
#pragma once

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <mutex>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "telemetry/log.h"

namespace millrace::kafka {

class ClientEvents {
 public:
  // `client`: how the log calls it, "consumer".
  explicit ClientEvents(std::string client) : client_(std::move(client)) {}
  ClientEvents(const ClientEvents&) = delete;
  ClientEvents& operator=(const ClientEvents&) = delete;

  // Sets the log and error callbacks and the opaque: this object.
  void Register(rd_kafka_conf_t* conf);

  // For further callbacks of the client: whoever they are for. Set before the client is made.
  void* owner = nullptr;
  template <class T>
  static T* OwnerOf(void* opaque) {
    return static_cast<T*>(static_cast<ClientEvents*>(opaque)->owner);
  }

  // kUnavailable while no broker answers. The client says only once that none does; whether one
  // does again is asked here, for up to a second. Costs nothing while all is well.
  Status CheckBrokers(rd_kafka_t* client);

  // A broker answered, and did not take the login. It does not pass by itself.
  bool login_refused() const { return login_refused_.load(std::memory_order_relaxed); }

  // The last thing that went wrong with a connection, for a message to a person; may be empty.
  std::string last_error() const;
  const std::string& client() const { return client_; }

 private:
  static void OnLog(const rd_kafka_t* client, int level, const char* facility, const char* text);
  static void OnError(rd_kafka_t* client, int error, const char* reason, void* opaque);

  const std::string client_;
  std::atomic<bool> brokers_down_{false};
  std::atomic<bool> login_refused_{false};
  LogLimiter log_limiter_{Millis(1'000)};
  mutable std::mutex mutex_;
  std::string last_error_;  // Guarded by mutex_.
};

}  // namespace millrace::kafka
