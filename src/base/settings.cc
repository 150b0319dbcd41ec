#include "base/settings.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <system_error>

#include "base/check.h"

namespace millrace {
namespace {

// A number with a unit is scaled in double; beyond this the product would no longer be exact.
constexpr double kMaxExact = 9007199254740992.0;  // 2^53

struct Unit {
  std::string_view name;
  std::int64_t factor;
};

constexpr std::array<Unit, 5> kDurationUnits = {{
    {"ms", 1},
    {"s", 1'000},
    {"m", 60'000},
    {"h", 3'600'000},
    {"d", 86'400'000},
}};

constexpr std::array<Unit, 9> kByteUnits = {{
    {"b", 1},
    {"kb", 1'000},
    {"mb", 1'000'000},
    {"gb", 1'000'000'000},
    {"tb", 1'000'000'000'000},
    {"kib", std::int64_t{1} << 10},
    {"mib", std::int64_t{1} << 20},
    {"gib", std::int64_t{1} << 30},
    {"tib", std::int64_t{1} << 40},
}};

Status Invalid(std::string message) { return {StatusCode::kInvalidArgument, std::move(message)}; }

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// The whole of `text` as a number; nothing when it is anything else.
template <class T>
std::optional<T> ParseWhole(std::string_view text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

// "1.5s" as a whole number of the base unit, from a number and one of `units` (in lower case).
template <std::size_t N>
std::optional<std::int64_t> ParseScaled(std::string_view text, const std::array<Unit, N>& units) {
  if (const auto bare = ParseWhole<std::int64_t>(text)) return bare;
  const std::size_t split = text.find_last_of("0123456789.") + 1;
  const std::string name = Lower(Trim(text.substr(split)));
  const auto number = ParseWhole<double>(Trim(text.substr(0, split)));
  if (!number || !std::isfinite(*number)) return std::nullopt;
  for (const Unit& unit : units) {
    if (unit.name != name) continue;
    const double scaled = *number * static_cast<double>(unit.factor);
    if (std::fabs(scaled) > kMaxExact || scaled != std::floor(scaled)) return std::nullopt;
    return static_cast<std::int64_t>(scaled);
  }
  return std::nullopt;
}

std::string Bounds(std::string_view min, std::string_view max) {
  return fmt::format("{}..{}", min, max);
}

Status OutOfBounds(std::string_view min, std::string_view max, std::string_view text) {
  return Invalid(fmt::format("must be between {} and {}, got '{}'", min, max, text));
}

}  // namespace

Result<Millis> ParseDuration(std::string_view text) {
  if (const auto value = ParseScaled(Trim(text), kDurationUnits)) return Millis(*value);
  return Invalid(fmt::format("expected a duration such as 50ms, 5s or 2m, got '{}'", text));
}

std::string FormatDuration(Millis duration) {
  const std::int64_t value = duration.count();
  if (value == 0) return "0s";
  for (std::size_t i = kDurationUnits.size(); i-- > 0;) {
    const Unit& unit = kDurationUnits[i];
    if (value % unit.factor == 0) return fmt::format("{}{}", value / unit.factor, unit.name);
  }
  return fmt::format("{}ms", value);
}

Result<std::int64_t> ParseBytes(std::string_view text) {
  if (const auto value = ParseScaled(Trim(text), kByteUnits)) return *value;
  return Invalid(
      fmt::format("expected a size such as 64MiB, 8KiB, 16MB or 1000000, got '{}'", text));
}

std::string FormatBytes(std::int64_t bytes) {
  constexpr std::array<Unit, 6> kUnits = {{
      {"TiB", std::int64_t{1} << 40},
      {"GiB", std::int64_t{1} << 30},
      {"MiB", std::int64_t{1} << 20},
      {"GB", 1'000'000'000},
      {"MB", 1'000'000},
      {"KiB", std::int64_t{1} << 10},
  }};
  if (bytes != 0) {
    for (const Unit& unit : kUnits) {
      if (bytes % unit.factor == 0) return fmt::format("{}{}", bytes / unit.factor, unit.name);
    }
  }
  return std::to_string(bytes);
}

std::string MappingText(const std::vector<std::pair<std::string, std::string>>& parts) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
  std::string out;
  for (const auto& [name, text] : parts) {
    if (!out.empty()) out += ", ";
    if (!name.empty() && name.find_first_not_of(kPlain) == std::string::npos) {
      out += name;
    } else {
      out += '"';
      for (const char c : name) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
      }
      out += '"';
    }
    out += " = " + text;
  }
  return out;
}

void SettingSet::Integer(std::string path, std::int64_t* field, std::int64_t min, std::int64_t max,
                         std::string doc) {
  Setting setting;
  setting.path = std::move(path);
  setting.type = SettingType::kInteger;
  setting.doc = std::move(doc);
  setting.min = static_cast<double>(min);
  setting.max = static_cast<double>(max);
  setting.bounds_text = Bounds(std::to_string(min), std::to_string(max));
  setting.get = [field] { return std::to_string(*field); };
  setting.set = [field, min, max](std::string_view text) -> Status {
    const auto value = ParseWhole<std::int64_t>(Trim(text));
    if (!value) return Invalid(fmt::format("expected a whole number, got '{}'", text));
    if (*value < min || *value > max) {
      return OutOfBounds(std::to_string(min), std::to_string(max), text);
    }
    *field = *value;
    return {};
  };
  Add(std::move(setting));
}

void SettingSet::Number(std::string path, double* field, double min, double max, std::string doc) {
  Setting setting;
  setting.path = std::move(path);
  setting.type = SettingType::kNumber;
  setting.doc = std::move(doc);
  setting.min = min;
  setting.max = max;
  setting.bounds_text = Bounds(fmt::format("{:g}", min), fmt::format("{:g}", max));
  setting.get = [field] {
    // Shortest text that reads back to the same value, without fmt's ".0" on whole numbers.
    return *field == std::floor(*field) && std::fabs(*field) < kMaxExact
               ? std::to_string(static_cast<std::int64_t>(*field))
               : fmt::format("{}", *field);
  };
  setting.set = [field, min, max](std::string_view text) -> Status {
    const auto value = ParseWhole<double>(Trim(text));
    if (!value || !std::isfinite(*value)) {
      return Invalid(fmt::format("expected a number, got '{}'", text));
    }
    if (*value < min || *value > max) {
      return OutOfBounds(fmt::format("{:g}", min), fmt::format("{:g}", max), text);
    }
    *field = *value;
    return {};
  };
  Add(std::move(setting));
}

void SettingSet::Bool(std::string path, bool* field, std::string doc) {
  Setting setting;
  setting.path = std::move(path);
  setting.type = SettingType::kBool;
  setting.doc = std::move(doc);
  setting.get = [field] { return std::string(*field ? "true" : "false"); };
  setting.set = [field](std::string_view text) -> Status {
    const std::string value = Lower(Trim(text));
    const bool yes = value == "true" || value == "yes" || value == "on" || value == "1";
    const bool no = value == "false" || value == "no" || value == "off" || value == "0";
    if (!yes && !no) return Invalid(fmt::format("expected true or false, got '{}'", text));
    *field = yes;
    return {};
  };
  Add(std::move(setting));
}

void SettingSet::String(std::string path, std::string* field, std::string doc, SettingExtra extra) {
  Setting setting;
  setting.path = std::move(path);
  setting.type = SettingType::kString;
  setting.doc = std::move(doc);
  setting.secret = extra.secret;
  setting.get = [field] { return *field; };
  setting.set = [field](std::string_view text) -> Status {
    *field = std::string(text);
    return {};
  };
  Add(std::move(setting));
}

void SettingSet::Mapping(std::string path, std::string* field, std::string doc) {
  String(std::move(path), field, std::move(doc));
  settings_.back().takes_mapping = true;
}

void SettingSet::AlsoCheck(std::string_view path,
                           std::function<Status(std::string_view text)> check) {
  for (Setting& setting : settings_) {
    if (setting.path != path) continue;
    setting.set = [set = std::move(setting.set),
                   check = std::move(check)](std::string_view text) -> Status {
      if (!text.empty()) MILLRACE_RETURN_IF_ERROR(check(text));
      return set(text);
    };
    return;
  }
  CheckFailed("a setting that is declared", __FILE__, __LINE__);
}

void SettingSet::OptionalNumber(std::string path, std::optional<double>* field, double min,
                                double max, std::string doc) {
  Setting setting;
  setting.path = std::move(path);
  // To a file and to a schema it is a text: no number stands for none.
  setting.type = SettingType::kString;
  setting.doc = std::move(doc);
  setting.bounds_text = Bounds(fmt::format("{:g}", min), fmt::format("{:g}", max));
  setting.get = [field] { return field->has_value() ? fmt::format("{}", **field) : ""; };
  setting.set = [field, min, max](std::string_view text) -> Status {
    const std::string_view trimmed = Trim(text);
    if (trimmed.empty()) {
      field->reset();
      return {};
    }
    const auto value = ParseWhole<double>(trimmed);
    if (!value || !std::isfinite(*value)) {
      return Invalid(fmt::format("expected a number, got '{}'", text));
    }
    if (*value < min || *value > max) {
      return OutOfBounds(fmt::format("{:g}", min), fmt::format("{:g}", max), text);
    }
    *field = *value;
    return {};
  };
  Add(std::move(setting));
}

void SettingSet::Duration(std::string path, Millis* field, Millis min, Millis max,
                          std::string doc) {
  Setting setting;
  setting.path = std::move(path);
  setting.type = SettingType::kDuration;
  setting.doc = std::move(doc);
  setting.min = static_cast<double>(min.count());
  setting.max = static_cast<double>(max.count());
  setting.bounds_text = Bounds(FormatDuration(min), FormatDuration(max));
  setting.get = [field] { return FormatDuration(*field); };
  setting.set = [field, min, max](std::string_view text) -> Status {
    const Result<Millis> value = ParseDuration(text);
    if (!value.ok()) return value.status();
    if (*value < min || *value > max) {
      return OutOfBounds(FormatDuration(min), FormatDuration(max), text);
    }
    *field = *value;
    return {};
  };
  Add(std::move(setting));
}

void SettingSet::Bytes(std::string path, std::int64_t* field, std::int64_t min, std::int64_t max,
                       std::string doc) {
  Setting setting;
  setting.path = std::move(path);
  setting.type = SettingType::kBytes;
  setting.doc = std::move(doc);
  setting.min = static_cast<double>(min);
  setting.max = static_cast<double>(max);
  setting.bounds_text = Bounds(FormatBytes(min), FormatBytes(max));
  setting.get = [field] { return FormatBytes(*field); };
  setting.set = [field, min, max](std::string_view text) -> Status {
    const Result<std::int64_t> value = ParseBytes(text);
    if (!value.ok()) return value.status();
    if (*value < min || *value > max) {
      return OutOfBounds(FormatBytes(min), FormatBytes(max), text);
    }
    *field = *value;
    return {};
  };
  Add(std::move(setting));
}

void SettingSet::EnumImpl(std::string path, std::vector<std::string> names, std::string doc,
                          std::function<std::size_t()> get, std::function<void(std::size_t)> set) {
  Setting setting;
  setting.path = std::move(path);
  setting.type = SettingType::kEnum;
  setting.doc = std::move(doc);
  setting.choices = names;
  setting.get = [names, get = std::move(get)] {
    const std::size_t index = get();
    MILLRACE_CHECK(index < names.size());
    return names[index];
  };
  setting.set = [names = std::move(names), set = std::move(set)](std::string_view text) -> Status {
    const std::string_view wanted = Trim(text);
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == wanted) {
        set(i);
        return {};
      }
    }
    return Invalid(fmt::format("expected one of {}, got '{}'", fmt::join(names, ", "), text));
  };
  Add(std::move(setting));
}

void SettingSet::MapImpl(std::string prefix,
                         std::function<void(const std::string&, SettingSet&)> bind) {
  for (const MapSetting& map : maps_) MILLRACE_CHECK(map.prefix != prefix);
  maps_.push_back({std::move(prefix), std::move(bind), {}, nullptr});
}

void SettingSet::Add(Setting setting) {
  for (const Setting& other : settings_) MILLRACE_CHECK(other.path != setting.path);
  setting.default_text = setting.get();
  settings_.push_back(std::move(setting));
}

}  // namespace millrace
