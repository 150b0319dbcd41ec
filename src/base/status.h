// Status and Result: how every fallible call in Millrace answers.
//
// A Status is a code that a caller may branch on and one line of text for a person: what happened,
// where, and what to do. A Result<T> is a value or such a Status. Both are plain values; copying an
// OK Status costs nothing. Neither is ever ignored silently: both are [[nodiscard]].
#pragma once

#include <cassert>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace millrace {

enum class StatusCode : unsigned char {
  kOk,
  kInvalidArgument,    // The caller's or the user's input is wrong; retrying cannot help.
  kConfiguration,      // A setting is wrong (exit code 3).
  kNotFound,           // The named thing does not exist.
  kAlreadyExists,      // The named thing exists already.
  kUnavailable,        // A dependency is away or busy; retrying later may help (exit code 4).
  kFenced,             // Another worker took over; this one must stop.
  kResourceExhausted,  // A named limit was reached (disk, memory, a queue).
  kDeadlineExceeded,   // It took longer than it was allowed to.
  kCorruption,         // Stored data is not what it should be.
  kUnsupported,        // Understood, but not offered by this build or version.
  kCancelled,          // Stopped on request.
  kInternal,           // A defect in Millrace or an unexplained failure of a library.
};

// The code's name in lower case with underscores, for logs and JSON.
std::string_view StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message)
      : rep_(code == StatusCode::kOk ? nullptr
                                     : std::make_shared<const Rep>(Rep{code, std::move(message)})) {
  }

  static Status Ok() { return {}; }

  bool ok() const { return rep_ == nullptr; }
  StatusCode code() const { return ok() ? StatusCode::kOk : rep_->code; }
  // Empty when OK.
  std::string_view message() const { return ok() ? std::string_view() : rep_->message; }
  // "code: message", or "ok".
  std::string ToString() const;
  // The same code with `context` and ": " before the message; OK stays OK.
  Status WithContext(std::string_view context) const;

 private:
  struct Rep {
    StatusCode code;
    std::string message;
  };
  std::shared_ptr<const Rep> rep_;
};

template <class T>
class [[nodiscard]] Result {
 public:
  // Implicit on purpose: `return value;` and `return status;` both read well.
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}        // NOLINT
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {  // NOLINT
    assert(!std::get<1>(state_).ok() && "a Result without a value needs an error");
  }

  bool ok() const { return state_.index() == 0; }
  Status status() const { return ok() ? Status() : std::get<1>(state_); }

  // REQUIRES: ok().
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> state_;
};

#define MILLRACE_RETURN_IF_ERROR(expression)                                          \
  do {                                                                                \
    if (::millrace::Status millrace_status_ = (expression); !millrace_status_.ok()) { \
      return millrace_status_;                                                        \
    }                                                                                 \
  } while (false)

}  // namespace millrace
