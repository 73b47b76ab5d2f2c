#include "base/disk.h"

#include "base/assert.h"

namespace mainstay {

void throw_exception_from_error(const DiskError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

Result<void, DiskError> Disk::link(const std::string& from, const std::string& /*to*/) {
  return DiskError{DiskErrorCode::io, "this disk gives no file a second name: " + describe(from)};
}

Result<void, DiskError> Disk::remove_directory(const std::string& path) {
  return DiskError{DiskErrorCode::io, "this disk removes no directories: " + describe(path)};
}

Result<Buffer, DiskError> read_file(Disk& disk, const std::string& path, std::uint64_t bytes_max) {
  auto file = disk.open(path, OpenMode::read);
  if (!file) return file.error();
  const auto size = (*file)->size();
  if (!size) return size.error();
  if (*size > bytes_max) {
    return DiskError{DiskErrorCode::io, disk.describe(path) + " has " + std::to_string(*size) +
                                            " bytes, more than the " + std::to_string(bytes_max) +
                                            " expected at most"};
  }
  Buffer content(*size);
  const auto got = (*file)->read(0, content);
  if (!got) return got.error();
  content.resize(*got);
  return content;
}

Result<void, DiskError> replace_file(Disk& disk, const std::string& path, BytesView content) {
  const std::string fresh = path + ".new";
  if (const auto removed = disk.remove(fresh); !removed && removed.error().code != DiskErrorCode::not_found) {
    return removed.error();
  }
  auto file = disk.open(fresh, OpenMode::create);
  if (!file) return file.error();
  if (const auto written = (*file)->write(0, content); !written) return written.error();
  if (const auto synced = (*file)->sync(); !synced) return synced.error();
  if (const auto renamed = disk.rename(fresh, path); !renamed) return renamed.error();
  const std::size_t slash = path.rfind('/');
  return disk.sync_directory(slash == std::string::npos ? "" : path.substr(0, slash));
}

}  // namespace mainstay
