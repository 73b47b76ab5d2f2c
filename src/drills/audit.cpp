#include "drills/audit.h"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "ledger/content.h"

namespace mainstay::drills {
namespace {

/// One content that entered under a key, possibly several times.
struct Content {
  std::string digest;
  std::string ordering_key;
  std::uint64_t first_number{};
  std::vector<std::string> bytes_digests;
  bool delivered = false, parked = false;
};

/// Everything known about one idempotency key. Pointers into the sources, which outlive it.
struct Subject {
  std::string_view key;
  std::vector<Content> contents;  // in order of entering; never empty
  std::vector<const DestinationFile*> files;
  std::vector<const Arrival*> arrivals;
  const LedgerFact* done = nullptr;

  Content* content(std::string_view digest) {
    for (Content& each : contents)
      if (ledger::digest_of(each.digest) == ledger::digest_of(digest)) return &each;
    return nullptr;
  }
  Content* content_of_bytes(const std::string& bytes_digest) {
    for (Content& each : contents)
      if (std::ranges::find(each.bytes_digests, bytes_digest) != each.bytes_digests.end()) return &each;
    return nullptr;
  }
};

std::string described(const IngestEntry& entry) {
  return "number " + std::to_string(entry.number) + ", " + entry.file + " item " + std::to_string(entry.item);
}

/// The three sources joined by key; each step of the audit is one member.
class Auditor {
 public:
  explicit Auditor(const AuditSources& sources) : sources_(sources) {}

  AuditReport run() {
    take_entered();
    take_ledger();
    take_parked();
    take_destination();
    take_arrivals();
    judge_subjects();
    judge_order();
    judge_quarantine();
    return std::move(report_);
  }

 private:
  void take_entered() {
    for (const IngestEntry& entry : sources_.entered) {
      ++report_.in;
      if (entry.kind == EntryKind::malformed) {
        ++report_.malformed;
        malformed_bytes_.emplace(entry.bytes_digest, &entry);
        continue;
      }
      const auto [at, is_new] = by_key_.try_emplace(entry.key, subjects_.size());
      if (is_new) {
        subjects_.push_back({.key = entry.key, .contents = {}, .files = {}, .arrivals = {}});
        first_entry_.push_back(&entry);
      }
      Subject& subject = subjects_[at->second];
      Content* content = subject.content(entry.content_digest);
      if (content != nullptr) {
        ++report_.duplicates;
      } else {
        if (is_new)
          ++report_.unique;
        else
          ++report_.conflicts;
        content = &subject.contents.emplace_back();
        content->digest = entry.content_digest;
        content->ordering_key = entry.ordering_key;
        content->first_number = entry.number;
      }
      content->bytes_digests.push_back(entry.bytes_digest);
      by_bytes_.try_emplace(entry.bytes_digest, at->second);
    }
  }

  void take_ledger() {
    for (const LedgerFact& fact : sources_.ledger) {
      Subject* subject = find(fact.key);
      if (subject == nullptr) {
        disagree(fact.key, "the ledger knows it, but it never entered");
        continue;
      }
      if (fact.state == LedgerState::parked) {
        Content* content = subject->content(fact.digest);
        if (content == nullptr)
          disagree(fact.key, "the ledger parked a content that never entered");
        else
          content->parked = true;
      } else if (fact.state == LedgerState::claimed) {
        disagree(fact.key, "claimed in the ledger and never finished");
      } else {
        if (subject->done != nullptr) disagree(fact.key, "done twice in the ledger");
        subject->done = &fact;
        if (!by_destination_.emplace(fact.destination, &fact - sources_.ledger.data()).second)
          disagree(fact.key,
                   "the ledger names a destination file that another message has: " + fact.destination);
      }
    }
  }

  void take_parked() {
    for (const std::string& bytes_digest : sources_.parked)
      if (const auto at = by_bytes_.find(bytes_digest); at != by_bytes_.end())
        subjects_[at->second].content_of_bytes(bytes_digest)->parked = true;
  }

  void take_destination() {
    for (const DestinationFile& file : sources_.destination) {
      if (!destination_names_.emplace(file.name, &file).second) continue;
      Subject* subject = file.key.empty() ? nullptr : find(file.key);
      if (subject != nullptr) {
        subject->files.push_back(&file);
        continue;
      }
      // An altered message may have lost its identity; its file name still tells whose place it lies in.
      const auto claimed_by = by_destination_.find(file.name);
      if (claimed_by != by_destination_.end()) {
        const LedgerFact& fact = sources_.ledger[static_cast<std::size_t>(claimed_by->second)];
        find(fact.key)->files.push_back(&file);
      } else if (malformed_bytes_.contains(file.bytes_digest)) {
        report_.unexpected.push_back({file.name, "a malformed message was delivered (" +
                                                     described(*malformed_bytes_.at(file.bytes_digest)) +
                                                     ")"});
      } else {
        report_.unexpected.push_back(
            {file.key.empty() ? file.name : file.key,
             file.key.empty() ? "lies at the destination, is no valid message and nothing accounts for it"
                              : "lies at the destination as " + file.name + " and never entered"});
      }
    }
  }

  void take_arrivals() {
    if (!sources_.arrivals) return;
    for (const Arrival& arrival : sources_.arrivals->list) {
      if (const auto subject = subject_of(arrival)) {
        subjects_[*subject].arrivals.push_back(&arrival);
      } else if (!destination_names_.contains(arrival.name)) {
        // What is still there was judged with the listing.
        report_.unexpected.push_back(
            {arrival.name, "arrived, was none of the messages that entered, and is gone"});
      }
      arrived_names_.insert(arrival.name);
    }
    report_.order_evidence =
        sources_.arrivals->incomplete.empty() ? OrderEvidence::arrivals : OrderEvidence::incomplete;
    report_.order_note = sources_.arrivals->incomplete;
  }

  std::optional<std::size_t> subject_of(const Arrival& arrival) const {
    if (const auto at = by_bytes_.find(arrival.bytes_digest); at != by_bytes_.end()) return at->second;
    if (const auto at = destination_names_.find(arrival.name); at != destination_names_.end())
      if (const auto known = by_key_.find(at->second->key); known != by_key_.end()) return known->second;
    if (const auto at = by_destination_.find(arrival.name); at != by_destination_.end())
      return by_key_.at(sources_.ledger[static_cast<std::size_t>(at->second)].key);
    return std::nullopt;
  }

  void judge_subjects() {
    for (std::size_t i = 0; i < subjects_.size(); ++i) {
      Subject& subject = subjects_[i];
      judge_files(subject);
      judge_arrivals(subject);
      judge_contents(subject, *first_entry_[i]);
      judge_ledger(subject);
    }
  }

  void judge_files(Subject& subject) {
    if (!subject.files.empty()) ++report_.delivered;
    for (const DestinationFile* file : subject.files) {
      Content* content = file->key == subject.key ? subject.content(file->content_digest) : nullptr;
      if (content == nullptr) {
        report_.corrupted.push_back(
            {std::string(subject.key), file->name + " holds other content than entered"});
      } else {
        content->delivered = true;
        if (std::ranges::find(content->bytes_digests, file->bytes_digest) == content->bytes_digests.end())
          report_.corrupted.push_back(
              {std::string(subject.key), file->name + " holds other bytes than entered"});
      }
    }
    if (subject.files.size() > 1) {
      std::string names;
      for (const DestinationFile* file : subject.files) names += (names.empty() ? "" : ", ") + file->name;
      report_.repeated.push_back(
          {std::string(subject.key),
           "lies at the destination " + std::to_string(subject.files.size()) + " times: " + names});
    }
  }

  void judge_arrivals(const Subject& subject) {
    if (!sources_.arrivals) return;
    if (subject.arrivals.size() > 1) {
      std::string positions;
      for (const Arrival* arrival : subject.arrivals)
        positions += (positions.empty() ? "" : ", ") + std::to_string(arrival->order);
      report_.repeated.push_back(
          {std::string(subject.key),
           "arrived " + std::to_string(subject.arrivals.size()) + " times, as arrivals " + positions});
    }
    if (!sources_.arrivals->incomplete.empty()) return;
    for (const DestinationFile* file : subject.files)
      if (!arrived_names_.contains(file->name))
        disagree(subject.key, file->name + " lies at the destination, but nobody saw it arrive");
    for (const Arrival* arrival : subject.arrivals)
      for (const DestinationFile* file : subject.files)
        if (file->name == arrival->name && file->bytes_digest != arrival->bytes_digest)
          report_.corrupted.push_back(
              {std::string(subject.key), file->name + " was changed after it arrived"});
  }

  void judge_contents(Subject& subject, const IngestEntry& first) {
    if (subject.files.empty()) {
      std::string what = "entered (" + described(first) + ") and is not at the destination";
      if (!subject.arrivals.empty())
        what += "; it arrived as " + subject.arrivals.front()->name + " and was removed";
      else if (subject.done != nullptr)
        what += ", though the ledger calls it done";
      else if (subject.contents.front().parked)
        what += "; it was parked, though no other content under its key was delivered";
      report_.lost.push_back({std::string(subject.key), what});
      return;
    }
    if (subject.contents.size() == 1) {
      if (subject.contents.front().parked) disagree(subject.key, "delivered and parked at once");
      return;
    }
    const auto winner = std::ranges::find(subject.contents, true, &Content::delivered);
    for (const Content& content : subject.contents) {
      if (content.parked) {
        ++report_.conflicts_parked;
        if (content.delivered) disagree(subject.key, "one content was delivered and parked at once");
      }
      if (!content.delivered && !content.parked && winner != subject.contents.end())
        report_.lost.push_back({std::string(subject.key), "its conflicting content " + content.digest +
                                                              " (number " +
                                                              std::to_string(content.first_number) +
                                                              ") was neither delivered nor parked"});
      if (winner != subject.contents.end() && content.first_number < winner->first_number &&
          content.ordering_key == winner->ordering_key)
        report_.reordered.push_back(
            {std::string(subject.key), "its later content (number " + std::to_string(winner->first_number) +
                                           ") was delivered instead of the earlier one (number " +
                                           std::to_string(content.first_number) + ")"});
    }
  }

  void judge_ledger(const Subject& subject) {
    if (subject.done == nullptr) {
      if (!subject.files.empty())
        disagree(subject.key, subject.files.front()->name +
                                  " lies at the destination, but the ledger does not call it done");
      return;
    }
    const LedgerFact& done = *subject.done;
    const auto file = std::ranges::find(subject.files, done.destination, &DestinationFile::name);
    if (file == subject.files.end())
      disagree(subject.key,
               "done in the ledger as " + done.destination + ", which is not at the destination");
    else if (!(*file)->content_digest.empty() && (*file)->content_digest != ledger::digest_of(done.digest))
      disagree(subject.key, "the ledger's digest is not that of " + done.destination);
  }

  void judge_order() {
    struct Delivery {
      const Subject* subject;
      std::uint64_t number, position;
    };
    // Ordered map: the findings' order must not depend on hashing.
    std::map<std::string_view, std::vector<Delivery>> by_ordering_key;
    for (Subject& subject : subjects_) {
      const Content* content = nullptr;
      std::uint64_t position = 0;
      if (sources_.arrivals) {
        if (subject.arrivals.empty()) continue;
        content = subject.content_of_bytes(subject.arrivals.front()->bytes_digest);
        position = subject.arrivals.front()->order;
      } else {
        if (subject.done == nullptr) continue;
        content = subject.content(subject.done->digest);
        position = subject.done->done_order;
      }
      if (content == nullptr) content = &subject.contents.front();
      by_ordering_key[content->ordering_key].push_back({&subject, content->first_number, position});
    }
    report_.ordering_keys = by_ordering_key.size();
    for (auto& [ordering_key, deliveries] : by_ordering_key) {
      std::ranges::sort(deliveries, {}, &Delivery::position);
      std::vector<std::uint64_t> numbers;
      for (const Delivery& delivery : deliveries) numbers.push_back(delivery.number);
      for (const std::size_t i : out_of_order(numbers))
        report_.reordered.push_back(
            {std::string(deliveries[i].subject->key),
             "number " + std::to_string(numbers[i]) + " of ordering key " + std::string(ordering_key) +
                 " arrived " + (i == 0 ? "first" : "after number " + std::to_string(numbers[i - 1])) +
                 (i + 1 == numbers.size() ? "" : ", before number " + std::to_string(numbers[i + 1]))});
    }
  }

  void judge_quarantine() {
    if (!sources_.quarantine) return;
    std::map<std::string_view, std::uint64_t> kept;
    for (const std::string& digest : *sources_.quarantine) ++kept[digest];
    report_.quarantined = 0;
    for (const IngestEntry& entry : sources_.entered) {
      if (entry.kind != EntryKind::malformed) continue;
      const auto at = kept.find(entry.bytes_digest);
      if (at != kept.end())
        ++*report_.quarantined;
      else
        report_.lost.push_back({entry.file, "malformed (" + described(entry) + ") and not in quarantine"});
    }
    for (const IngestEntry& entry : sources_.entered)
      if (entry.kind != EntryKind::malformed && kept.contains(entry.bytes_digest) &&
          !malformed_bytes_.contains(entry.bytes_digest))
        report_.unexpected.push_back(
            {entry.key, "a valid message (" + described(entry) + ") lies in quarantine"});
  }

  Subject* find(const std::string& key) {
    const auto at = by_key_.find(key);
    return at == by_key_.end() ? nullptr : &subjects_[at->second];
  }
  void disagree(std::string_view key, std::string what) {
    report_.disagreements.push_back({std::string(key), std::move(what)});
  }

  const AuditSources& sources_;
  AuditReport report_;
  std::vector<Subject> subjects_;  // in order of entering: all findings come out in this order
  std::vector<const IngestEntry*> first_entry_;
  std::unordered_map<std::string, std::size_t> by_key_;
  std::unordered_map<std::string, std::size_t> by_bytes_;
  std::unordered_map<std::string, const IngestEntry*> malformed_bytes_;
  std::unordered_map<std::string, std::ptrdiff_t> by_destination_;
  std::unordered_map<std::string, const DestinationFile*> destination_names_;
  std::unordered_set<std::string> arrived_names_;
};

}  // namespace

std::string_view text(OrderEvidence evidence) {
  constexpr std::array<std::string_view, 3> names{"arrivals", "ledger", "incomplete"};
  return names[static_cast<std::size_t>(evidence)];
}

AuditReport audit(const AuditSources& sources) {
  return Auditor(sources).run();
}

std::vector<std::size_t> out_of_order(const std::vector<std::uint64_t>& sequence) {
  // tails[n]: index of the smallest value that ends an increasing subsequence of length n + 1.
  constexpr std::size_t none = SIZE_MAX;
  std::vector<std::size_t> tails, before(sequence.size(), none);
  for (std::size_t i = 0; i < sequence.size(); ++i) {
    const auto at =
        std::ranges::lower_bound(tails, sequence[i], {}, [&](std::size_t t) { return sequence[t]; });
    if (at != tails.begin()) before[i] = *(at - 1);
    if (at == tails.end())
      tails.push_back(i);
    else
      *at = i;
  }
  std::vector<bool> kept(sequence.size(), false);
  for (std::size_t i = tails.empty() ? none : tails.back(); i != none; i = before[i]) kept[i] = true;
  std::vector<std::size_t> offenders;
  for (std::size_t i = 0; i < sequence.size(); ++i)
    if (!kept[i]) offenders.push_back(i);
  return offenders;
}

}  // namespace mainstay::drills
