// For tests of the runtime and of what stands on it: the library, opened once, and small models.
//
// Included by *_test.cc only. A missing library fails the test that needs it; it is never skipped
// in silence.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "runtime/engine.h"

namespace millrace {

inline std::string TestModelPath(const std::string& folder) {
  return std::string(MILLRACE_SOURCE_DIR) + "/tests/models/" + folder + "/model.onnx";
}

inline std::string DemoModelPath(const std::string& folder) {
  return std::string(MILLRACE_SOURCE_DIR) + "/examples/demo/models/" + folder + "/model.onnx";
}

inline Result<std::unique_ptr<Engine>> OpenTestOrt() {
  RuntimeOptions options;
  const char* named = std::getenv("MILLRACE_ORT_LIBRARY");
  if (named == nullptr || *named == '\0') options.ort_library = MILLRACE_ORT_LIBRARY;
  Result<std::unique_ptr<Engine>> engine = OpenOnnxRuntime(options);
  if (engine.ok()) return engine;
  return engine.status().WithContext(
      "this test needs ONNX Runtime: run `make setup`, or set MILLRACE_ORT_LIBRARY");
}

template <class T>
void WriteRow(const Session& session, Runner& runner, std::size_t row, const std::vector<T>& values,
              std::size_t input = 0) {
  const std::size_t bytes = session.row_layout().inputs[input].bytes;
  MILLRACE_CHECK(values.size() * sizeof(T) == bytes);
  T* const to = reinterpret_cast<T*>(runner.Input(input) + row * bytes);
  std::copy(values.begin(), values.end(), to);
}

template <class T>
std::vector<T> ReadRow(const Runner& runner, std::size_t output, std::size_t row) {
  const OutputView& view = runner.Outputs()[output];
  std::vector<T> values(view.elements_per_row);
  if (!values.empty()) {
    std::memcpy(values.data(), static_cast<const T*>(view.data) + row * values.size(),
                values.size() * sizeof(T));
  }
  return values;
}

// A folder that is gone at the end of the test.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "millrace-test-XXXXXX").string();
    MILLRACE_CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // Writes a file, with the folders above it, and returns its path.
  std::string Write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << text;
    return file.string();
  }

 private:
  std::filesystem::path path_;
};

}  // namespace millrace
