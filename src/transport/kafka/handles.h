// Owners for the C handles of librdkafka. Internal to transport/kafka.
#pragma once

#include <librdkafka/rdkafka.h>

#include <memory>

namespace millrace::kafka {

template <auto kDestroy>
struct HandleDeleter {
  template <class T>
  void operator()(T* handle) const {
    kDestroy(handle);
  }
};

using ConfPtr = std::unique_ptr<rd_kafka_conf_t, HandleDeleter<rd_kafka_conf_destroy>>;
using ClientPtr = std::unique_ptr<rd_kafka_t, HandleDeleter<rd_kafka_destroy>>;
using TopicPtr = std::unique_ptr<rd_kafka_topic_t, HandleDeleter<rd_kafka_topic_destroy>>;
using QueuePtr = std::unique_ptr<rd_kafka_queue_t, HandleDeleter<rd_kafka_queue_destroy>>;
using EventPtr = std::unique_ptr<rd_kafka_event_t, HandleDeleter<rd_kafka_event_destroy>>;
using ErrorPtr = std::unique_ptr<rd_kafka_error_t, HandleDeleter<rd_kafka_error_destroy>>;
using MessagePtr = std::unique_ptr<rd_kafka_message_t, HandleDeleter<rd_kafka_message_destroy>>;
using HeadersPtr = std::unique_ptr<rd_kafka_headers_t, HandleDeleter<rd_kafka_headers_destroy>>;
using PartitionListPtr = std::unique_ptr<rd_kafka_topic_partition_list_t,
                                         HandleDeleter<rd_kafka_topic_partition_list_destroy>>;
using GroupMetadataPtr = std::unique_ptr<rd_kafka_consumer_group_metadata_t,
                                         HandleDeleter<rd_kafka_consumer_group_metadata_destroy>>;
using AdminOptionsPtr =
    std::unique_ptr<rd_kafka_AdminOptions_t, HandleDeleter<rd_kafka_AdminOptions_destroy>>;

inline PartitionListPtr NewPartitionList(std::size_t size) {
  return PartitionListPtr(rd_kafka_topic_partition_list_new(static_cast<int>(size)));
}

// The text that is kept beside a committed offset.
inline std::string_view NoteOf(const rd_kafka_topic_partition_t& element) {
  return {static_cast<const char*>(element.metadata), element.metadata_size};
}
inline void SetNote(std::string_view note, rd_kafka_topic_partition_t* element) {
  if (note.empty()) return;
  element->metadata = rd_kafka_mem_malloc(nullptr, note.size());  // The list frees it.
  element->metadata_size = note.size();
  note.copy(static_cast<char*>(element->metadata), note.size());
}

}  // namespace millrace::kafka
