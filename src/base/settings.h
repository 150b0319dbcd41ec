// SettingSet: every setting declared once, beside the code it steers.
//
// A module's DescribeSettings binds each field of its Options to a path ("batch.max_rows") with
// bounds and one line of documentation; the field's value at that moment is the default. From this
// one declaration come the parser, the environment variable, `config dump`, the JSON schema and the
// generated reference. The options must outlive the set. Not thread-safe; used at start only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace millrace {

enum class SettingType : std::uint8_t {
  kBool,
  kInteger,
  kNumber,
  kString,
  kEnum,
  kDuration,
  kBytes
};

struct Setting {
  std::string path;
  SettingType type = SettingType::kString;
  std::string doc;           // One line for the reference: what it does, why one changes it.
  std::string default_text;  // As a user would write it.
  std::string bounds_text;   // "1..4096", "1ms..1h"; empty when unbounded.
  std::vector<std::string> choices;  // kEnum.
  std::optional<double> min, max;    // In the type's base unit (ms for durations, bytes for sizes).
  bool secret = false;               // Printed as ***.
  bool takes_mapping = false;        // A file may give it as a mapping (MappingText).
  // Parses `text`, checks bounds, stores. The error says what was expected, not where it stood.
  std::function<Status(std::string_view text)> set;
  // The present value as a user would write it.
  std::function<std::string()> get;
};

struct SettingExtra {
  bool secret = false;
};

class SettingSet {
 public:
  // Integers with inclusive bounds.
  void Integer(std::string path, std::int64_t* field, std::int64_t min, std::int64_t max,
               std::string doc);
  void Number(std::string path, double* field, double min, double max, std::string doc);
  void Bool(std::string path, bool* field, std::string doc);
  void String(std::string path, std::string* field, std::string doc, SettingExtra extra = {});
  // Named parts in one text, "a = x, b = y"; what the parts mean is the field's owner's to say. A
  // settings file may give them as a mapping instead.
  void Mapping(std::string path, std::string* field, std::string doc);
  // A number that may be left open; empty text leaves it so.
  void OptionalNumber(std::string path, std::optional<double>* field, double min, double max,
                      std::string doc);
  // Has the setting at `path`, declared before, refuse also what `check` does: for rules that only
  // another module than its owner's knows. Empty text is not checked.
  void AlsoCheck(std::string_view path, std::function<Status(std::string_view text)> check);
  // "50ms", "5s", "2m", "1h", "7d"; a bare number is milliseconds.
  void Duration(std::string path, Millis* field, Millis min, Millis max, std::string doc);
  // "64MiB", "8KiB", "1GiB", "1000000"; powers of two with i, of ten without.
  void Bytes(std::string path, std::int64_t* field, std::int64_t min, std::int64_t max,
             std::string doc);
  // `names[i]` stands for value i of the enum.
  template <class E>
  void Enum(std::string path, E* field, std::vector<std::string> names, std::string doc) {
    EnumImpl(
        std::move(path), std::move(names), std::move(doc),
        [field] { return static_cast<std::size_t>(*field); },
        [field](std::size_t i) { *field = static_cast<E>(i); });
  }

  // Settings under "<prefix>.<name>.": one Options per name, made on first use. `describe` binds
  // the entry's fields with paths relative to the entry ("weight").
  template <class T>
  void Map(std::string prefix, std::map<std::string, T>* entries,
           void (*describe)(SettingSet&, T&)) {
    MapImpl(std::move(prefix), [entries, describe](const std::string& name, SettingSet& set) {
      describe(set, (*entries)[name]);
    });
    // A throw-away entry documents what an entry has.
    auto sample = std::make_shared<T>();
    SettingSet described;
    describe(described, *sample);
    maps_.back().keep_alive = sample;
    maps_.back().entry_settings = described.settings_;
  }

  struct MapSetting {
    std::string prefix;
    std::function<void(const std::string& name, SettingSet& set)> bind;
    std::vector<Setting> entry_settings;
    std::shared_ptr<void> keep_alive;
  };

  const std::vector<Setting>& settings() const { return settings_; }
  const std::vector<MapSetting>& maps() const { return maps_; }

 private:
  void Add(Setting setting);
  void EnumImpl(std::string path, std::vector<std::string> names, std::string doc,
                std::function<std::size_t()> get, std::function<void(std::size_t)> set);
  void MapImpl(std::string prefix, std::function<void(const std::string&, SettingSet&)> bind);

  std::vector<Setting> settings_;
  std::vector<MapSetting> maps_;
};

// Names and texts in their order as "name = text, name = text"; a name that is not of letters,
// digits and underscores stands in double quotes, with a backslash before quotes and backslashes.
std::string MappingText(const std::vector<std::pair<std::string, std::string>>& parts);

// Shared with whoever parses the same notations elsewhere (CLI flags).
Result<Millis> ParseDuration(std::string_view text);
std::string FormatDuration(Millis duration);
Result<std::int64_t> ParseBytes(std::string_view text);
std::string FormatBytes(std::int64_t bytes);

}  // namespace millrace
