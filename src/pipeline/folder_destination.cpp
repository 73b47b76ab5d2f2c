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

std::string FolderDestination::temporary(const std::string& name) const {
  return directory_ + "/.tmp/" + worker_ + "~" + name;
}

Result<std::unique_ptr<FolderDestination>, Failure> FolderDestination::open(const std::string& directory,
                                                                            const std::string& worker) {
  if (const auto made = files::make_directories(directory + "/.tmp"); !made) return made.error();
  return std::unique_ptr<FolderDestination>(new FolderDestination(directory, worker));
}

std::optional<std::string> FolderDestination::compare(const std::string& name, BytesView content) const {
  const auto there = files::read(directory_ + "/" + name, content.size());
  if (there && std::equal(there->begin(), there->end(), content.begin(), content.end())) return std::nullopt;
  return directory_ + "/" + name + " exists with other content; compare the two by hand" +
         (there ? "" : " (" + there.error().what + ")");
}

std::optional<std::string> FolderDestination::show(const std::string& name, BytesView content) const {
  const std::string fresh = temporary(name);
  const auto moved = files::move(fresh, directory_ + "/" + name);
  if (!moved) return moved.error().what;
  if (*moved == files::Moved::yes) return std::nullopt;
  static_cast<void>(files::remove(fresh));
  return compare(name, content);
}

std::vector<DeliveryResult> FolderDestination::deliver(const std::vector<Delivery>& deliveries) {
  std::vector<DeliveryResult> results(deliveries.size());
  std::set<std::uint64_t> failed_lanes;
  const auto fail = [&](std::size_t i, const std::string& why) {
    results[i].why = why;
    failed_lanes.insert(deliveries[i].lane);
  };
  // Written to the side, all synced together, and only then shown, in order: one flush of the file system
  // costs a batch about what one file costs alone.
  std::set<std::string> written;
  for (std::size_t i = 0; i < deliveries.size(); ++i) {
    results[i].name = file_name_of(deliveries[i].idempotency_key);
    if (files::exists(directory_ + "/" + results[i].name) || written.contains(results[i].name)) continue;
    if (const auto put = files::replace_unsynced(temporary(results[i].name), deliveries[i].content); !put) {
      fail(i, put.error().what);
    } else {
      written.insert(results[i].name);
    }
  }
  if (!written.empty()) {
    std::vector<std::string> paths;
    for (const std::string& name : written) paths.push_back(temporary(name));
    if (const auto synced = files::sync_files(paths); !synced) {
      for (std::size_t i = 0; i < results.size(); ++i) results[i].why = synced.error().what;
      return results;
    }
  }
  failed_lanes.clear();  // a lane is good up to its first failure
  for (std::size_t i = 0; i < deliveries.size(); ++i) {
    DeliveryResult& result = results[i];
    if (!result.why.empty()) failed_lanes.insert(deliveries[i].lane);
    if (failed_lanes.contains(deliveries[i].lane)) {
      if (result.why.empty()) result.why = "an earlier message of the same session could not be delivered";
      continue;
    }
    const bool fresh = written.erase(result.name) > 0;
    const auto why =
        fresh ? show(result.name, deliveries[i].content) : compare(result.name, deliveries[i].content);
    if (why) {
      fail(i, *why);
    } else {
      result.ok = true;
    }
  }
  for (const std::string& name : written) static_cast<void>(files::remove(temporary(name)));
  // A file that was there already may have been renamed by a run that died before its sync: always sync.
  if (const auto synced = files::sync_directory(directory_); !synced) {
    for (DeliveryResult& result : results) {
      if (result.ok) result = {false, {}, synced.error().what};
    }
  }
  return results;
}

}  // namespace mainstay::pipeline
