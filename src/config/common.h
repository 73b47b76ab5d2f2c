// What both configuration files share: paths, names, credentials. Internal to config.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/reader.h"
#include "config/register_place.h"

namespace mainstay::config {

inline constexpr std::size_t kConfigBytesMax = std::size_t{4} << 20;

/// Absolute, or relative to `directory`; "" stays "".
std::string resolve(const std::string& directory, const std::string& path);
std::string directory_of(const std::string& path);

/// A path key, resolved.
std::string read_path(TableReader& table, std::string_view key, TableReader::Need need,
                      const std::string& directory);

/// A name for logs, metrics and file names: letters, digits, '.', '_' and '-', at most 64.
std::string read_name(TableReader& table, std::string_view key, TableReader::Need need,
                      std::string fallback = {});

/// Address of a queue: at most 260 characters; letters, digits, '.', '_', '-' and inner '/'.
std::string read_queue_name(TableReader& table, std::string_view key);

/// `password` or `password_file` (its content less one line end); not both. Asks for both keys.
std::string read_password(TableReader& table, const std::string& directory, bool required);

/// `[register]`: a file, or voters. @param places  where each of RegisterPlace::voters stands in the file
RegisterPlace read_register(TableReader& table, const std::string& directory, std::vector<Place>& places);

/// ASCII lower case, as addresses are compared.
std::string lower(std::string_view text);

}  // namespace mainstay::config
