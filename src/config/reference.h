// Documents generated from the declarations of the settings: reference, schema, dump.
//
// Pure text; nothing is loaded or written here. Any thread may call these on a set of its own.
#pragma once

#include <string>

#include "base/settings.h"
#include "config/loader.h"

namespace millrace {

// Markdown: a table for each section, then what must hold between settings.
std::string SettingsReference(const SettingSet& set);

// JSON Schema (draft 2020-12) of a settings file, for editors.
std::string SettingsSchema(const SettingSet& set);

// The settings as a YAML file that loads to the same values; secrets are ***. With `origins`, each
// line ends with where its value came from.
std::string DumpYaml(const LoadedSettings& loaded, bool origins);

// What is shown of a setting: its value, or *** for a secret that is not empty.
std::string ShownValue(const Setting& setting);

}  // namespace millrace
