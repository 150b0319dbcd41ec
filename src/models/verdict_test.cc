#include "models/verdict.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "models/flat_json.h"
#include "runtime/test_support.h"

namespace millrace {
namespace {

const std::string kDigest(64, 'a');
const std::string kFingerprint = "0123456789abcdef";

ProbeVerdict Verdict(bool accepted, bool may_pass, WallMillis at) {
  ProbeVerdict verdict;
  verdict.accepted = accepted;
  verdict.reason = accepted ? "" : "says \"no\"\\";
  verdict.may_pass = may_pass;
  verdict.sha256 = kDigest;
  verdict.fingerprint = kFingerprint;
  verdict.determinism = Determinism::kClose;
  verdict.footprint_bytes = 12'345'678;
  verdict.load_time = Millis(42);
  verdict.golden_rows = 3;
  verdict.confinement = "cpu memory";
  verdict.probed_at = at;
  return verdict;
}

TEST(FlatJson, ReadsWhatItWrites) {
  FlatJson json;
  json.Set("text", "a \"b\" \\ \n \x01 \x7F é").Set("number", std::int64_t{-7}).Set("yes", true);
  const auto read = FlatJson::Parse(json.Write());
  ASSERT_TRUE(read.has_value()) << json.Write();
  EXPECT_EQ(read->Text("text"), "a \"b\" \\ \n \x01 \x7F é");
  EXPECT_EQ(read->Number("number"), -7);
  EXPECT_EQ(read->Bool("yes"), true);
  EXPECT_EQ(read->Text("number"), std::nullopt);
  EXPECT_EQ(read->Text("nothing"), std::nullopt);
  EXPECT_EQ(json.Write().find('\n'), std::string::npos);
}

TEST(FlatJson, RefusesWhatIsNoFlatObject) {
  for (const char* text :
       {"", "{", "}", "null", "[]", "{\"a\":1", "{\"a\":1}x", "{\"a\":1,}", "{\"a\":{}}",
        "{\"a\":[1]}", "{\"a\":1.5}", "{\"a\":null}", "{\"a\":1,\"a\":2}", "{\"a\":\"\n\"}",
        "{\"a\":\"\\u12\"}", "{\"a\":\"\\uD800\"}", "{a:1}", "{\"a\":99999999999999999999}"}) {
    EXPECT_FALSE(FlatJson::Parse(text).has_value()) << text;
  }
  EXPECT_FALSE(FlatJson::Parse("{\"a\":\"" + std::string(FlatJson::kMaxBytes, 'x') + "\"}"));
  EXPECT_TRUE(FlatJson::Parse(" {} ").has_value());
}

TEST(ProbeVerdict, SurvivesItsTextAndNothingElseDoes) {
  const ProbeVerdict verdict = Verdict(false, true, 1'700'000'000'000);
  const auto read = ProbeVerdict::Parse(verdict.Write());
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->Write(), verdict.Write());
  EXPECT_EQ(read->determinism, Determinism::kClose);
  EXPECT_EQ(read->footprint_bytes, 12'345'678);
  EXPECT_FALSE(ProbeVerdict::Parse("{\"accepted\":true}").has_value());

  const unsigned seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  std::mt19937 random(seed);
  for (int round = 0; round < 20'000; ++round) {
    std::string text = verdict.Write();
    text[random() % text.size()] = static_cast<char>(random());
    if (random() % 2 == 0) text.resize(random() % text.size());
    const auto changed = ProbeVerdict::Parse(text);
    if (changed) {
      EXPECT_GE(changed->footprint_bytes, 0);
    }
  }
}

TEST(ReasonLine, KeepsAMessageWithinBounds) {
  EXPECT_EQ(ReasonLine("a\nb\x1B\x7F"), "a b");
  const std::string cut = ReasonLine(std::string(kMaxReasonBytes - 1, 'x') + "é and more");
  EXPECT_EQ(cut, std::string(kMaxReasonBytes - 1, 'x'));
}

TEST(VerdictStore, FindsWhatWasPut) {
  const TempFolder folder;
  const VerdictStore store(folder.path().string());
  EXPECT_FALSE(store.Find(kDigest, kFingerprint).has_value());
  ASSERT_TRUE(store.Put(Verdict(true, false, 1)).ok());
  const auto found = store.Find(kDigest, kFingerprint);
  ASSERT_TRUE(found.has_value());
  EXPECT_TRUE(found->accepted);
  EXPECT_TRUE(found->from_store);
  EXPECT_FALSE(store.Find(kDigest, "fedcba9876543210").has_value());
  EXPECT_FALSE(store.Find(std::string(64, 'b'), kFingerprint).has_value());
  EXPECT_FALSE(store.Find("../../etc/passwd", kFingerprint).has_value());
  // Nothing but the verdict is left in the folder.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(store.dir()), {}), 1);
}

TEST(VerdictStore, ForgetsInTimeARejectionThatMayPass) {
  const TempFolder folder;
  ManualClock clock;
  const VerdictStore store(folder.path().string(), clock);
  ASSERT_TRUE(store.Put(Verdict(false, true, clock.WallNow())).ok());
  EXPECT_TRUE(store.Find(kDigest, kFingerprint).has_value());
  clock.Advance(VerdictStore::kKeepPassing + Millis(1));
  EXPECT_FALSE(store.Find(kDigest, kFingerprint).has_value());
  ASSERT_TRUE(store.Put(Verdict(false, false, clock.WallNow())).ok());
  clock.Advance(Millis(1000LL * 3600 * 24 * 365));
  EXPECT_TRUE(store.Find(kDigest, kFingerprint).has_value());
}

TEST(VerdictStore, TakesADamagedFileForNone) {
  const TempFolder folder;
  const VerdictStore store(folder.path().string());
  ASSERT_TRUE(store.Put(Verdict(true, false, 1)).ok());
  const std::string path = store.dir() + "/" + kDigest + "-" + kFingerprint + ".json";
  for (const std::string& text : {std::string("{\"accepted\":tr"), std::string(),
                                  std::string(100'000, 'x'), std::string(1000, '\0')}) {
    std::ofstream(path, std::ios::binary) << text;
    EXPECT_FALSE(store.Find(kDigest, kFingerprint).has_value());
  }
  // A verdict of other bytes under this name is none of these.
  ProbeVerdict other = Verdict(true, false, 1);
  other.sha256 = std::string(64, 'c');
  std::ofstream(path, std::ios::binary) << other.Write();
  EXPECT_FALSE(store.Find(kDigest, kFingerprint).has_value());
  // Nor may a FIFO in its place hold anyone up.
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_FALSE(store.Find(kDigest, kFingerprint).has_value());
}

TEST(VerdictStore, ReadersSeeAllOfAVerdictOrNothing) {
  const TempFolder folder;
  const VerdictStore store(folder.path().string());
  ASSERT_TRUE(store.Put(Verdict(true, false, 0)).ok());
  std::vector<std::thread> writers;
  for (int thread = 0; thread < 3; ++thread) {
    writers.emplace_back([&store] {
      for (int i = 0; i < 200; ++i) EXPECT_TRUE(store.Put(Verdict(true, false, i)).ok());
    });
  }
  for (int i = 0; i < 2000; ++i) EXPECT_TRUE(store.Find(kDigest, kFingerprint).has_value());
  for (std::thread& writer : writers) writer.join();
}

TEST(VerdictStore, ForgetsTheOldestWhenItIsFull) {
  const TempFolder folder;
  const VerdictStore store(folder.path().string());
  ASSERT_TRUE(store.Put(Verdict(true, false, 0)).ok());
  const std::filesystem::path mine = store.dir() + "/" + kDigest + "-" + kFingerprint + ".json";
  const auto old = std::filesystem::last_write_time(mine) - std::chrono::hours(1);
  std::filesystem::last_write_time(mine, old);
  for (std::size_t i = 1; i < VerdictStore::kMaxKept; ++i) {
    folder.Write("verdicts/" + std::to_string(i), "");
  }
  ProbeVerdict other = Verdict(true, false, 0);
  other.sha256 = std::string(64, 'b');
  ASSERT_TRUE(store.Put(other).ok());
  EXPECT_FALSE(store.Find(kDigest, kFingerprint).has_value());
  EXPECT_TRUE(store.Find(other.sha256, kFingerprint).has_value());
  const auto left = std::distance(std::filesystem::directory_iterator(store.dir()), {});
  EXPECT_EQ(static_cast<std::size_t>(left), VerdictStore::kMaxKept - VerdictStore::kMaxKept / 10);
}

TEST(VerdictStore, SaysWhereItCannotWrite) {
  const TempFolder folder;
  const std::string file = folder.Write("file", "");
  const Status status = VerdictStore(file).Put(Verdict(true, false, 0));
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("repository.cache_dir"), std::string_view::npos);
  EXPECT_NE(status.message().find(file), std::string_view::npos) << status.message();
}

}  // namespace
}  // namespace millrace
