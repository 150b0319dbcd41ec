#include "base/status.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

namespace millrace {
namespace {

TEST(StatusTest, OkCarriesNothing) {
  EXPECT_TRUE(Status().ok());
  EXPECT_TRUE(Status(StatusCode::kOk, "ignored").ok());
  EXPECT_EQ(Status(StatusCode::kOk, "ignored").message(), "");
  EXPECT_EQ(Status::Ok().ToString(), "ok");
  EXPECT_TRUE(Status::Ok().WithContext("opening").ok());
}

TEST(StatusTest, ErrorKeepsCodeAndMessageThroughCopies) {
  const Status error(StatusCode::kUnavailable, "broker is away");
  const Status copy = error;  // NOLINT: the copy is the point.
  EXPECT_FALSE(copy.ok());
  EXPECT_EQ(copy.code(), StatusCode::kUnavailable);
  EXPECT_EQ(copy.ToString(), "unavailable: broker is away");
}

TEST(StatusTest, ContextGoesBeforeTheMessage) {
  const Status error = Status(StatusCode::kNotFound, "no such file").WithContext("model m");
  EXPECT_EQ(error.code(), StatusCode::kNotFound);
  EXPECT_EQ(error.message(), "model m: no such file");
}

TEST(StatusTest, EveryCodeHasItsOwnName) {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(StatusCode::kInternal); ++code) {
    const std::string_view name = StatusCodeName(static_cast<StatusCode>(code));
    EXPECT_NE(name, "unknown");
    EXPECT_TRUE(names.insert(name).second) << name;
  }
}

Result<std::unique_ptr<int>> Make(bool good) {
  if (!good) return Status(StatusCode::kInternal, "no");
  return std::make_unique<int>(7);
}

Status Use(bool good, int* out) {
  auto made = Make(good);
  MILLRACE_RETURN_IF_ERROR(made.status());
  *out = **made;
  return {};
}

TEST(ResultTest, HoldsAValueOrAnError) {
  int out = 0;
  EXPECT_TRUE(Use(true, &out).ok());
  EXPECT_EQ(out, 7);
  EXPECT_EQ(Use(false, &out).code(), StatusCode::kInternal);
  auto made = Make(true);
  const std::unique_ptr<int> moved = std::move(made).value();
  EXPECT_EQ(*moved, 7);
}

TEST(ResultTest, GivesAccessToItsValue) {
  const Result<std::string> text(std::string("x"));
  EXPECT_EQ(text->size(), 1U);
  EXPECT_TRUE(text.status().ok());
}

}  // namespace
}  // namespace millrace
