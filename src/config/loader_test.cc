#include "config/loader.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "config/reference.h"
#include "pipeline/options.h"
#include "scheduler/options.h"

namespace millrace {
namespace {

using ::testing::Test;

struct ModelEntry {
  std::int64_t max_rows = 0;
  std::string outputs;
};
void DescribeEntry(SettingSet& set, ModelEntry& entry) {
  set.Integer("max_rows", &entry.max_rows, 0, 4096, "Rows.");
  set.Mapping("outputs", &entry.outputs, "Fields.");
}
void DescribeProperty(SettingSet& set, std::string& value) { set.String("", &value, "Property."); }

class LoaderTest : public Test {
 protected:
  LoaderTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "millrace-config-XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    DescribeSettings(set_, batch_);
    DescribeSettings(set_, fairness_);
    DescribeSettings(set_, delivery_);
    set_.String("kafka.password", &password_, "Password.", {.secret = true});
    set_.Map("models", &models_, DescribeEntry);
    set_.Map("kafka.properties", &properties_, DescribeProperty);
  }
  ~LoaderTest() override { std::filesystem::remove_all(dir_); }

  std::string File(const std::string& name, const std::string& text) {
    const std::string path = dir_ / name;
    std::ofstream(path) << text;
    return path;
  }
  LoadedSettings Load() { return LoadSettings(set_, sources_); }
  LoadedSettings LoadText(const std::string& text) {
    sources_.files.push_back(File("settings.yaml", text));
    return Load();
  }
  // "settings.yaml:3: ..." without the folder.
  std::vector<std::string> Short(std::vector<std::string> errors) const {
    for (std::string& error : errors) {
      for (std::size_t at = error.find(dir_.string()); at != std::string::npos;
           at = error.find(dir_.string())) {
        error.erase(at, dir_.string().size() + 1);
      }
    }
    return errors;
  }

  std::filesystem::path dir_;
  BatchOptions batch_;
  FairnessOptions fairness_;
  DeliveryOptions delivery_;
  std::string password_;
  std::map<std::string, ModelEntry> models_;
  std::map<std::string, std::string> properties_;
  SettingSet set_;
  SettingSources sources_;
};

using Errors = std::vector<std::string>;

TEST_F(LoaderTest, LaterSourcesWin) {
  sources_.files = {File("a.yaml", "batch:\n  max_rows: 10\n  max_wait: 1s\n  adaptive: false\n"),
                    File("b.yaml", "batch:\n  max_rows: 20\n  max_wait: 2s\n"),
                    File("c.yaml", "fairness: {max_queue_rows: 512}\n")};
  sources_.environment = {{"MILLRACE_BATCH_MAX_ROWS", "30"},
                          {"MILLRACE_FAIRNESS_MAX_QUEUE_ROWS", "1024"}};
  sources_.flags = {{"-s", "batch.max_rows", "40"}};
  const LoadedSettings loaded = Load();
  ASSERT_EQ(Short(loaded.errors), Errors());
  EXPECT_EQ(batch_.max_rows, 40);
  EXPECT_EQ(fairness_.max_queue_rows, 1024);
  EXPECT_EQ(batch_.max_wait, Millis(2000));
  EXPECT_FALSE(batch_.adaptive);
  EXPECT_EQ(loaded.Find("batch.max_rows")->origin, "-s");
  EXPECT_EQ(loaded.Find("fairness.max_queue_rows")->origin, "MILLRACE_FAIRNESS_MAX_QUEUE_ROWS");
  EXPECT_EQ(loaded.Find("batch.max_wait")->origin, dir_.string() + "/b.yaml:3");
  EXPECT_EQ(loaded.Find("batch.adaptive")->origin, dir_.string() + "/a.yaml:4");
  EXPECT_EQ(loaded.Find("delivery.drain_timeout")->origin, "default");
}

TEST_F(LoaderTest, CollectsEveryMistakeWithItsLine) {
  sources_.environment = {{"MILLRACE_BATCH_MAX_WAIT", "soon"}};
  sources_.flags = {{"-s", "batch.adaptve", "true"}};
  const LoadedSettings loaded = LoadText(
      "batch:\n"
      "  max_row: 5\n"
      "  max_rows: 9999\n"
      "  adaptive: [true]\n"
      "fairness:\n"
      "  max_queue_rows:\n"
      "delivery: fast\n"
      "bacth:\n"
      "  max_wait: 1s\n");
  EXPECT_EQ(
      Short(loaded.errors),
      (Errors{
          "settings.yaml:2: batch.max_row: unknown setting; did you mean 'batch.max_rows'?",
          "settings.yaml:3: batch.max_rows: must be between 1 and 4096, got '9999'",
          "settings.yaml:4: batch.adaptive: expected one value, got a list",
          "settings.yaml:6: fairness.max_queue_rows: has no value",
          "settings.yaml:7: delivery: is a section: it holds settings and has no value of its own",
          "settings.yaml:9: bacth.max_wait: unknown setting; did you mean 'batch.max_wait'?",
          "MILLRACE_BATCH_MAX_WAIT: batch.max_wait: expected a duration such as 50ms, 5s or 2m, "
          "got 'soon'",
          "-s: batch.adaptve: unknown setting; did you mean 'batch.adaptive'?",
      }));
  EXPECT_EQ(loaded.status().code(), StatusCode::kConfiguration);
}

TEST_F(LoaderTest, EmptyFilesAndEmptySectionsAreFine) {
  sources_.files = {File("empty.yaml", ""), File("comment.yaml", "# nothing\n")};
  EXPECT_EQ(Short(LoadText("batch:\nfairness: {}\n").errors), Errors());
  EXPECT_EQ(batch_.max_rows, 64);
}

TEST_F(LoaderTest, SaysWhereAFileIsNoSettingsFile) {
  sources_.files = {(dir_ / "absent.yaml").string(),
                    dir_.string(),
                    File("list.yaml", "- a\n"),
                    File("broken.yaml", "batch:\n  max_rows: [1\n"),
                    File("twice.yaml", "batch:\n  max_rows: 1\n  max_rows: 2\n"),
                    File("two.yaml", "batch: {}\n---\nbatch: {}\n")};
  const Errors errors = Short(Load().errors);
  ASSERT_EQ(errors.size(), 6U) << ::testing::PrintToString(errors);
  EXPECT_EQ(errors[0], "absent.yaml: cannot be read: No such file or directory");
  EXPECT_NE(errors[1].find("cannot be read: Is a directory"), std::string::npos) << errors[1];
  EXPECT_EQ(errors[2], "list.yaml:1: expected a mapping such as 'batch: {max_rows: 64}'");
  EXPECT_EQ(errors[3].find("broken.yaml:"), 0U) << errors[3];
  EXPECT_EQ(errors[4], "twice.yaml:3: batch.max_rows: given twice, first on line 2");
  EXPECT_EQ(errors[5].find("two.yaml:"), 0U) << errors[5];
}

TEST_F(LoaderTest, RefusesAFileWhoseAliasesMultiply) {
  std::string text = "a0: &a0 {x: 1, y: 1}\n";
  for (int i = 1; i < 14; ++i) {
    const std::string n = std::to_string(i);
    const std::string below = "*a" + std::to_string(i - 1);
    text += "a" + n + ": &a" + n + " {p: " + below + ", q: " + below + ", r: " + below +
            ", s: " + below + "}\n";
  }
  const Errors errors = Short(LoadText(text).errors);
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_NE(errors[0].find("over 100000 values"), std::string::npos) << errors[0];
}

TEST_F(LoaderTest, ListsABoundedNumberOfErrors) {
  std::string text = "batch:\n";
  for (std::size_t i = 0; i < kMaxListedErrors + 7; ++i)
    text += "  wrong" + std::to_string(i) + ": 1\n";
  const Errors errors = LoadText(text).errors;
  ASSERT_EQ(errors.size(), kMaxListedErrors + 1);
  EXPECT_EQ(errors.back(), "and 7 more");
}

TEST_F(LoaderTest, AMappingIsOneValueWhereTheSettingTakesOne) {
  sources_.environment = {{"LIMIT", "0.7"}};
  const LoadedSettings loaded = LoadText(
      "models:\n"
      "  fraud.v2:\n"
      "    outputs:\n"
      "      max_rows: p[1]\n"  // Not a setting of a model called "fraud.v2.outputs".
      "      \"is it\": p[1] > ${LIMIT}\n"
      "  churn:\n"
      "    outputs: {}\n"
      "    max_rows: 3\n"
      "  price:\n"
      "    outputs: price = y[0], all = y\n");
  ASSERT_EQ(Short(loaded.errors), Errors());
  EXPECT_EQ(models_.size(), 3U);
  EXPECT_EQ(models_.at("fraud.v2").outputs, "max_rows = p[1], \"is it\" = p[1] > 0.7");
  EXPECT_EQ(models_.at("churn").outputs, "");
  EXPECT_EQ(models_.at("churn").max_rows, 3);
  EXPECT_EQ(models_.at("price").outputs, "price = y[0], all = y");
  // What is dumped reads the same.
  const std::string dump = DumpYaml(loaded, false);
  EXPECT_NE(dump.find(R"(outputs: "max_rows = p[1], \"is it\" = p[1] > 0.7")"), std::string::npos)
      << dump;
}

TEST_F(LoaderTest, MistakesInAMappingHaveTheirLine) {
  const LoadedSettings loaded = LoadText(
      "models:\n"
      "  m:\n"
      "    outputs:\n"
      "      a: [x]\n"
      "      b: y\n"
      "      b: z\n"
      "  n:\n"
      "    outputs: {a: \"${NOWHERE}\"}\n"
      "    max_rows: {a: 1}\n");
  EXPECT_EQ(Short(loaded.errors),
            (Errors{"settings.yaml:4: models.m.outputs.a: expected one value",
                    "settings.yaml:6: models.m.outputs.b: given twice, first on line 5",
                    "settings.yaml:8: models.n.outputs.a: variable NOWHERE is not set "
                    "(${NOWHERE:-default} would give it a default)",
                    "settings.yaml:9: models.n.max_rows.a: unknown setting; "
                    "`millrace config reference` lists all"}));
}

TEST_F(LoaderTest, SubstitutesVariablesInScalarsOnly) {
  sources_.environment = {{"ROWS", "77"}, {"SECRET", "a: b # c"}};
  const LoadedSettings loaded = LoadText(
      "batch:\n"
      "  max_rows: ${ROWS}\n"
      "  max_wait: ${WAIT:-3s}\n"
      "kafka:\n"
      "  password: \"${SECRET}\"\n"
      "  properties:\n"
      "    cost: 5$$ ${ROWS}\n");
  ASSERT_EQ(Short(loaded.errors), Errors());
  EXPECT_EQ(batch_.max_rows, 77);
  EXPECT_EQ(batch_.max_wait, Millis(3000));
  EXPECT_EQ(password_, "a: b # c");
  EXPECT_EQ(properties_.at("cost"), "5$ 77");
}

TEST_F(LoaderTest, MissingVariableNamesItselfAndItsLine) {
  const LoadedSettings loaded =
      LoadText("batch:\n  max_rows: ${ROWS}\n  max_wait: ${WAIT:?say how long to wait}\n");
  EXPECT_EQ(Short(loaded.errors),
            (Errors{"settings.yaml:2: batch.max_rows: variable ROWS is not set (${ROWS:-default} "
                    "would give it a default)",
                    "settings.yaml:3: batch.max_wait: variable WAIT: say how long to wait"}));
}

TEST_F(LoaderTest, SecretsComeFromFilesAndAreNeverShown) {
  const std::string secret = File("secret", "hunter2\n");
  const LoadedSettings loaded =
      LoadText("kafka:\n  password_file: " + secret + "\n  properties: {sasl.password: hunter3}\n");
  ASSERT_EQ(Short(loaded.errors), Errors());
  EXPECT_EQ(password_, "hunter2");
  EXPECT_EQ(ShownValue(loaded.Find("kafka.password")->setting), "***");
  const std::string dump = DumpYaml(loaded, true);
  EXPECT_EQ(dump.find("hunter"), std::string::npos) << dump;
  EXPECT_NE(dump.find("sasl.password: \"***\""), std::string::npos) << dump;
}

TEST_F(LoaderTest, SecretFileThatIsMissingIsAnError) {
  sources_.environment = {{"MILLRACE_KAFKA_PASSWORD_FILE", (dir_ / "absent").string()}};
  EXPECT_EQ(Short(Load().errors),
            (Errors{"MILLRACE_KAFKA_PASSWORD_FILE: kafka.password_file: cannot read the file "
                    "'absent': No such file or directory"}));
}

TEST_F(LoaderTest, OnlySecretsHaveAFileVariant) {
  sources_.flags = {{"-s", "batch.max_rows_file", "x"}};
  EXPECT_EQ(Load().errors.size(), 1U);
}

TEST_F(LoaderTest, UnknownVariableIsAWarningAndReservedOnesAreNot) {
  sources_.environment = {{"MILLRACE_BATCH_MAX_ROW", "1"},
                          {"MILLRACE_ORT_LIBRARY", "/x"},
                          {"MILLRACE_TEST_ANYTHING", "1"},
                          {"MILLRACE_SERVICE_HOST", "10.0.0.1"},
                          {"MILLRACE_PORT_9464_TCP", "tcp://10.0.0.1"},
                          {"OTHER", "1"}};
  const LoadedSettings loaded = Load();
  EXPECT_EQ(loaded.errors, Errors());
  EXPECT_EQ(loaded.warnings,
            (Errors{"environment variable MILLRACE_BATCH_MAX_ROW: no setting has this name; did "
                    "you mean 'MILLRACE_BATCH_MAX_ROWS'?"}));
}

TEST_F(LoaderTest, MapEntriesAreNamedByFilesFlagsAndVariables) {
  sources_.environment = {{"MILLRACE_MODELS_DIGITS_CNN_MAX_ROWS", "16"},
                          {"MILLRACE_MODELS_CHURN_MAX_ROWS", "8"},
                          {"MILLRACE_KAFKA_PROPERTIES_LINGER_MS", "5"}};
  sources_.flags = {{"-s", "models.my.model.max_rows", "4"}};
  const LoadedSettings loaded = LoadText("models:\n  digits-cnn: {max_rows: 2}\n");
  ASSERT_EQ(Short(loaded.errors), Errors());
  EXPECT_EQ(models_.at("digits-cnn").max_rows, 16);
  EXPECT_EQ(models_.at("churn").max_rows, 8);
  EXPECT_EQ(models_.at("my.model").max_rows, 4);
  EXPECT_EQ(properties_.at("linger.ms"), "5");
  EXPECT_EQ(loaded.Find("models.my.model.max_rows")->keys,
            (std::vector<std::string>{"models", "my.model", "max_rows"}));
}

TEST_F(LoaderTest, VariableThatMayMeanSeveralEntriesIsAnError) {
  sources_.environment = {{"MILLRACE_MODELS_A_B_MAX_ROWS", "16"}};
  EXPECT_EQ(Load().errors.size(), 1U);
  const LoadedSettings loaded = LoadText("models:\n  a-b: {max_rows: 2}\n  a.b: {max_rows: 2}\n");
  EXPECT_EQ(Short(loaded.errors),
            (Errors{"MILLRACE_MODELS_A_B_MAX_ROWS: does not say which of models.a-b, models.a.b "
                    "is meant; use -s or a file"}));
}

TEST_F(LoaderTest, UnknownKeyOfAnEntryNamesTheNearestOne) {
  EXPECT_EQ(Short(LoadText("models:\n  my.model: {max_row: 2}\n").errors),
            (Errors{"settings.yaml:2: models.my.model.max_row: unknown setting; did you mean "
                    "'models.my.model.max_rows'?"}));
  EXPECT_TRUE(models_.empty());
}

TEST_F(LoaderTest, ChecksWhatMustHoldBetweenSettings) {
  sources_.flags = {{"-s", "delivery.max_in_flight_records", "4096"}};
  EXPECT_EQ(Load().errors,
            (Errors{"-s: delivery.max_unit_records (16384) must not be over "
                    "delivery.max_in_flight_records (4096): a unit of work is made of records in "
                    "flight"}));
}

TEST_F(LoaderTest, DumpLoadsBackToTheSameValues) {
  const std::string odd = "a \"b\" \\ # ${HOME} $$ : 'x'\ttab";
  sources_.flags = {{"-s", "batch.max_wait", "1501"},
                    {"-s", "models.my.model.max_rows", "4"},
                    {"-X", "kafka.properties.client.id", odd}};
  const LoadedSettings first = Load();
  ASSERT_EQ(first.errors, Errors());
  const std::string dump = DumpYaml(first, true);
  models_.clear();
  properties_.clear();
  batch_ = BatchOptions{};
  sources_ = {};
  ASSERT_EQ(Short(LoadText(dump).errors), Errors()) << dump;
  EXPECT_EQ(batch_.max_wait, Millis(1501));
  EXPECT_EQ(models_.at("my.model").max_rows, 4);
  EXPECT_EQ(properties_.at("client.id"), odd);
}

TEST(ParseFlagAssignmentTest, SplitsAtTheFirstEqualsSign) {
  const Result<FlagValue> value = ParseFlagAssignment("-s", "a.b=c=d");
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(value->path, "a.b");
  EXPECT_EQ(value->value, "c=d");
  EXPECT_EQ(ParseFlagAssignment("-s", "a.b").status().message(),
            "-s: expected name=value, got 'a.b'");
  EXPECT_FALSE(ParseFlagAssignment("-s", "=x").ok());
}

}  // namespace
}  // namespace millrace
