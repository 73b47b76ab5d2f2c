#include "replica/recover.h"

#include <optional>

#include "base/checksum.h"
#include "replica/leadership.h"

namespace mainstay::replica {
namespace {

constexpr std::uint32_t kTermMagic = 0x5452534d;  // "MSRT"
constexpr std::size_t kTermFileBytes = 24;

std::string term_path(const std::string& directory) {
  return directory.empty() ? "term" : directory + "/term";
}

Buffer term_file(RegionTerm term) {
  Buffer bytes;
  ByteWriter out(bytes);
  out.u32_le(kTermMagic);
  out.u32_le(1);
  out.u64_le(term.value);
  out.u64_le(checksum64(bytes));
  return bytes;
}

Failure not_stored(const DiskError& error) {
  return Failure{"the region term cannot be stored: " + error.what};
}

/// Needs no space of its own. The file is within one sector, which a disk writes whole or not at all.
Result<void, DiskError> overwrite(Disk& disk, const std::string& directory, BytesView content) {
  const std::string path = term_path(directory);
  auto file = disk.open(path, OpenMode::read_write);
  if (!file) return file.error();
  if (const auto written = (*file)->write(0, content); !written) return written.error();
  if (const auto synced = (*file)->sync(); !synced) return synced.error();
  return disk.sync_directory(directory);
}

}  // namespace

Result<void, Failure> store_term(Disk& disk, const std::string& directory, RegionTerm term) {
  const Buffer bytes = term_file(term);
  const std::string path = term_path(directory);
  auto done = replace_file(disk, path, bytes);
  // A node must come up on a full disk, or nobody could empty it.
  if (!done && done.error().code == DiskErrorCode::no_space) {
    (void)disk.remove(path + ".new");
    if (overwrite(disk, directory, bytes)) done = {};
  }
  if (!done) return not_stored(done.error());
  return {};
}

Result<RegionTerm, Failure> load_term(Disk& disk, const std::string& directory) {
  const std::string path = term_path(directory);
  const auto bytes = read_file(disk, path, 4096);
  if (!bytes) {
    if (bytes.error().code == DiskErrorCode::not_found) return RegionTerm{};
    return Failure{"the region term cannot be read: " + bytes.error().what};
  }
  ByteReader in{BytesView(*bytes)};
  const bool ours = in.u32_le() == kTermMagic;
  const std::uint32_t version = in.u32_le();
  const RegionTerm term{in.u64_le()};
  if (!ours || version != 1 || bytes->size() != kTermFileBytes ||
      in.u64_le() != checksum64(BytesView(*bytes).first(kTermFileBytes - 8))) {
    return Failure{
        disk.describe(path) +
        " is damaged or of a newer version. It holds the highest region term this node has seen; write it "
        "again only with the highest term that the register or any node reports"};
  }
  return term;
}

namespace {

/// The newest checkpoint that can be restored, with its pages; without any the empty state.
Result<void, Failure> restore_checkpoint(Disk& disk, const std::string& directory, broker::StateLimits limits,
                                         paging::PageStoreOptions page_options, Recovered& recovered) {
  for (std::size_t skip = 0;; ++skip) {
    const auto checkpoint = journal::Journal::load_checkpoint(disk, directory, skip);
    if (!checkpoint) return Failure{checkpoint.error().what};
    // Anew for each: what a checkpoint that was refused made of it is unknown.
    auto pages =
        paging::open_page_store(disk, directory.empty() ? "pages" : directory + "/pages", page_options);
    if (!pages) return Failure{"the page store cannot be opened: " + pages.error().what};
    recovered.pages = std::move(*pages);
    if (checkpoint->lsn == Lsn{}) {
      recovered.state = broker::State(recovered.pages.get(), limits);
      return {};
    }
    auto state = broker::State::restore(checkpoint->state, *recovered.pages, limits);
    if (state && state->applied() == checkpoint->lsn) {
      recovered.state = std::move(*state);
      recovered.checkpoint = checkpoint->lsn;
      return {};
    }
    recovered.not_used += (recovered.not_used.empty() ? "" : "; ") + std::string("checkpoint ") +
                          std::to_string(checkpoint->lsn.value) + ": " +
                          (state ? "holds the state of another LSN" : state.error().what);
  }
}

}  // namespace

Result<Recovered, Failure> recover(Disk& disk, const std::string& directory,
                                   const journal::JournalOptions& options, Random& random,
                                   const std::function<void(const journal::Record&)>& each,
                                   broker::StateLimits limits, paging::PageStoreOptions pages) {
  if (const auto made = disk.make_directory(directory); !made) return Failure{made.error().what};
  const auto stored_term = load_term(disk, directory);
  if (!stored_term) return stored_term.error();
  // A process that was killed, or whose sync failed, may leave a term that is read and not durable. It is
  // acted on from here on, so a crash must not take it back.
  if (*stored_term != RegionTerm{}) {
    if (const auto durable = overwrite(disk, directory, term_file(*stored_term)); !durable)
      return not_stored(durable.error());
  }

  Recovered recovered;
  recovered.last_term = *stored_term;
  if (const auto restored = restore_checkpoint(disk, directory, limits, pages, recovered); !restored) {
    return restored.error();
  }

  std::optional<broker::ApplyError> failed;
  auto opened = journal::Journal::open(
      disk, directory, options, random, recovered.checkpoint, [&](const journal::Record& record) {
        if (failed) return;
        if (each) each(record);
        recovered.last_term = std::max(recovered.last_term, term_of(record));
        recovered.ends_sealed = record.header.type == journal::RecordType::sealed;
        try {
          if (auto applied = recovered.state.apply(record); !applied) failed = applied.error();
        } catch (const paging::PageLost& lost) {
          failed = broker::ApplyError{record.header.lsn, lost.what()};
        }
      });
  if (!opened) {
    return Failure{opened.error().what + (recovered.not_used.empty() ? "" : " (" + recovered.not_used + ")")};
  }
  if (failed) {
    return Failure{"the log in " + disk.describe(directory) + " cannot be applied at LSN " +
                   std::to_string(failed->lsn.value) + ": " + failed->what +
                   ". Run `mainstay verify` on it; do not start this node on it"};
  }
  recovered.journal = std::move(*opened);
  if (recovered.state.applied() != recovered.journal->durable().lsn) {
    return Failure{"the log in " + disk.describe(directory) + " begins at LSN " +
                   std::to_string(recovered.journal->recovery().first.value) +
                   " and no usable checkpoint reaches it" +
                   (recovered.not_used.empty() ? "" : " (" + recovered.not_used + ")") +
                   "; restore the checkpoint files, or copy the other region's journal"};
  }
  if (recovered.checkpoint == recovered.journal->durable().lsn && recovered.checkpoint > Lsn{}) {
    Buffer last;
    journal::Record record;
    const auto read = recovered.journal->read(recovered.checkpoint, recovered.checkpoint, 1, last);
    recovered.ends_sealed = read && journal::decode_record(last, record) == journal::DecodeStatus::ok &&
                            record.header.type == journal::RecordType::sealed;
  }
  return recovered;
}

}  // namespace mainstay::replica
