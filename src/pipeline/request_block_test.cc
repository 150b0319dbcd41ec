#include "pipeline/request_block.h"

#include <gtest/gtest.h>

#include "pipeline/outcome.h"

namespace millrace {
namespace {

constexpr std::size_t kKib = 1 << 10;

// A block as a poll leaves it: `bytes` of records, one row.
RequestBlock* Fill(RequestBlockPool& pool, std::size_t bytes, std::size_t outcome_bytes = 0) {
  RequestBlock* const block = pool.Take();
  block->batch.bytes.Append(std::string(bytes, 'x'));
  block->rows.resize(1);
  block->outcome_bytes = outcome_bytes;
  block->open_rows.store(1);
  pool.Count(block);
  return block;
}

TEST(RequestBlockPoolTest, CountsWhatBlocksHoldUntilTheirLastRow) {
  RequestBlockPool pool;
  RequestBlock* const block = Fill(pool, 100 * kKib, 7 * kKib);
  block->open_rows.store(3);
  EXPECT_GE(pool.bytes_in_use(), 107 * kKib);
  EXPECT_LT(pool.bytes_in_use(), 120 * kKib);
  pool.Release(block, 2);
  EXPECT_GE(pool.bytes_in_use(), 107 * kKib) << "one slow row holds all of it";
  pool.Release(block, 1);
  EXPECT_EQ(pool.bytes_in_use(), 0u);
  EXPECT_GE(pool.bytes_kept(), 100 * kKib) << "the next poll uses it again";
  EXPECT_LT(pool.bytes_kept(), 107 * kKib) << "without the outcomes";
  EXPECT_EQ(Fill(pool, 1), block);
  EXPECT_EQ(pool.bytes_kept(), 0u);
}

TEST(RequestBlockPoolTest, BlockOfOneSmallPollHoldsLittle) {
  RequestBlockPool pool;
  RequestBlock* const block = pool.Take();
  block->batch.bytes.Append(std::string(200, 'x'));
  block->inputs.Allocate(120);
  block->rows.resize(1);
  EXPECT_LT(block->memory(), 12 * kKib) << "thousands of them may wait for a slow model";
}

TEST(RequestBlockPoolTest, BlockOfALargePollThatServesASmallOneStartsAnew) {
  RequestBlockPool pool;
  RequestBlock* const block = Fill(pool, 600 * kKib);
  block->batch.records.resize(1);
  pool.Release(block, 1);
  EXPECT_GE(pool.bytes_kept(), 600 * kKib) << "it was used";
  ASSERT_EQ(Fill(pool, 200 * kKib), block);
  block->batch.records.resize(1);
  pool.Release(block, 1);
  EXPECT_GE(pool.bytes_kept(), 600 * kKib) << "polls are never all of one size";
  ASSERT_EQ(Fill(pool, kKib), block);
  block->batch.records.resize(1);
  pool.Release(block, 1);
  EXPECT_LT(pool.bytes_kept(), 16 * kKib);
  ASSERT_EQ(Fill(pool, 600 * kKib), block);
  pool.Release(block, 1);
}

TEST(RequestBlockPoolTest, KeepsNoMoreFreeMemoryThanItMay) {
  RequestBlockPool pool(256 * kKib);
  std::vector<RequestBlock*> blocks;
  for (int i = 0; i < 20; ++i) blocks.push_back(Fill(pool, 100 * kKib));
  EXPECT_EQ(pool.blocks(), 20u);
  // In an order that mixes those kept and those given up.
  for (std::size_t i = 0; i < 20; ++i) pool.Release(blocks[i * 7 % 20], 1);
  EXPECT_EQ(pool.bytes_in_use(), 0u);
  EXPECT_LE(pool.bytes_kept(), 256 * kKib);
  EXPECT_EQ(pool.blocks(), 2u);
  for (int i = 0; i < 3; ++i) Fill(pool, kKib);
  EXPECT_EQ(pool.blocks(), 3u);
}

TEST(OutcomeChunkPoolTest, KeepsNoMoreFreeMemoryThanItMay) {
  OutcomeChunkPool pool(100 * kKib);
  std::vector<std::unique_ptr<OutcomeChunk>> chunks;
  for (int i = 0; i < 10; ++i) {
    chunks.push_back(pool.Take());
    chunks.back()->bytes.Append(std::string(32 * kKib, 'x'));
    chunks.back()->outcomes.resize(10);
  }
  for (auto& chunk : chunks) pool.Give(std::move(chunk));
  EXPECT_LE(pool.bytes_kept(), 100 * kKib);
  EXPECT_GT(pool.bytes_kept(), 50 * kKib);
  const std::size_t kept = pool.bytes_kept();
  const auto again = pool.Take();
  EXPECT_EQ(pool.bytes_kept(), kept - again->memory());
}

}  // namespace
}  // namespace millrace
