// Question: what does the journal cost over the disk itself?
//
// Two loops on two files of the same length on the same file system, both allocated and written with zeros
// beforehand, taking turns in one run so that a noisy machine hits both:
//   bare     pwrite of one batch from a buffer that is never touched, fdatasync; again behind it
//   journal  LogBuilder::append for each record of the batch, Journal::write_and_sync
// What the journal adds: a copy and a checksum per record, 48 bytes of header, now and then an index entry,
// the durable mark. Neither makes files while it is measured: the bare loop writes its file again from the
// beginning, the journal recycles its segments (which is not measured). Each round measures both at every
// batch size, in alternating order; the ratio is taken round by round, its median counts.
#include <memory>

#include "disk_floor.h"
#include "io/posix_disk.h"
#include "io/system_random.h"
#include "journal/journal.h"

namespace mainstay::bench {
namespace {

constexpr std::size_t kBodyBytes = 1024;
constexpr std::size_t kBatchSizes[] = {1, 64, 512};
constexpr double kTarget = 0.85;
constexpr std::size_t kTargetFromBatch = 64;  // a batch of one measures the sync, not us
constexpr std::uint64_t kFileBytes = 64ULL << 20;

double bare_rate(BareFile& file, std::size_t batch, double at_least_seconds) {
  const Buffer bytes(batch * kBodyBytes, std::byte{0x5a});
  double took = 0;
  std::uint64_t records = 0;
  for (; took < at_least_seconds; records += batch) took += file.write_and_sync(bytes);
  return static_cast<double>(records) / took;
}

/// A journal that runs in circles.
class Ring {
 public:
  Ring(Disk& disk, Random& random) : disk_(disk), builder_({}, Epoch{1}) {
    need(disk.make_directory("journal"));
    clear();
    journal::JournalOptions options;
    options.node = "bench";
    options.segment_bytes = kFileBytes;
    log_ = need(journal::Journal::open(disk, "journal", options, random, {}, {}));
    need(log_->prepare_spare());
  }
  ~Ring() {
    log_.reset();
    clear();
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  double rate(std::size_t batch, double at_least_seconds) {
    const Buffer body(kBodyBytes, std::byte{0x5a});
    const std::uint64_t batch_bytes = batch * journal::record_bytes(kBodyBytes);
    double took = 0;
    std::uint64_t records = 0;
    for (; took < at_least_seconds; records += batch) {
      if (log_->wants_spare() && log_->room() < 2 * batch_bytes) give_back();
      const double start = seconds_now();
      for (std::size_t i = 0; i < batch; ++i) builder_.append(journal::RecordType::message_stored, body);
      recycled_ = builder_.take(std::move(recycled_));
      need(log_->write_and_sync(recycled_));
      took += seconds_now() - start;
    }
    return static_cast<double>(records) / took;
  }

 private:
  /// Two checkpoints at the end: all segments before the current one are spares again.
  void give_back() {
    const Lsn end = log_->durable().lsn;
    need(log_->store_checkpoint(Lsn{end.value - 1}, {}));
    need(log_->store_checkpoint(end, {}));
    need(log_->remove_before(end));
    if (log_->wants_spare()) need(log_->prepare_spare());
  }
  void clear() {
    for (const std::string& name : need(disk_.list("journal"))) {
      static_cast<void>(disk_.remove("journal/" + name));
    }
  }
  Disk& disk_;
  std::unique_ptr<journal::Journal> log_;
  journal::LogBuilder builder_;
  journal::Batch recycled_;
};

}  // namespace

int run_journal_bench(const Arguments& arguments) {
  double at_least_seconds = 0.5;
  return run_benchmark(
      {"journal",
       "The journal's group commit against a bare loop of write + fdatasync into a preallocated, "
       "zero-written "
       "file, as a ratio.",
       "  ./dev bench journal\n"
       "  ./dev bench journal --directory /mnt/nvme --rounds 11 --json journal.json\n",
       7},
      arguments,
      [&](CLI::App& app) {
        app.add_option("--seconds", at_least_seconds, "measured per loop, batch size and round")
            ->capture_default_str()
            ->check(CLI::Range(0.01, 3600.0));
      },
      [&](const Common& common, Record& record) {
        struct Row {
          std::size_t batch;
          Figure bare, journal, ratio;
        };
        std::vector<Row> rows;
        for (const std::size_t batch : kBatchSizes) {
          const std::string n = std::to_string(batch);
          Row row{batch, figure("journal.bare_rate_" + n, "  bare write + sync", "records/s"),
                  figure("journal.rate_" + n, "  journal", "records/s"),
                  figure("journal.ratio_" + n, "journal over bare, batches of " + n + " × 1 KiB", "ratio")};
          if (batch >= kTargetFromBatch) row.ratio.at_least = kTarget;
          rows.push_back(row);
        }
        const auto disk = need(io::PosixDisk::open(common.directory));
        io::SystemRandom random;
        BareFile bare_file(*disk, "bare", kFileBytes);
        Ring ring(*disk, random);
        Progress progress("journal, rounds");
        for (int round = 0; round < common.rounds; ++round) {
          progress.at(static_cast<std::uint64_t>(round), static_cast<std::uint64_t>(common.rounds));
          for (Row& row : rows) {
            double bare = 0;
            if (round % 2 == 0) bare = bare_rate(bare_file, row.batch, at_least_seconds);
            const double ours = ring.rate(row.batch, at_least_seconds);
            if (round % 2 != 0) bare = bare_rate(bare_file, row.batch, at_least_seconds);
            row.bare.samples.values.push_back(bare);
            row.journal.samples.values.push_back(ours);
            row.ratio.samples.values.push_back(ours / bare);
          }
        }
        for (Row& row : rows) record.figures.insert(record.figures.end(), {row.ratio, row.journal, row.bare});
      });
}

}  // namespace mainstay::bench
