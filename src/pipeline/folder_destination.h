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

/// Files are written to `.tmp/`, synced together, renamed in order without replacing, and the folder is
/// synced once per call.
class FolderDestination final : public Destination {
 public:
  /// @param worker  names this process's temporary files; two processes on one folder need different ones.
  static Result<std::unique_ptr<FolderDestination>, Failure> open(const std::string& directory,
                                                                  const std::string& worker);
  std::vector<DeliveryResult> deliver(const std::vector<Delivery>& deliveries) override;

 private:
  FolderDestination(std::string directory, std::string worker)
      : directory_(std::move(directory)), worker_(std::move(worker)) {}
  [[nodiscard]] std::string temporary(const std::string& name) const;
  /// Puts the temporary file under its name. @return what went wrong.
  [[nodiscard]] std::optional<std::string> show(const std::string& name, BytesView content) const;
  /// @return what is wrong with the file that is there.
  [[nodiscard]] std::optional<std::string> compare(const std::string& name, BytesView content) const;

  std::string directory_, worker_;
};

}  // namespace mainstay::pipeline
