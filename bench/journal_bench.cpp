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
#include "journal_bench.h"

#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>

#include "bench.h"
#include "io/posix_disk.h"
#include "io/system_clock.h"
#include "io/system_random.h"
#include "journal/journal.h"

namespace mainstay::bench {
namespace {

constexpr std::size_t kBodyBytes = 1024;
constexpr std::size_t kBatchSizes[] = {1, 64, 512};
constexpr double kTarget = 0.7;
constexpr std::size_t kTargetFromBatch = 64;  // a batch of one measures the sync, not us
constexpr std::uint64_t kFileBytes = 256ULL << 20;

struct Options {
  std::string directory = ".";
  std::size_t rounds = 7;
  double seconds = 0.5;
  bool json = false;
};

struct Sample {
  double records_per_second{};
};

/// A failure of the set-up ends the benchmark; what failed is printed by run_journal_bench().
struct Trouble {
  std::string what;
};
template <class T, class E>
T need(Result<T, E> result) {
  if (!result) throw Trouble{result.error().what};
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// Measures only inside the batches: `prepare` (making a fresh file) is left out.
class Stopwatch {
 public:
  void start() { begin_ = clock_.now(); }
  void stop() { total_ = total_ + (clock_.now() - begin_); }
  [[nodiscard]] double seconds() const { return total_.seconds(); }

 private:
  io::SystemClock clock_;
  Instant begin_{};
  Duration total_{};
};

Sample measure_bare(Disk& disk, std::size_t batch, double seconds) {
  const Buffer bytes(batch * kBodyBytes, std::byte{0x5a});
  Stopwatch watch;
  std::uint64_t records = 0;
  std::unique_ptr<File> file;
  std::uint64_t at = kFileBytes;
  while (watch.seconds() < seconds) {
    if (at + bytes.size() > kFileBytes) {
      if (file) need(disk.remove("bare"));
      file = need(disk.open("bare", OpenMode::create));
      need(file->preallocate(kFileBytes));
      need(file->sync());
      need(disk.sync_directory(""));
      at = 0;
    }
    watch.start();
    need(file->write(at, bytes));
    need(file->sync());
    watch.stop();
    at += bytes.size();
    records += batch;
  }
  file.reset();
  need(disk.remove("bare"));
  return {static_cast<double>(records) / watch.seconds()};
}

void remove_journal(Disk& disk) {
  for (const std::string& name : need(disk.list("journal"))) {
    static_cast<void>(disk.remove("journal/" + name));
  }
}

Sample measure_journal(Disk& disk, Random& random, std::size_t batch, double seconds) {
  const Buffer body(kBodyBytes, std::byte{0x5a});
  const std::uint64_t batch_bytes = batch * journal::record_bytes(kBodyBytes);
  journal::JournalOptions options;
  options.node = "bench";
  options.segment_bytes = kFileBytes;
  Stopwatch watch;
  std::uint64_t records = 0;
  std::unique_ptr<journal::Journal> log;
  std::optional<journal::LogBuilder> builder;
  journal::Batch recycled;
  while (watch.seconds() < seconds) {
    if (!log || log->room() < batch_bytes) {
      log.reset();
      need(disk.make_directory("journal"));
      remove_journal(disk);
      log = need(journal::Journal::open(disk, "journal", options, random, {}, {}));
      builder.emplace(log->recovery().end, Epoch{1});
    }
    watch.start();
    for (std::size_t i = 0; i < batch; ++i) builder->append(journal::RecordType::message_stored, body);
    recycled = builder->take(std::move(recycled));
    need(log->write(recycled));
    need(log->sync());
    watch.stop();
    records += batch;
  }
  log.reset();
  remove_journal(disk);
  return {static_cast<double>(records) / watch.seconds()};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}
double lowest(const std::vector<double>& values) {
  return *std::min_element(values.begin(), values.end());
}
double highest(const std::vector<double>& values) {
  return *std::max_element(values.begin(), values.end());
}

std::string build_kind() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
  return "NOT an optimised build: the figures mean nothing";
#else
  return "optimised, assertions on";
#endif
}

bool parse(const std::vector<std::string>& args, Options& options) {
  for (std::size_t i = 0; i < args.size(); ++i) {
    const auto value = [&]() -> std::string { return i + 1 < args.size() ? args[++i] : std::string(); };
    if (args[i] == "--json") {
      options.json = true;
    } else if (args[i] == "--dir") {
      options.directory = value();
    } else if (args[i] == "--rounds") {
      options.rounds = std::strtoul(value().c_str(), nullptr, 10);
    } else if (args[i] == "--seconds") {
      options.seconds = std::strtod(value().c_str(), nullptr);
    } else {
      return false;
    }
  }
  return options.rounds >= 5 && options.seconds > 0 && !options.directory.empty();
}

struct Row {
  std::size_t batch{};
  std::vector<double> bare;
  std::vector<double> journal;
  std::vector<double> ratio;
};

void print_table(const std::vector<Row>& rows, const Options& options, const std::string& kernel) {
  std::printf("journal against bare write + fdatasync\n");
  std::printf("cpu %s, %ld threads; kernel %s; file system %s\n", cpu_name().c_str(),
              ::sysconf(_SC_NPROCESSORS_ONLN), kernel.c_str(), file_system(options.directory).c_str());
  std::printf("records of %zu bytes (%zu in the journal), files of %llu MiB written with zeros beforehand\n",
              kBodyBytes, journal::record_bytes(kBodyBytes),
              static_cast<unsigned long long>(kFileBytes >> 20));
  std::printf("%zu rounds of %.2f s each, taking turns; build: %s\n\n", options.rounds, options.seconds,
              build_kind().c_str());
  std::printf("%7s  %34s  %34s  %21s\n", "batch", "bare records/s (min..max)", "journal records/s (min..max)",
              "ratio (min..max)");
  for (const Row& row : rows) {
    std::printf("%7zu  %12.0f (%8.0f..%9.0f)  %12.0f (%8.0f..%9.0f)  %7.3f (%.3f..%.3f)%s\n", row.batch,
                median(row.bare), lowest(row.bare), highest(row.bare), median(row.journal),
                lowest(row.journal), highest(row.journal), median(row.ratio), lowest(row.ratio),
                highest(row.ratio),
                row.batch < kTargetFromBatch   ? ""
                : median(row.ratio) >= kTarget ? "  ok"
                                               : "  BELOW TARGET");
  }
  std::printf("\ntarget: ratio of at least %.2f for batches of %zu records and more\n", kTarget,
              kTargetFromBatch);
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    if (static_cast<unsigned char>(c) >= 0x20) out.push_back(c);
  }
  return out + "\"";
}

void print_json(const std::vector<Row>& rows, const Options& options, const std::string& kernel,
                bool passed) {
  std::printf(
      "{\"benchmark\":\"journal\",\"cpu\":%s,\"threads\":%ld,\"kernel\":%s,\"file_system\":%s,\"build\":%s,",
      quoted(cpu_name()).c_str(), ::sysconf(_SC_NPROCESSORS_ONLN), quoted(kernel).c_str(),
      quoted(file_system(options.directory)).c_str(), quoted(build_kind()).c_str());
  std::printf(
      "\"record_bytes\":%zu,\"file_bytes\":%llu,\"rounds\":%zu,\"target_ratio\":%.2f,\"passed\":%s,\"rows\":"
      "[",
      kBodyBytes, static_cast<unsigned long long>(kFileBytes), options.rounds, kTarget,
      passed ? "true" : "false");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    std::printf(
        "%s{\"batch\":%zu,\"bare_per_s\":%.0f,\"journal_per_s\":%.0f,\"ratio\":%.4f,\"ratio_min\":%.4f,"
        "\"ratio_max\":%.4f}",
        i == 0 ? "" : ",", row.batch, median(row.bare), median(row.journal), median(row.ratio),
        lowest(row.ratio), highest(row.ratio));
  }
  std::printf("]}\n");
}

}  // namespace

int run_journal_bench(const std::vector<std::string>& args) {
  Options options;
  if (!parse(args, options)) {
    std::fprintf(
        stderr,
        "usage: mainstay_bench_journal [--dir DIR] [--rounds N] [--seconds S] [--json]\n"
        "  --dir      a directory on the disk to measure (default: here); 512 MiB are used for a while\n"
        "  --rounds   at least 5 (default 7)\n"
        "  --seconds  measured per loop, batch size and round (default 0.5)\n");
    return 2;
  }
  std::string scratch = options.directory + "/mainstay-bench-XXXXXX";
  if (::mkdtemp(scratch.data()) == nullptr) {
    std::fprintf(stderr, "cannot make a directory in %s\n", options.directory.c_str());
    return 2;
  }
  std::vector<Row> rows;
  bool passed = true;
  int status = 0;
  try {
    const auto disk = need(io::PosixDisk::open(scratch));
    io::SystemRandom random;
    for (const std::size_t batch : kBatchSizes) rows.push_back({batch, {}, {}, {}});
    for (std::size_t round = 0; round < options.rounds; ++round) {
      for (Row& row : rows) {
        const bool bare_first = round % 2 == 0;
        if (bare_first)
          row.bare.push_back(measure_bare(*disk, row.batch, options.seconds).records_per_second);
        row.journal.push_back(measure_journal(*disk, random, row.batch, options.seconds).records_per_second);
        if (!bare_first)
          row.bare.push_back(measure_bare(*disk, row.batch, options.seconds).records_per_second);
        row.ratio.push_back(row.journal.back() / row.bare.back());
      }
    }
    for (const Row& row : rows) {
      if (row.batch >= kTargetFromBatch && median(row.ratio) < kTarget) passed = false;
    }
    utsname system{};
    ::uname(&system);
    if (options.json) {
      print_json(rows, options, system.release, passed);
    } else {
      print_table(rows, options, system.release);
    }
    status = passed ? 0 : 1;
  } catch (const Trouble& trouble) {
    std::fprintf(stderr, "the benchmark could not run: %s\n", trouble.what.c_str());
    status = 2;
  }
  for (const char* name : {"/bare", "/journal"}) {
    ::unlink((scratch + name).c_str());
    ::rmdir((scratch + name).c_str());
  }
  ::rmdir(scratch.c_str());
  return status;
}

}  // namespace mainstay::bench
