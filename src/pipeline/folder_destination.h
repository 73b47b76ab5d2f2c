// A folder as destination: one file per payment, complete or absent, never replaced.
#pragma once

#include <memory>
#include <optional>

#include "base/result.h"
#include "pipeline/destination.h"

namespace mainstay::pipeline {

/// The file's name: the readable characters of the key (at most 80), '-', its digest128. Equal keys give
/// equal names, different keys different ones, whatever the file system thinks of case.
std::string file_name_of(std::string_view idempotency_key);

/// Files are written to `.tmp/`, synced (together where there are many), renamed into place in order and
/// without replacing, and the folder is synced once per call. So a name in the folder stands for whole,
/// durable content.
class FolderDestination final : public Destination {
 public:
  /// @param worker  names this process's temporary files; two processes on one folder need different ones.
  static Result<std::unique_ptr<FolderDestination>, Failure> open(const std::string& directory,
                                                                  const std::string& worker);
  std::vector<DeliveryResult> deliver(const std::vector<Delivery>& deliveries) override;

 private:
  FolderDestination(std::string directory, std::string worker)
      : directory_(std::move(directory)), worker_(std::move(worker)) {}
  /// Writes the temporary file, unless the name is taken already (then `written` stays false). @return what
  /// failed.
  std::optional<std::string> write(const std::string& name, BytesView content, bool& written);
  /// Moves a written file into place, or compares what is there.
  std::optional<std::string> place(const std::string& name, BytesView content, bool written);
  [[nodiscard]] std::string path_of(const std::string& name) const { return directory_ + "/" + name; }
  [[nodiscard]] std::string fresh_of(const std::string& name) const {
    return directory_ + "/.tmp/" + worker_ + "~" + name;
  }

  std::string directory_, worker_;
};

}  // namespace mainstay::pipeline
