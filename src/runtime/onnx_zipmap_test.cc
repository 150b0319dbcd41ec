#include "runtime/onnx_zipmap.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "runtime/test_support.h"

namespace millrace {
namespace {

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(WithoutZipMap, KeepsTheNameOfTheOutputAndItsLabels) {
  const std::string model = BytesOf(TestModelPath("zipmap/1"));
  ASSERT_FALSE(model.empty());
  const std::optional<PlainModel> plain = WithoutZipMap(model);
  ASSERT_TRUE(plain.has_value());
  ASSERT_EQ(plain->outputs.size(), 1u);
  EXPECT_EQ(plain->outputs[0].name, "output_probability");
  EXPECT_EQ(plain->outputs[0].labels, (std::vector<std::string>{"0", "1"}));
  // The operator of a node, with its tag and its length. (The node keeps its name.)
  EXPECT_NE(model.find("\x22\x06ZipMap"), std::string::npos);
  EXPECT_EQ(plain->bytes.find("\x22\x06ZipMap"), std::string::npos);
  EXPECT_FALSE(WithoutZipMap(plain->bytes).has_value()) << "nothing is left to do";
}

TEST(WithoutZipMap, LeavesOtherModelsAlone) {
  for (const char* folder : {"linear/1", "string_input/1", "two_outputs/1"}) {
    EXPECT_FALSE(WithoutZipMap(BytesOf(TestModelPath(folder))).has_value()) << folder;
  }
  EXPECT_FALSE(WithoutZipMap("").has_value());
  EXPECT_FALSE(WithoutZipMap("no model at all").has_value());
  EXPECT_FALSE(WithoutZipMap(std::string(1000, '\xFF')).has_value());
}

TEST(WithoutZipMap, DamagedBytesAreSafe) {
  const std::string model = BytesOf(TestModelPath("zipmap/1"));
  for (std::size_t size = 0; size < model.size(); ++size) {
    const std::string cut = model.substr(0, size);  // In memory of its own, for the sanitizers.
    static_cast<void>(WithoutZipMap(cut));
  }
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  int plain = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = model;
    for (unsigned n = 1 + random() % 4; n > 0; --n) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    plain += WithoutZipMap(damaged).has_value() ? 1 : 0;
  }
  EXPECT_GT(plain, 0) << "not all damage is seen, nor has it to be";
  EXPECT_LT(plain, 20'000);
}

}  // namespace
}  // namespace millrace
