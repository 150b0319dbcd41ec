#include "codec/output_mapping.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace millrace {
namespace {

using Form = OutputExpression::Form;
using Kind = MappedField::Kind;
using Labels = std::vector<std::string>;

// A classifier as scikit-learn's are, and some of everything else.
ModelSignature Signature() {
  ModelSignature signature;
  signature.inputs = {{"x", ElementType::kFloat32, {kDynamicDim, 4}}};
  signature.outputs = {
      {"output_label", ElementType::kInt64, {kDynamicDim}},
      {"probabilities", ElementType::kFloat32, {kDynamicDim, 2}, {"0", "10"}},
      {"score", ElementType::kFloat64, {kDynamicDim, 1}},
      {"word", ElementType::kString, {kDynamicDim}},
      {"dense/Add:0", ElementType::kFloat32, {kDynamicDim, 3, 2}},
      {"flag", ElementType::kBool, {kDynamicDim, 2}},
      {"open", ElementType::kFloat32, {kDynamicDim, kDynamicDim}},
      {"unknown", ElementType::kFloat16, {}},
  };
  return signature;
}

OutputExpression Only(std::string_view text) {
  const auto fields = ParseOutputMapping(text);
  EXPECT_TRUE(fields.ok()) << text << ": " << fields.status().ToString();
  if (!fields.ok() || fields->size() != 1) return {};
  return fields->front();
}

std::string ParseError(std::string_view text) {
  const auto fields = ParseOutputMapping(text);
  if (fields.ok()) return "parsed";
  EXPECT_EQ(fields.status().code(), StatusCode::kConfiguration);
  return std::string(fields.status().message());
}

Result<OutputMapping> Bind(std::string_view text, const Labels& labels = {},
                           std::optional<double> threshold = {}) {
  const auto fields = ParseOutputMapping(text);
  if (!fields.ok()) return fields.status();
  return BindOutputMapping(*fields, Signature(), labels, threshold);
}

std::string BindError(std::string_view text, const Labels& labels = {}) {
  const Result<OutputMapping> bound = Bind(text, labels);
  if (bound.ok()) return "bound";
  EXPECT_EQ(bound.status().code(), StatusCode::kConfiguration);
  return std::string(bound.status().message());
}

MappedField BoundField(std::string_view text, const Labels& labels = {},
                       std::optional<double> threshold = {}) {
  const Result<OutputMapping> bound = Bind(text, labels, threshold);
  EXPECT_TRUE(bound.ok()) << text << ": " << bound.status().ToString();
  return bound.ok() ? bound->fields.front() : MappedField();
}

#define EXPECT_HAS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "in: " << (text) << "\nnot: " << (part)

TEST(OutputMappingTest, ReadsEveryForm) {
  EXPECT_EQ(Only("a = scores").form, Form::kOutput);
  const OutputExpression place = Only("a=scores[12]");
  EXPECT_EQ(place.form, Form::kElement);
  EXPECT_EQ(place.place, std::size_t{12});
  const OutputExpression label = Only("a = scores[fraud]");
  EXPECT_EQ(label.form, Form::kElement);
  EXPECT_FALSE(label.place);
  EXPECT_EQ(label.label, "fraud");
  EXPECT_EQ(Only("a = argmax(scores)").form, Form::kArgmax);
  EXPECT_EQ(Only("a = label( scores )").form, Form::kLabel);
  EXPECT_EQ(Only("a = max(scores)").form, Form::kMax);
  const OutputExpression top = Only("a = top(scores, 3)");
  EXPECT_EQ(top.form, Form::kTop);
  EXPECT_EQ(top.count, 3u);
  EXPECT_EQ(top.output, "scores");
}

TEST(OutputMappingTest, ReadsComparisons) {
  EXPECT_EQ(Only("a = s[1]>0.3").comparison, Comparison::kGreater);
  EXPECT_EQ(Only("a = s[1] >= 1e+3").limit, 1000.0);
  EXPECT_EQ(Only("a = s[1] < -.5").limit, -0.5);
  EXPECT_EQ(Only("a = max(s) <= 2").comparison, Comparison::kAtMost);
  const OutputExpression open = Only("a = s >= threshold");
  EXPECT_EQ(open.comparison, Comparison::kAtLeast);
  EXPECT_FALSE(open.limit);
}

TEST(OutputMappingTest, ANumberInQuotesIsALabel) {
  const OutputExpression field = Only("a = s[\"10\"]");
  EXPECT_FALSE(field.place);
  EXPECT_EQ(field.label, "10");
}

TEST(OutputMappingTest, QuotesTakeAnyName) {
  const OutputExpression field = Only(R"("is it, \"fraud\"?" = 'a:b = c, [d]'["x]\\y"] > 0)");
  EXPECT_EQ(field.field, "is it, \"fraud\"?");
  EXPECT_EQ(field.output, "a:b = c, [d]");
  EXPECT_EQ(field.label, "x]\\y");
  // The names of functions are names of outputs where no bracket follows.
  EXPECT_EQ(Only("a = max").output, "max");
  EXPECT_EQ(Only("a = \"max\"[0]").output, "max");
}

TEST(OutputMappingTest, FieldsStandBetweenCommasOrOnLines) {
  for (const char* text : {"a = x[0], b = top(y, 2), c = z", "a = x[0]\nb = top(y, 2)\nc = z\n",
                           ",a = x[0],,\n b=top(y,2) ,\n c =z,"}) {
    const auto fields = ParseOutputMapping(text);
    ASSERT_TRUE(fields.ok()) << fields.status().ToString();
    ASSERT_EQ(fields->size(), 3u) << text;
    EXPECT_EQ((*fields)[0].field, "a");
    EXPECT_EQ((*fields)[1].count, 2u);
    EXPECT_EQ((*fields)[2].output, "z");
    EXPECT_EQ((*fields)[0].text, "x[0]");
  }
}

TEST(OutputMappingTest, ErrorsNameTheFieldAndWhatWasExpected) {
  EXPECT_EQ(ParseError(""), "expected a field, such as score = probabilities[1]");
  EXPECT_EQ(ParseError("a"), "field 'a': expected '=' behind its name, got its end");
  EXPECT_EQ(ParseError("a: x"), "field 'a': expected '=' behind its name, got ': x'");
  EXPECT_HAS(ParseError("a ="), "field 'a': expected the name of an output");
  EXPECT_HAS(ParseError("a = x["), "field 'a': expected the place or the label of an element");
  EXPECT_HAS(ParseError("a = x[1"), "expected ']' behind the element, got its end");
  EXPECT_HAS(ParseError("a = x > high"), "expected a number or the word threshold behind the");
  EXPECT_HAS(ParseError("a = x > nan"), "got 'nan'");
  EXPECT_HAS(ParseError("a = x + 1"), "expected a comma or the end behind the expression, got '+");
  EXPECT_HAS(ParseError("a = mean(x)"),
             "there is no function 'mean'; there are argmax, label, max");
  EXPECT_HAS(ParseError("a = label(x) > 1"), "only a number can be compared");
  EXPECT_HAS(ParseError("a = top(x)"), "expected ',' and how many, as in top(scores, 3)");
  EXPECT_HAS(ParseError("a = top(x, 0)"), "top gives 1 to 100 elements, not '0'");
  EXPECT_HAS(ParseError("a = top(x, 101)"), "top gives 1 to 100");
  EXPECT_HAS(ParseError("a = \"x"), "field 'a': the quote before 'x' is not closed");
  EXPECT_EQ(ParseError("a = x, a = y"), "field 'a' is given twice");
  EXPECT_HAS(ParseError("a = \"\xFF\""), "is not UTF-8");
}

TEST(OutputMappingTest, BoundsAreKept) {
  EXPECT_HAS(ParseError(std::string(kMaxMappingBytes + 1, ' ')), "over 65536 bytes");
  EXPECT_HAS(ParseError(std::string(kMaxMappingNameBytes + 1, 'a') + " = x"), "over 256 bytes");
  std::string many;
  for (std::size_t i = 0; i <= kMaxMappedFields; ++i) many += "f" + std::to_string(i) + " = x\n";
  EXPECT_HAS(ParseError(many), "over 256 fields");
}

unsigned Seed() {
  const char* given = std::getenv("MILLRACE_TEST_SEED");
  return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                          : std::random_device{}();
}

// What random texts are put together from.
const std::vector<std::string>& Pieces() {
  static const std::vector<std::string> pieces = [] {
    std::vector<std::string> all = {"a = score > 0.5", "top(probabilities, 2)", "\"10\"", "\xFF",
                                    "\xC3\xA9",        std::string(1, '\0'),    "\n",     " "};
    std::istringstream words(
        "a b = = probabilities output_label score word open unknown flag [ ] [1] 1 0 ( ) , , > >= "
        "< <= 99999999999999999999 argmax label max top threshold 0.3 -1e9 \" ' \\ "
        "label(probabilities)");
    for (std::string word; words >> word;) all.push_back(word);
    return all;
  }();
  return pieces;
}

// Whatever is written, it is bound or refused; what is read reads the same from its own text.
TEST(OutputMappingTest, AnyTextIsReadOrRefused) {
  const unsigned seed = Seed();
  SCOPED_TRACE("MILLRACE_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::vector<std::string>& pieces = Pieces();
  int read = 0;
  int bound = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = round % 2 == 0 ? "f = " : "";
    for (std::size_t n = random() % 12; n > 0; --n) text += pieces[random() % pieces.size()];
    const auto fields = ParseOutputMapping(text);
    if (!fields.ok()) {
      ASSERT_EQ(fields.status().code(), StatusCode::kConfiguration) << text;
      continue;
    }
    ++read;
    for (const OutputExpression& field : *fields) {
      const OutputExpression again = Only("x = " + field.text);
      ASSERT_EQ(again.form, field.form) << text;
      ASSERT_EQ(again.output, field.output) << text;
      ASSERT_EQ(again.limit, field.limit) << text;
    }
    const auto result = BindOutputMapping(*fields, Signature(), {"no", "yes"}, {});
    if (result.ok()) ++bound;
  }
  // Else the test would have looked at nothing but errors.
  EXPECT_GT(read, 500);
  EXPECT_GT(bound, 100);
}

TEST(OutputMappingTest, BindsPlacesAndLabels) {
  const MappedField place = BoundField("p = probabilities[1]");
  EXPECT_EQ(place.kind, Kind::kElement);
  EXPECT_EQ(place.output, 1u);
  EXPECT_EQ(place.element, 1u);
  EXPECT_EQ(place.type, "FP32");
  EXPECT_EQ(place.key, "\"p\":");
  // The model's own labels, then those of the model.yaml.
  EXPECT_EQ(BoundField("p = probabilities[\"10\"]").element, 1u);
  EXPECT_EQ(BoundField("p = probabilities[fraud]", {"legit", "fraud"}).element, 1u);
  EXPECT_EQ(BoundField("p = \"dense/Add:0\"[5]").element, 5u);
  EXPECT_EQ(BoundField("p = open[70]").least, 71u);
}

TEST(OutputMappingTest, BindsLabels) {
  EXPECT_EQ(BoundField("l = label(probabilities)").kind, Kind::kLabelOfMax);
  EXPECT_EQ(*BoundField("l = label(probabilities)").labels, (Labels{"\"0\"", "\"10\""}));
  EXPECT_EQ(*BoundField("l = label(probabilities)", {"a\"", "b"}).labels,
            (Labels{"\"a\\\"\"", "\"b\""}));
  // Three labels are of some other output.
  EXPECT_EQ(*BoundField("l = label(probabilities)", {"a", "b", "c"}).labels,
            (Labels{"\"0\"", "\"10\""}));
  EXPECT_EQ(BoundField("l = label(output_label)", {"a", "b", "c"}).kind, Kind::kLabelAt);
  EXPECT_EQ(BoundField("l = label(word)").kind, Kind::kElement);
  EXPECT_EQ(BoundField("l = label(score)", {"no", "yes"}).kind, Kind::kLabelFrom);
  EXPECT_EQ(BoundField("l = label(open)", {"a", "b", "c"}).least, 3u);
}

TEST(OutputMappingTest, AThresholdThatIsGivenOrUsedDividesTwoClasses) {
  const MappedField given = BoundField("l = label(probabilities)", {}, 0.3);
  EXPECT_EQ(given.kind, Kind::kLabelFrom);
  EXPECT_EQ(given.element, 1u);
  EXPECT_EQ(static_cast<float>(given.limit), 0.3F);
  const auto used = Bind("l = label(probabilities), f = probabilities[1] >= threshold");
  ASSERT_TRUE(used.ok());
  EXPECT_EQ(used->fields[0].kind, Kind::kLabelFrom);
  EXPECT_EQ(used->fields[0].limit, kDefaultThreshold);
  EXPECT_EQ(used->fields[1].limit, kDefaultThreshold);
  const auto other = Bind("l = label(probabilities), f = probabilities[1] >= 0.4");
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->fields[0].kind, Kind::kLabelOfMax);
  // Three classes have no middle.
  EXPECT_EQ(BoundField("l = label(open)", {"a", "b", "c"}, 0.3).kind, Kind::kLabelOfMax);
}

TEST(OutputMappingTest, ALimitIsAValueOfTheOutputsType) {
  EXPECT_EQ(BoundField("f = probabilities[0] >= 0.7").limit, static_cast<double>(0.7F));
  EXPECT_EQ(BoundField("f = score >= 0.7").limit, 0.7);
  EXPECT_EQ(BoundField("f = output_label >= 0.7").limit, 0.7);
}

TEST(OutputMappingTest, BindErrorsSayWhatThereIs) {
  EXPECT_HAS(BindError("f = probabilties[1]"),
             "field 'f' (probabilties[1]): the model has no output 'probabilties'; did you mean "
             "'probabilities'?; it has output_label INT64 [N], probabilities FP32 [N,2], score");
  EXPECT_HAS(BindError("f = probabilities[2]"),
             "output 'probabilities' (FP32 [N,2]) has 2 elements in a row, the last one is "
             "probabilities[1]");
  EXPECT_HAS(BindError("f = probabilities[10]"), "for the label write probabilities[\"10\"]");
  EXPECT_HAS(BindError("f = probabilities[frau]", {"legit", "fraud"}),
             "has no label 'frau'; did you mean 'fraud'?; it has legit, fraud");
  EXPECT_HAS(BindError("f = score[x]"), "has no labels, so 'x' is none of them");
  EXPECT_HAS(BindError("f = probabilities > 0.5"), "say which one is compared, as in");
  EXPECT_HAS(BindError("f = word > 0.5"), "a comparison takes numbers, output 'word' (BYTES [N])");
  EXPECT_HAS(BindError("f = argmax(flag)"), "argmax() takes numbers");
  EXPECT_HAS(BindError("f = max(word)"), "max() takes numbers");
  EXPECT_HAS(BindError("f = top(word, 1)"), "top() takes numbers");
  EXPECT_HAS(BindError("f = top(probabilities, 3)"), "has 2 elements in a row, no 3");
  EXPECT_HAS(BindError("f = label(output_label)"), "put labels into the model.yaml");
  EXPECT_HAS(BindError("f = label(score)"), "the model.yaml needs two labels");
  EXPECT_HAS(BindError("f = label(\"dense/Add:0\")", {"a", "b"}),
             "has 6 elements in a row, the model.yaml has 2 labels: a, b");
  EXPECT_HAS(BindError("f = label(open)"), "there are no labels for output 'open'");
  EXPECT_HAS(BindError("f = label(flag)"), "label() takes numbers");
}

}  // namespace
}  // namespace millrace
