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
  row_shape.insert(row_shape.begin(), kDynamicDim);
  return RowLayoutOf({{std::move(name), type, std::move(row_shape)}});
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

  // The elements of the row that begin at `offset`.
  template <class T>
  std::vector<T> Row(std::size_t elements, std::size_t offset = 0) const {
    std::vector<T> row(elements);
    std::vector<char> bytes(elements * sizeof(T));
    const char* const from = reinterpret_cast<const char*>(row_.data()) + offset;
    if (!bytes.empty()) std::memcpy(bytes.data(), from, bytes.size());
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
