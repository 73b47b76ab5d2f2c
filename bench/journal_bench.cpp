// Question: what does the journal cost over the disk itself?
//
// Two loops on two files of the same length on the same file system, both allocated and written with zeros
// beforehand, taking turns in one run so that a noisy machine hits both:
//   bare     pwrite of one batch from a buffer that is never touched, fdatasync; again behind it
//   journal  LogBuilder::append for each record of the batch, Journal::write, Journal::sync
// What the journal adds: a copy and a checksum per record, 48 bytes of header, an index entry, the durable
// mark. Both start over in a fresh file when the current one is full; making files is not measured. Each
// round measures both at every batch size, in alternating order; the ratio is taken round by round, its
// median counts.
#include <optional>

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
constexpr std::uint64_t kFileBytes = 256ULL << 20;

double bare_rate(Disk& disk, std::size_t batch, double at_least_seconds) {
  const Buffer bytes(batch * kBodyBytes, std::byte{0x5a});
  BareFile file(disk, "bare", kFileBytes);
  double took = 0;
  std::uint64_t records = 0;
  for (; took < at_least_seconds; records += batch) took += file.write_and_sync(bytes);
  return static_cast<double>(records) / took;
}

void remove_journal(Disk& disk) {
  for (const std::string& name : need(disk.list("journal"))) {
    static_cast<void>(disk.remove("journal/" + name));
  }
}

double journal_rate(Disk& disk, Random& random, std::size_t batch, double at_least_seconds) {
  const Buffer body(kBodyBytes, std::byte{0x5a});
  const std::uint64_t batch_bytes = batch * journal::record_bytes(kBodyBytes);
  journal::JournalOptions options;
  options.node = "bench";
  options.segment_bytes = kFileBytes;
  double took = 0;
  std::uint64_t records = 0;
  std::unique_ptr<journal::Journal> log;
  std::optional<journal::LogBuilder> builder;
  journal::Batch recycled;
  for (; took < at_least_seconds; records += batch) {
    if (!log || log->room() < batch_bytes) {
      log.reset();
      need(disk.make_directory("journal"));
      remove_journal(disk);
      log = need(journal::Journal::open(disk, "journal", options, random, {}, {}));
      builder.emplace(log->recovery().end, Epoch{1});
    }
    const double start = seconds_now();
    for (std::size_t i = 0; i < batch; ++i) builder->append(journal::RecordType::message_stored, body);
    recycled = builder->take(std::move(recycled));
    need(log->write(recycled));
    need(log->sync());
    took += seconds_now() - start;
  }
  log.reset();
  remove_journal(disk);
  return static_cast<double>(records) / took;
}

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
        Progress progress("journal, rounds");
        for (int round = 0; round < common.rounds; ++round) {
          progress.at(static_cast<std::uint64_t>(round), static_cast<std::uint64_t>(common.rounds));
          for (Row& row : rows) {
            double bare = 0;
            if (round % 2 == 0) bare = bare_rate(*disk, row.batch, at_least_seconds);
            const double ours = journal_rate(*disk, random, row.batch, at_least_seconds);
            if (round % 2 != 0) bare = bare_rate(*disk, row.batch, at_least_seconds);
            row.bare.samples.values.push_back(bare);
            row.journal.samples.values.push_back(ours);
            row.ratio.samples.values.push_back(ours / bare);
          }
        }
        for (Row& row : rows) record.figures.insert(record.figures.end(), {row.ratio, row.journal, row.bare});
      });
}

}  // namespace mainstay::bench
