#include "lab/text_files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace mainstay::lab {
namespace {

using OpenFile = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

Failure system_failure(const char* doing, const std::string& path) {
  return {std::string("cannot ") + doing + " " + path + ": " + std::strerror(errno)};
}

}  // namespace

Result<std::string, Failure> read_text_file(const std::string& path) {
  const OpenFile file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (!file) return system_failure("open", path);
  std::string text;
  char block[65536];
  while (const std::size_t count = std::fread(block, 1, sizeof block, file.get())) text.append(block, count);
  if (std::ferror(file.get()) != 0) return system_failure("read", path);
  // Spelled out: a Failure, too, can be made from a string.
  return {boost::system::in_place_value, std::move(text)};
}

Result<void, Failure> write_text_file(const std::string& path, std::string_view content) {
  OpenFile file(std::fopen(path.c_str(), "wbe"), &std::fclose);
  if (!file) return system_failure("create", path);
  if (std::fwrite(content.data(), 1, content.size(), file.get()) != content.size() ||
      std::fclose(file.release()) != 0)
    return system_failure("write", path);
  return {};
}

}  // namespace mainstay::lab
