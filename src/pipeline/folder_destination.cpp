#include "pipeline/folder_destination.h"

#include <algorithm>
#include <set>

#include "base/checksum.h"
#include "pipeline/files.h"

namespace mainstay::pipeline {

namespace {
constexpr std::size_t readable_characters_max = 80;
constexpr std::size_t files_synced_singly_max = 4;
}  // namespace

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

std::optional<std::string> FolderDestination::write(const std::string& name, BytesView content,
                                                    bool& written) {
  if (files::exists(path_of(name))) return std::nullopt;
  const std::string fresh = fresh_of(name);
  // A leftover of a killed run may be in the way; an equal name earlier in this batch never is, it has been
  // answered.
  if (const auto removed = files::remove(fresh); !removed) return removed.error().what;
  if (const auto created = files::create(fresh, content); !created) {
    static_cast<void>(files::remove(fresh));
    return created.error().what;
  }
  written = true;
  return std::nullopt;
}

std::optional<std::string> FolderDestination::place(const std::string& name, BytesView content,
                                                    bool written) {
  const std::string path = path_of(name);
  if (written) {
    const auto moved = files::move(fresh_of(name), path);
    if (!moved) return moved.error().what;
    if (*moved == files::Moved::yes) return std::nullopt;
    static_cast<void>(files::remove(fresh_of(name)));
  }
  const auto there = files::read(path, content.size());
  if (there && std::equal(there->begin(), there->end(), content.begin(), content.end())) return std::nullopt;
  return path + " exists with other content; compare the two by hand" +
         (there ? "" : " (" + there.error().what + ")");
}

std::vector<DeliveryResult> FolderDestination::deliver(const std::vector<Delivery>& deliveries) {
  std::vector<DeliveryResult> results(deliveries.size());
  std::vector<char> written(deliveries.size(), 0);
  std::set<std::uint64_t> failed_lanes;
  std::set<std::string_view> names;
  std::size_t fresh = 0;
  const auto fail = [&](std::size_t i, const std::string& why) {
    results[i].why = why;
    failed_lanes.insert(deliveries[i].lane);
  };
  for (std::size_t i = 0; i < deliveries.size(); ++i) {
    results[i].name = file_name_of(deliveries[i].idempotency_key);
    bool one = false;
    // The same name twice in one call: the second compares with what the first has put there.
    if (names.insert(results[i].name).second) {
      if (const auto why = write(results[i].name, deliveries[i].content, one)) fail(i, *why);
    }
    written[i] = one ? 1 : 0;
    fresh += one ? 1 : 0;
  }
  // Content is durable before it gets its name. Few files are synced one by one, many by one call for all.
  std::string sync_problem;
  if (fresh > files_synced_singly_max) {
    if (const auto synced = files::sync_file_system(directory_); !synced) sync_problem = synced.error().what;
  } else {
    for (std::size_t i = 0; i < deliveries.size() && sync_problem.empty(); ++i) {
      if (written[i] == 0) continue;
      if (const auto synced = files::sync_file(fresh_of(results[i].name)); !synced)
        sync_problem = synced.error().what;
    }
  }
  for (std::size_t i = 0; i < deliveries.size(); ++i) {
    if (!results[i].why.empty()) continue;
    if (!sync_problem.empty()) {
      fail(i, sync_problem);
    } else if (failed_lanes.contains(deliveries[i].lane)) {
      results[i].why = "an earlier message of the same session could not be delivered";
    } else if (const auto why = place(results[i].name, deliveries[i].content, written[i] != 0)) {
      fail(i, *why);
    } else {
      results[i].ok = true;
    }
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
