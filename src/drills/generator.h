// The source of a drill: writes payment files into an inbox, as fast as told, and its own record of what
// entered. Among the good messages a stated few are duplicates, conflicts and malformed ones, as every real
// feed has them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/result.h"
#include "drills/feed.h"
#include "drills/ingest_record.h"
#include "drills/payment_stream.h"

namespace mainstay::drills {

struct GeneratorOptions {
  std::uint64_t messages = 20'000;  ///< of every kind together
  std::uint64_t seed = 1;
  std::string templates;  ///< directory; empty: default_templates_directory()
  std::string inbox;      ///< directory, must exist
  std::string record;     ///< ingest record to write
  /// How many of a thousand messages are not normal.
  std::uint64_t duplicates_per_mille = 6, conflicts_per_mille = 2, malformed_per_mille = 3;
};

struct GeneratorCounts {
  std::uint64_t messages = 0, duplicates = 0, conflicts = 0, malformed = 0;
  std::uint64_t files = 0, files_rje = 0, files_pcc = 0, files_fin = 0, files_xml = 0;
};

/// Where the templates are: beside the installed program or in the source tree it was built from; a Failure
/// that names both places when they are in neither.
[[nodiscard]] Result<std::string, Failure> default_templates_directory();

/// Files appear in the inbox complete, by rename, in the order of their names; the record has a message's
/// line before the file appears. What is made depends on seed and counts only, never on the pace. Not
/// thread-safe.
class Generator final : public Feed {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Generator>, Failure> open(const GeneratorOptions& options);
  ~Generator() override;

  std::uint64_t total() const override { return options_.messages; }
  std::uint64_t entered() const override { return counts_.messages; }
  Result<void, Failure> write_until(std::uint64_t due) override;
  const std::vector<IngestEntry>& entries() const override { return entries_; }
  [[nodiscard]] const GeneratorCounts& counts() const { return counts_; }

 private:
  struct Made {
    std::string bytes;
    EntryKind kind = EntryKind::normal;
    std::string
        made_from;  ///< template and, if any, what was done to it: for messages about our own mistakes
    std::string key, content_digest;
  };
  struct Remembered {
    Draft draft;
    std::string key, content_digest, ordering_key;
    bool conflicted = false;
  };

  Generator(GeneratorOptions options, std::vector<payments::Template> templates);
  Result<void, Failure> write_file();
  Result<Made, Failure> make(PaymentStream::Want want);
  Result<Made, Failure> make_normal(PaymentStream::Want want);
  Result<Made, Failure> make_duplicate(const Remembered& of);
  Result<Made, Failure> make_conflict(Remembered& with);
  Result<Made, Failure> make_malformed(PaymentStream::Want want);
  Remembered* recall(PaymentStream::Want want, bool for_conflict);
  Result<void, Failure> publish(const std::string& name, const std::string& content,
                                const std::vector<Made>& items);

  const GeneratorOptions options_;
  const std::vector<payments::Template> templates_;
  SeededRandom random_;
  std::unique_ptr<PaymentStream> stream_;
  std::vector<Remembered> remembered_;  // a ring of recent normal messages
  std::size_t remembered_next_ = 0;
  GeneratorCounts counts_;
  std::vector<IngestEntry> entries_;
  struct Record;
  std::unique_ptr<Record> record_;
};

}  // namespace mainstay::drills
