#include "journal/errors.h"

#include "base/assert.h"
#include "journal/format.h"

namespace mainstay::journal {
namespace {
constexpr const char* kRepair =
    ". Nothing was changed. Keep this directory as it is and restore this node from its standby or backup; "
    "`mainstay verify DIR` lists everything that is wrong";
}  // namespace

void throw_exception_from_error(const JournalError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

JournalError from_disk(const DiskError& error) {
  switch (error.code) {
    case DiskErrorCode::no_space:
      return {JournalErrorCode::disk_full, error.what + ". Free space or enlarge the file system"};
    case DiskErrorCode::locked:
      return {JournalErrorCode::locked, error.what};
    case DiskErrorCode::not_found:
    case DiskErrorCode::exists:
    case DiskErrorCode::permission:
    case DiskErrorCode::io:
      break;
  }
  return {JournalErrorCode::io, error.what};
}

JournalError sync_failed(const DiskError& error) {
  return {JournalErrorCode::sync_failed,
          error.what + ". What is durable is unknown: this node must end and recover from its disk"};
}

JournalError corrupt(const std::string& file, std::uint64_t offset, Lsn lsn, const std::string& reason) {
  return {JournalErrorCode::corrupt, file + ", offset " + std::to_string(offset) + ", LSN " +
                                         std::to_string(lsn.value) + ": " + reason + kRepair};
}

JournalError corrupt(const std::string& file, const std::string& reason) {
  return {JournalErrorCode::corrupt, file + ": " + reason + kRepair};
}

JournalError too_new(const std::string& file) {
  return {JournalErrorCode::format_too_new,
          file + " was written by a newer release (this one reads journal format " +
              std::to_string(kFormatVersion) + "). Start the newer release on this directory"};
}

}  // namespace mainstay::journal
