#include "runtime/ort_process.h"

#include <gtest/gtest.h>
#include <onnxruntime_c_api.h>

#include <cstdlib>

#include "runtime/test_support.h"

namespace millrace {
namespace {

TEST(OrtCandidates, ANamedLibraryIsTheOnlyOne) {
  RuntimeOptions options;
  EXPECT_EQ(OrtCandidates(options, "/env/lib.so", "/bin").size(), 1U);
  EXPECT_EQ(OrtCandidates(options, "/env/lib.so", "/bin")[0].path, "/env/lib.so");
  options.ort_library = "/set/lib.so";
  ASSERT_EQ(OrtCandidates(options, "/env/lib.so", "/bin").size(), 1U);
  EXPECT_EQ(OrtCandidates(options, "/env/lib.so", "/bin")[0].path, "/set/lib.so");
}

TEST(OrtCandidates, OtherwiseBesideTheBinaryBeforeTheSystem) {
  for (const char* environment : {static_cast<const char*>(nullptr), ""}) {
    const std::vector<OrtCandidate> found = OrtCandidates({}, environment, "/opt/millrace");
    ASSERT_EQ(found.size(), 3U);
    EXPECT_EQ(found[0].path, "/opt/millrace/libonnxruntime.so");
    EXPECT_EQ(found[1].path, "libonnxruntime.so.1");
    EXPECT_EQ(found[2].path, "libonnxruntime.so");
  }
}

const OrtApi* ORT_API_CALL NoApi(std::uint32_t) noexcept { return nullptr; }
const char* ORT_API_CALL OldVersion() noexcept { return "1.16.3"; }

TEST(OrtApiOf, ALibraryThatIsTooOldIsNamedWithItsVersion) {
  const OrtApiBase base{&NoApi, &OldVersion};
  const Status status = OrtApiOf(base, "/usr/lib/libonnxruntime.so").status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_EQ(status.message(),
            "/usr/lib/libonnxruntime.so: ONNX Runtime is too old: "
            "found 1.16.3, need 1.21 or newer");
}

// In a child: this process may have opened the library already.
void OpenAndReport(const RuntimeOptions& options) {
  const Status status = OpenOnnxRuntime(options).status();
  std::fprintf(stderr, "%s", status.ToString().c_str());
  std::_Exit(status.ok() ? 0 : 1);
}

TEST(OpenOnnxRuntimeDeathTest, AMissingLibrarySaysWhereItLookedAndWhatToDo) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  RuntimeOptions options;
  options.ort_library = "/nowhere/libonnxruntime.so";
  EXPECT_EXIT(OpenAndReport(options), ::testing::ExitedWithCode(1),
              "not_found: .*tried /nowhere/libonnxruntime.so \\(setting "
              "runtime.ort_library\\).*MILLRACE_ORT_LIBRARY");
}

TEST(OpenOnnxRuntimeDeathTest, AnotherLibraryIsNotTakenForOnnxRuntime) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  RuntimeOptions options;
  options.ort_library = "libm.so.6";
  EXPECT_EXIT(OpenAndReport(options), ::testing::ExitedWithCode(1),
              "unsupported: .*is not ONNX Runtime");
}

TEST(FirstLine, CutsAtTheFirstBreakAndDropsControlCharacters) {
  EXPECT_EQ(FirstLine("one\ttwo\nthree"), "one two");
  EXPECT_EQ(FirstLine("one\r\ntwo"), "one");
  EXPECT_EQ(FirstLine(""), "");
}

TEST(FirstLine, NeverCutsACharacterInTwo) {
  for (std::size_t before = kMaxOrtMessageBytes - 4; before <= kMaxOrtMessageBytes; ++before) {
    const std::string cut = FirstLine(std::string(before, 'a') + "\xE2\x82\xAC and more");
    EXPECT_LE(cut.size(), kMaxOrtMessageBytes);
    const std::string tail = cut.substr(std::min(before, cut.size()));
    EXPECT_TRUE(tail.empty() || tail.starts_with("\xE2\x82\xAC")) << before;
  }
}

}  // namespace
}  // namespace millrace
