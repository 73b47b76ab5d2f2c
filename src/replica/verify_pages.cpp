#include "replica/verify_pages.h"

#include <set>

#include "broker/state.h"
#include "journal/journal.h"
#include "paging/page_files.h"

namespace mainstay::replica {
namespace {

PagesReport look_once(Disk& disk, const std::string& directory) {
  PagesReport out;
  const std::string pages_directory = directory.empty() ? "pages" : directory + "/pages";
  std::set<std::uint32_t> used;
  for (std::size_t skip = 0;; ++skip) {
    const auto checkpoint = journal::Journal::load_checkpoint(disk, directory, skip);
    if (!checkpoint) {
      out.problems.push_back(checkpoint.error().what);
      break;
    }
    if (checkpoint->lsn == Lsn{}) break;
    if (skip == 0) out.checkpoint = checkpoint->lsn;
    const auto reader = paging::read_page_files(disk, pages_directory);
    std::string why;
    {
      const auto state = broker::State::restore(checkpoint->state, *reader);
      if (!state) {
        why = state.error().what;
      } else if (state->applied() != checkpoint->lsn) {
        why = "it holds the state of another LSN";
      }
      if (why.empty() && skip == 0) out.pages = reader->pages_in_use();
    }
    if (why.empty()) {
      ++out.checkpoints;
      used.insert(reader->used().begin(), reader->used().end());
      continue;
    }
    out.problems.push_back("checkpoint " + std::to_string(checkpoint->lsn.value) + " cannot be used: " + why +
                           "; a start uses an older one or the whole log, and takes longer");
  }
  const auto files = paging::scan_page_files(disk, pages_directory);
  if (!files) {
    out.problems.push_back(files.error().what);
    return out;
  }
  const bool all_known = out.problems.empty();
  for (const paging::PageFileSeen& file : *files) {
    ++out.files;
    out.bytes += file.bytes;
    if (all_known && !used.contains(file.number)) {
      out.unused.push_back(file.path + ": no checkpoint refers to it");
      continue;
    }
    auto& to = all_known ? out.unused : out.problems;
    to.insert(to.end(), file.damage.begin(), file.damage.end());
  }
  out.ok = out.problems.empty();
  return out;
}

}  // namespace

PagesReport verify_pages(Disk& disk, const std::string& directory) {
  constexpr int kTimesMax = 5;
  for (int times = 1;; ++times) {
    PagesReport out = look_once(disk, directory);
    if (out.ok || times == kTimesMax) return out;
    const auto newest = journal::Journal::load_checkpoint(disk, directory, 0);
    if (!newest || newest->lsn == out.checkpoint) return out;
  }
}

}  // namespace mainstay::replica
