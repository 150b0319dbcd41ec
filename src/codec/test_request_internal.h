// TestRequest: a record built in memory, and what decoding it gives. For tests of the codec only.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/byte_buffer.h"
#include "codec/request_decoder.h"
#include "codec/string_scratch.h"
#include "types/record.h"

namespace millrace {

inline RowLayout MakeLayout(ElementType type, std::vector<std::int64_t> row_shape,
                            std::string name = "x") {
  RowLayout layout;
  layout.name = std::move(name);
  layout.type = type;
  layout.row_shape = std::move(row_shape);
  layout.elements = 1;
  for (const std::int64_t dim : layout.row_shape) {
    layout.elements *= static_cast<std::size_t>(dim);
  }
  layout.bytes = layout.elements * ElementBytes(type);
  return layout;
}

class TestRequest {
 public:
  using HeaderList = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  // The value lies in a block of its own with exactly the readable padding, so that a sanitizer
  // sees an overread.
  explicit TestRequest(std::string_view value, HeaderList headers = {{"model_id", "m"}}) {
    storage_.reset(new char[value.size() + kReadablePadding]);
    if (!value.empty()) std::memcpy(storage_.get(), value.data(), value.size());
    std::memset(storage_.get() + value.size(), '}', kReadablePadding);
    record_.value = {storage_.get(), value.size()};
    record_.has_value = true;
    record_.timestamp = 1'000'000;
    record_.offset = Offset(42);
    for (const auto& [name, text] : headers) AppendHeader(name, text, headers_);
    record_.headers = HeadersView(headers_.view());
  }

  TestRequest& Key(std::string key) {
    key_ = std::move(key);
    record_.key = key_;
    record_.has_key = true;
    return *this;
  }
  TestRequest& NullHeader(std::string_view name) {
    AppendNullHeader(name, headers_);
    record_.headers = HeadersView(headers_.view());
    return *this;
  }

  // Begin, then Finish when Begin succeeded.
  std::optional<Failure> Decode(const RowLayout& layout, const CodecLimits& limits = {}) {
    RequestDecoder decoder(limits);
    return Decode(decoder, layout);
  }
  std::optional<Failure> Decode(RequestDecoder& decoder, const RowLayout& layout) {
    row_.assign(layout.bytes / sizeof(std::uint64_t) + 1, 0);
    auto failure = decoder.Begin(record_, scratch_, &request_);
    if (failure) return failure;
    return decoder.Finish(record_, layout, scratch_, &request_,
                          reinterpret_cast<std::byte*>(row_.data()));
  }

  template <class T>
  std::vector<T> Row(std::size_t elements) const {
    std::vector<T> row(elements);
    std::vector<char> bytes(elements * sizeof(T));
    if (!bytes.empty()) std::memcpy(bytes.data(), row_.data(), bytes.size());
    for (std::size_t i = 0; i < elements; ++i) {
      T element;
      std::memcpy(&element, bytes.data() + i * sizeof(T), sizeof(T));
      row[i] = element;
    }
    return row;
  }

  Record& record() { return record_; }
  const InferenceRequest& request() const { return request_; }
  StringScratch& scratch() { return scratch_; }

 private:
  std::unique_ptr<char[]> storage_;
  std::string key_;
  ByteBuffer headers_;
  Record record_;
  StringScratch scratch_;
  InferenceRequest request_;
  std::vector<std::uint64_t> row_;  // Aligned for every element type.
};

}  // namespace millrace
