#include "models/onnx_scan.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "base/protobuf_wire.h"
#include "runtime/test_support.h"

namespace millrace {
namespace {

// Messages of onnx.proto, written field by field.
class Message {
 public:
  Message& Number(std::uint32_t field, std::int64_t value) {
    AppendWireNumber(field, static_cast<std::uint64_t>(value), &bytes_);
    return *this;
  }
  Message& Bytes(std::uint32_t field, std::string_view bytes) {
    AppendWireBytes(field, bytes, &bytes_);
    return *this;
  }
  Message& In(std::uint32_t field, const Message& part) { return Bytes(field, part.bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

constexpr std::int64_t kFloat = 1, kInt4 = 22;

Message Node(std::string_view op, std::string_view domain = "") {
  return Message().Bytes(1, "x").Bytes(2, "y").Bytes(4, op).Bytes(7, domain);
}
Message Floats(std::vector<std::int64_t> dims, std::size_t raw_bytes, std::int64_t type = kFloat) {
  Message tensor;
  for (const std::int64_t dim : dims) tensor.Number(1, dim);
  return tensor.Number(2, type).Bytes(8, "w").Bytes(9, std::string(raw_bytes, '\0'));
}
std::string Model(const Message& graph) {
  return Message().Number(1, 8).In(7, graph).In(8, Message().Number(2, 17)).bytes();
}
Message Function(std::string_view name, const std::vector<Message>& nodes) {
  Message function;
  function.Bytes(1, name).Bytes(10, "local");
  for (const Message& node : nodes) function.In(7, node);
  return function;
}

Status Scan(const std::string& model, const OnnxLimits& limits = {}) {
  return ScanOnnx(model, limits, nullptr);
}

void ExpectRefused(const std::string& model, std::string_view why, const OnnxLimits& limits = {}) {
  const Status status = Scan(model, limits);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << why;
  EXPECT_NE(status.message().find(why), std::string_view::npos) << status.message();
}

std::string ReadAll(const std::filesystem::path& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

// Every model that the tests have and that loads.
std::vector<std::string> RealModels() {
  std::vector<std::string> models;
  const std::string root = std::string(MILLRACE_SOURCE_DIR) + "/tests/models";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    const bool whole = entry.path().string().find("truncated") == std::string::npos;
    if (whole && entry.path().filename() == "model.onnx") models.push_back(ReadAll(entry.path()));
  }
  return models;
}

TEST(ScanOnnx, PassesWhatExportersWrite) {
  const std::vector<std::string> models = RealModels();
  ASSERT_GT(models.size(), 10U);
  for (const std::string& model : models) {
    OnnxFacts facts;
    const Status status = ScanOnnx(model, {}, &facts);
    EXPECT_TRUE(status.ok()) << status.ToString();
    EXPECT_GT(facts.nodes, 0);
    EXPECT_EQ(facts.depth, 1);
  }
}

TEST(ScanOnnx, SaysWhatAFileIsThatIsNoModel) {
  ExpectRefused("", "is empty");
  ExpectRefused("hello\n", "a text file");
  ExpectRefused(std::string("PK\x03\x04") + std::string(60, '\0'), "a zip archive");
  ExpectRefused("\x1F\x8B\x08garbage", "a gzip archive");
  ExpectRefused("\x80\x04\x95\x01\x02", "a Python pickle");
  ExpectRefused(std::string("\0\0\0\0ORTM", 8), ".ort format");
  ExpectRefused("version https://git-lfs.github.com/spec/v1\n", "Git LFS");
  ExpectRefused("\x08\x08", "it has no graph");
  ExpectRefused("\x0F\xFF\xFF\xFF", "was cut short");
}

TEST(ScanOnnx, RefusesAFileThatIsCutShort) {
  const std::string model = Model(Message().In(1, Node("Neg")).In(5, Floats({4}, 16)));
  ASSERT_TRUE(Scan(model).ok());
  // The last field alone may be left out: the version of the operators.
  const std::size_t graph_end = model.size() - 4;
  ASSERT_TRUE(Scan(model.substr(0, graph_end)).ok());
  for (std::size_t size = 0; size < graph_end; ++size) {
    EXPECT_FALSE(Scan(model.substr(0, size)).ok()) << size;
  }
}

TEST(ScanOnnx, RefusesDataOutsideOfTheFile) {
  const auto external = [](std::string_view location) {
    return Message().Number(1, 4).Number(2, kFloat).Bytes(8, "w").In(
        13, Message().Bytes(1, "location").Bytes(2, location));
  };
  ExpectRefused(Model(Message().In(5, external("weights.bin"))), "outside of the file");
  ExpectRefused(Model(Message().In(5, external("../../etc/passwd"))), "'../../etc/passwd'");
  ExpectRefused(Model(Message().In(5, external("*/_ORT_MEM_ADDR_/*"))), "address in memory");
  // Said by the place alone, in a constant of a node, in a sparse tensor, in a function.
  const Message placed = Message().Number(1, 4).Number(2, kFloat).Bytes(9, "").Number(14, 1);
  ExpectRefused(Model(Message().In(5, placed)), "outside of the file");
  const Message attribute = Message().Bytes(1, "value").In(5, external("x"));
  ExpectRefused(Model(Message().In(1, Node("Constant").In(5, attribute))), "outside of the file");
  ExpectRefused(Model(Message().In(15, Message().In(2, external("x")))), "outside of the file");
  ExpectRefused(Message()
                    .In(25, Function("F", {Node("Constant").In(5, attribute)}))
                    .In(7, Message().In(1, Node("Neg")))
                    .bytes(),
                "outside of the file");
}

TEST(ScanOnnx, RefusesTensorsThatDeclareMoreThanTheyHold) {
  const auto with = [](const Message& tensor) { return Model(Message().In(5, tensor)); };
  EXPECT_TRUE(Scan(with(Floats({2, 2}, 16))).ok());
  EXPECT_TRUE(Scan(with(Floats({0, 1'000'000'000}, 0))).ok());
  EXPECT_TRUE(Scan(with(Floats({3}, 2, kInt4))).ok());
  ExpectRefused(with(Floats({1'000'000, 1'000'000}, 4)),
                "declares 4000000000000 bytes and holds 4");
  ExpectRefused(with(Floats({1LL << 40, 1LL << 40}, 4)), "too large for 63 bits");
  ExpectRefused(with(Floats({1LL << 62}, 4)), "more than any memory");
  ExpectRefused(with(Floats({-1}, 4)), "negative dimension");
  ExpectRefused(with(Floats({1}, 4, 99)), "element type 99");
  ExpectRefused(with(Floats(std::vector<std::int64_t>(65, 1), 4)), "more than 64 dimensions");
  ExpectRefused(with(Message().Number(1, 5).Number(2, kFloat).Bytes(4, std::string(16, '\0'))),
                "declares 5 elements and holds 4");
  const Message sparse = Message().In(1, Floats({1}, 4)).Number(3, 1LL << 40);
  ExpectRefused(Model(Message().In(15, sparse)), "once it is written out");
}

TEST(ScanOnnx, KnowsWhereOperatorsComeFrom) {
  EXPECT_TRUE(Scan(Model(Message().In(1, Node("Neg", "ai.onnx")))).ok());
  EXPECT_TRUE(Scan(Model(Message().In(1, Node("Gelu", "com.microsoft")))).ok());
  const std::string custom = Model(Message().In(1, Node("Steal", "evil.example")));
  ExpectRefused(custom, "operator 'Steal' of domain 'evil.example'");
  OnnxLimits limits;
  limits.domains = SplitDomains(" other , evil.example,,");
  EXPECT_TRUE(Scan(custom, limits).ok());
  // One that the model defines itself is none of a stranger's.
  const std::string local = Message()
                                .In(25, Function("F", {Node("Neg")}))
                                .In(7, Message().In(1, Node("F", "local")))
                                .bytes();
  EXPECT_TRUE(Scan(local).ok());
  ExpectRefused(Model(Message().In(1, Node("F", "local"))), "domain 'local'");
}

TEST(ScanOnnx, RefusesFunctionsAndSubgraphsWithoutEnd) {
  const Message graph = Message().In(1, Node("A", "local"));
  ExpectRefused(Message().In(7, graph).In(25, Function("A", {Node("A", "local")})).bytes(),
                "calls itself");
  ExpectRefused(Message()
                    .In(7, graph)
                    .In(25, Function("A", {Node("B", "local")}))
                    .In(25, Function("B", {Node("A", "local")}))
                    .bytes(),
                "calls itself");
  // Each calls the next twice: 2^30 nodes.
  Message doubling;
  doubling.In(7, Message().In(1, Node("f0", "local")));
  for (int i = 0; i < 30; ++i) {
    const Message next = Node("f" + std::to_string(i + 1), "local");
    doubling.In(25, Function("f" + std::to_string(i), {next, next}));
  }
  doubling.In(25, Function("f30", {Node("Neg")}));
  ExpectRefused(doubling.bytes(), "once its functions are written out");

  Message inner = Message().In(1, Node("Neg"));
  for (int i = 0; i < 17; ++i) {
    inner = Message().In(1, Node("If").In(5, Message().Bytes(1, "then_branch").In(6, inner)));
  }
  ExpectRefused(Model(inner), "more than 16 deep");
  OnnxLimits few;
  few.max_nodes = 2;
  const std::string three =
      Model(Message().In(1, Node("Neg")).In(1, Node("Neg")).In(1, Node("Neg")));
  ExpectRefused(three, "more than 2 nodes", few);
  few.max_bytes = 10;
  ExpectRefused(three, "the limit is 10", few);
  ExpectRefused(Message().In(7, graph).In(7, graph).bytes(), "more than one graph");
}

TEST(ScanOnnx, ShowsNamesOutOfAFileHarmless) {
  EXPECT_EQ(ShownName("a\x1B[31m\nb\xFF"), "a?[31m?b?");
  EXPECT_EQ(ShownName(std::string(100, 'x')), std::string(64, 'x') + "...");
}

TEST(ScanOnnx, TakesAnyBytesWithoutHarm) {
  const unsigned seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  std::mt19937 random(seed);
  const auto pick = [&random](std::size_t below) { return random() % below; };
  const std::vector<std::string> models = RealModels();
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string model = models[pick(models.size())];
    for (std::size_t n = 1 + pick(8); n > 0 && !model.empty(); --n) {
      const std::size_t at = pick(model.size());
      switch (pick(4)) {
        case 0:
          model[at] = static_cast<char>(random());
          break;
        case 1:
          model[at] = static_cast<char>(model[at] ^ (1 << pick(8)));
          break;
        case 2:
          model.resize(at);
          break;
        default:
          model.insert(at, model.substr(pick(model.size()), pick(64)));
          break;
      }
    }
    OnnxFacts facts;
    const Status status = ScanOnnx(model, {}, &facts);
    refused += status.ok() ? 0 : 1;
    ASSERT_LE(facts.depth, OnnxLimits().max_depth);
    for (const char c : status.message()) ASSERT_GE(c, ' ') << status.message();
  }
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace millrace
