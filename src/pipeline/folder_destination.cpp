#include "pipeline/folder_destination.h"

#include <algorithm>
#include <set>

#include "base/checksum.h"
#include "pipeline/files.h"

namespace mainstay::pipeline {

namespace {
constexpr std::size_t readable_characters_max = 80;
}

std::string file_name_of(std::string_view idempotency_key) {
  std::string name;
  for (const char c : idempotency_key.substr(0, readable_characters_max)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.';
    name += plain && !(name.empty() && c == '.') ? c : '_';
  }
  return name + "-" + digest128(as_bytes(idempotency_key));
}

Result<std::unique_ptr<FolderDestination>, Failure> FolderDestination::open(const std::string& directory,
                                                                            const std::string& worker) {
  if (const auto made = files::make_directories(directory + "/.tmp"); !made) return made.error();
  return std::unique_ptr<FolderDestination>(new FolderDestination(directory, worker));
}

std::optional<std::string> FolderDestination::put(const std::string& name, BytesView content) {
  const std::string path = directory_ + "/" + name;
  const std::string fresh = directory_ + "/.tmp/" + worker_ + "~" + name;
  // Twice: a leftover of a killed run may be in the way the first time.
  for (int round = 0; round < 2 && !files::exists(path); ++round) {
    if (const auto removed = files::remove(fresh); !removed) return removed.error().what;
    if (const auto written = files::create_synced(fresh, content); !written) {
      static_cast<void>(files::remove(fresh));
      return written.error().what;
    }
    const auto moved = files::move(fresh, path);
    if (!moved) return moved.error().what;
    if (*moved == files::Moved::yes) return std::nullopt;
    static_cast<void>(files::remove(fresh));
  }
  const auto there = files::read(path, content.size());
  if (there && std::equal(there->begin(), there->end(), content.begin(), content.end())) return std::nullopt;
  return path + " exists with other content; compare the two by hand" +
         (there ? "" : " (" + there.error().what + ")");
}

std::vector<DeliveryResult> FolderDestination::deliver(const std::vector<Delivery>& deliveries) {
  std::vector<DeliveryResult> results;
  std::set<std::uint64_t> failed_lanes;
  for (const Delivery& delivery : deliveries) {
    DeliveryResult& result = results.emplace_back();
    result.name = file_name_of(delivery.idempotency_key);
    if (failed_lanes.contains(delivery.lane)) {
      result.why = "an earlier message of the same session could not be delivered";
      continue;
    }
    if (const auto why = put(result.name, delivery.content)) {
      result.why = *why;
      failed_lanes.insert(delivery.lane);
      continue;
    }
    result.ok = true;
  }
  // A file that was there already may have been renamed by a run that died before its sync: always sync.
  if (const auto synced = files::sync_directory(directory_); !synced) {
    for (DeliveryResult& result : results) {
      if (result.ok) result = {false, {}, synced.error().what};
    }
  }
  return results;
}

}  // namespace mainstay::pipeline
