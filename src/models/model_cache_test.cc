#include "models/model_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "models/digest.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kModelBytes = 64 << 10;
constexpr std::int64_t kRoomForThree = 3 * kModelBytes + kModelBytes / 2;

Status Forever() { return {}; }
Status NotAtAll() { return {StatusCode::kCancelled, "busy"}; }

class ModelCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "cache-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    cache_ = std::make_unique<ModelCache>(dir_ + "/models", kRoomForThree);
    ASSERT_TRUE(cache_->Prepare().ok());
  }
  void TearDown() override { fs::remove_all(dir_); }

  // Puts a model into the cache as a fetch does; its path, and its pin in `pin`.
  Result<std::string> Put(const std::string& name, CachePin* pin) {
    auto entry = cache_->LockDigest(Sha256Hex(name), Forever);
    if (!entry.ok()) return entry.status();
    auto pinned = cache_->Pin(*entry);
    if (!pinned.ok()) return pinned.status();
    *pin = *pinned;
    const std::string part = entry->dir() + "/model.part";
    auto file = OpenFile::Open(part, O_RDWR | O_CREAT);
    if (!file.ok()) return file.status();
    MILLRACE_RETURN_IF_ERROR(cache_->Reserve(file->fd(), kModelBytes));
    MILLRACE_RETURN_IF_ERROR(WriteAll(file->fd(), std::string(kModelBytes, 'm'), part));
    const std::string path = entry->dir() + "/model.onnx";
    fs::rename(part, path);
    return path;
  }
  // Moves the time of the last use, so that no test has to wait for the clock.
  void UsedSecondsAgo(const std::string& path, int seconds) {
    const std::string pin = fs::path(path).parent_path() / "pin";
    const auto time = fs::last_write_time(pin) - std::chrono::seconds(seconds);
    fs::last_write_time(pin, time);
  }

  std::string dir_;
  std::unique_ptr<ModelCache> cache_;
};

TEST_F(ModelCacheTest, TheLeastRecentlyUsedGoFirst) {
  std::vector<std::string> paths;
  for (int i = 0; i < 3; ++i) {
    CachePin pin;
    auto path = Put("model-" + std::to_string(i), &pin);
    ASSERT_TRUE(path.ok()) << path.status().ToString();
    paths.push_back(*path);
    UsedSecondsAgo(*path, 100 - i);
  }
  // The oldest is used again.
  auto entry = cache_->LockDigest(Sha256Hex("model-0"), Forever);
  ASSERT_TRUE(entry.ok());
  ASSERT_TRUE(cache_->Pin(*entry).ok());
  entry->Unlock();
  CachePin pin;
  ASSERT_TRUE(Put("model-3", &pin).ok());
  EXPECT_TRUE(fs::exists(paths[0]));
  EXPECT_FALSE(fs::exists(paths[1]));
  EXPECT_TRUE(fs::exists(paths[2]));
  EXPECT_LE(cache_->Bytes(), kRoomForThree);
}

TEST_F(ModelCacheTest, WhatIsInUseStays) {
  std::vector<CachePin> pins(3);
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < pins.size(); ++i) {
    auto path = Put("model-" + std::to_string(i), &pins[i]);
    ASSERT_TRUE(path.ok()) << path.status().ToString();
    paths.push_back(*path);
  }
  CachePin pin;
  const auto refused = Put("model-3", &pin);
  EXPECT_EQ(refused.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(refused.status().message().find("repository.cache_bytes"), std::string::npos);
  for (const std::string& path : paths) EXPECT_TRUE(fs::exists(path));
  pins[1].reset();
  EXPECT_TRUE(Put("model-3", &pin).ok());
  EXPECT_FALSE(fs::exists(paths[1]));
}

TEST_F(ModelCacheTest, WhatIsLargerThanTheCacheIsRefused) {
  auto entry = cache_->LockDigest(Sha256Hex("large"), Forever);
  ASSERT_TRUE(entry.ok());
  auto file = OpenFile::Open(entry->dir() + "/model.part", O_RDWR | O_CREAT);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(cache_->Reserve(file->fd(), kRoomForThree + 1).code(), StatusCode::kResourceExhausted);
}

TEST_F(ModelCacheTest, OneAtATimeHoldsAnEntry) {
  auto entry = cache_->LockDigest(Sha256Hex("one"), Forever);
  ASSERT_TRUE(entry.ok());
  EXPECT_EQ(cache_->LockDigest(Sha256Hex("one"), NotAtAll).status().code(), StatusCode::kCancelled);
  EXPECT_TRUE(cache_->LockDigest(Sha256Hex("two"), NotAtAll).ok());
  entry->Unlock();
  EXPECT_TRUE(cache_->LockDigest(Sha256Hex("one"), NotAtAll).ok());
}

TEST_F(ModelCacheTest, WhoWaitsForAnEntryThatIsRemovedGetsANewOne) {
  auto entry = cache_->LockDigest(Sha256Hex("one"), Forever);
  ASSERT_TRUE(entry.ok());
  std::atomic<bool> waits{false};
  std::thread waiter([&] {
    auto mine = cache_->LockDigest(Sha256Hex("one"), [&] {
      waits = true;
      return Status();
    });
    ASSERT_TRUE(mine.ok()) << mine.status().ToString();
    EXPECT_TRUE(fs::exists(mine->dir() + "/lock"));
    EXPECT_FALSE(fs::exists(mine->dir() + "/model.onnx"));
  });
  while (!waits) std::this_thread::yield();
  std::ofstream(entry->dir() + "/model.onnx") << "x";
  cache_->Discard(std::move(*entry));
  waiter.join();
}

TEST_F(ModelCacheTest, ManyThreadsWithLittleRoomNeverLoseWhatTheyHold) {
  std::atomic<int> held{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 40; ++i) {
        CachePin pin;
        const auto path = Put("model-" + std::to_string((i * 3 + t * 5) % 7), &pin);
        if (!path.ok()) {
          EXPECT_EQ(path.status().code(), StatusCode::kResourceExhausted)
              << path.status().ToString();
          continue;
        }
        ++held;
        EXPECT_EQ(static_cast<std::int64_t>(fs::file_size(*path)), kModelBytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(held.load(), 20);
  EXPECT_LE(cache_->Bytes(), kRoomForThree);
}

TEST_F(ModelCacheTest, AFolderThatOthersMayWriteToIsRefused) {
  const std::string open = dir_ + "/open";
  ASSERT_TRUE(fs::create_directory(open));
  ASSERT_EQ(::chmod(open.c_str(), 0777), 0);
  EXPECT_EQ(ModelCache(open, kRoomForThree).Prepare().code(), StatusCode::kConfiguration);
}

}  // namespace
}  // namespace millrace
