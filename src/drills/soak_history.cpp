#include "drills/soak_history.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/assert.h"
#include "drills/tsv.h"

namespace mainstay::drills {
namespace {

constexpr std::array<std::string_view, 10> kind_names = {
    "queue", "sent", "published", "opened", "received", "settling", "settled", "ended", "left", "violated"};
constexpr std::array<std::string_view, 5> how_names = {"complete", "abandon", "release", "dead-letter",
                                                       "defer"};
constexpr std::array<std::string_view, 3> outcome_names = {"confirmed", "refused", "unknown"};

/// Writes or reads the members of a fact in their order on the line, so that both sides agree by
/// construction.
template <typename Field>
void fields_of(Fact& fact, Field&& field) {
  using Kind = Fact::Kind;
  switch (fact.kind) {
    case Kind::queue:
      field(fact.queue), field(fact.lock_ms), field(fact.deliveries_max), field(fact.dead_letter_on_expiry);
      field(fact.duplicate_detection), field(fact.requires_session);
      break;
    case Kind::sent:
      field(fact.queue), field(fact.id), field(fact.session), field(fact.order), field(fact.bytes);
      field(fact.checksum), field(fact.ttl_ms);
      break;
    case Kind::published:
      field(fact.id), field(fact.outcome), field(fact.note);
      break;
    case Kind::opened:
      field(fact.link), field(fact.queue), field(fact.dead_letter), field(fact.by_number);
      field(fact.session);
      field(fact.locked_until_ms);
      break;
    case Kind::received:
      field(fact.link), field(fact.delivery), field(fact.id), field(fact.sequence), field(fact.count);
      field(fact.enqueued_ms), field(fact.locked_until_ms), field(fact.bytes), field(fact.checksum);
      field(fact.claimed), field(fact.session), field(fact.note);
      break;
    case Kind::settling:
      field(fact.link), field(fact.delivery), field(fact.id), field(fact.how);
      break;
    case Kind::settled:
      field(fact.link), field(fact.delivery), field(fact.id), field(fact.how), field(fact.outcome);
      field(fact.note);
      break;
    case Kind::ended:
      field(fact.link), field(fact.note);
      break;
    case Kind::left:
      field(fact.queue), field(fact.dead_letter), field(fact.bytes);
      break;
    case Kind::violated:
      field(fact.note);
      break;
  }
}

struct Writer {
  std::vector<std::string>& to;
  void operator()(const std::string& text) { to.push_back(text); }
  void operator()(bool value) { to.emplace_back(value ? "1" : "0"); }
  void operator()(Fact::How how) { to.emplace_back(name_of(how)); }
  void operator()(Fact::Outcome outcome) { to.emplace_back(name_of(outcome)); }
  template <typename Number>
  void operator()(Number number) {
    to.push_back(fmt::format("{}", number));
  }
};

struct Reader {
  std::vector<std::string>& from;
  std::size_t at = 2;
  bool ok = true;

  std::string_view take() {
    if (at < from.size()) return from[at++];
    ok = false;
    return {};
  }
  void operator()(std::string& text) { text = take(); }
  void operator()(bool& value) { value = take() == "1"; }
  template <typename Enum, std::size_t count>
  void choose(Enum& value, const std::array<std::string_view, count>& names) {
    const auto found = std::find(names.begin(), names.end(), take());
    if (found == names.end()) {
      ok = false;
    } else {
      value = static_cast<Enum>(found - names.begin());
    }
  }
  void operator()(Fact::How& how) { choose(how, how_names); }
  void operator()(Fact::Outcome& outcome) { choose(outcome, outcome_names); }
  template <typename Number>
  void operator()(Number& number) {
    const std::string_view text = take();
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size()) ok = false;
  }
};

}  // namespace

std::int64_t wall_clock_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string_view name_of(Fact::How how) {
  return how_names[static_cast<std::size_t>(how)];
}
std::string_view name_of(Fact::Outcome outcome) {
  return outcome_names[static_cast<std::size_t>(outcome)];
}

void append_fact(std::string& to, const Fact& fact) {
  std::vector<std::string> texts = {std::string(kind_names[static_cast<std::size_t>(fact.kind)]),
                                    std::to_string(fact.at_us)};
  Fact copy = fact;
  fields_of(copy, Writer{texts});
  append_tsv_line(to, {texts.begin(), texts.end()});
}

Result<Fact, Failure> parse_fact(std::string_view line) {
  auto fields = split_tsv_line(line);
  if (!fields) return fields.error();
  Fact fact;
  Reader reader{*fields, 0};
  reader.choose(fact.kind, kind_names);
  reader(fact.at_us);
  if (reader.ok) fields_of(fact, reader);
  if (!reader.ok || reader.at != fields->size()) return Failure{"not a fact: '" + std::string(line) + "'"};
  return fact;
}

Result<FactJournal, Failure> FactJournal::create(const std::string& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return Failure{"cannot create " + path + ": " + std::strerror(errno)};
  return FactJournal(file, path);
}

FactJournal::FactJournal(FactJournal&& other) noexcept
    : file_(std::exchange(other.file_, -1)),
      path_(std::move(other.path_)),
      waiting_(std::move(other.waiting_)) {}

FactJournal::~FactJournal() {
  if (file_ < 0) return;
  flush();
  ::close(file_);
}

void FactJournal::add(Fact fact) {
  fact.at_us = wall_clock_us();
  append_fact(waiting_, fact);
}

void FactJournal::flush() {
  for (std::size_t written = 0; written < waiting_.size();) {
    const ssize_t now = ::write(file_, waiting_.data() + written, waiting_.size() - written);
    MS_ASSERT(now > 0 || errno == EINTR, "the evidence can be written");
    if (now > 0) written += static_cast<std::size_t>(now);
  }
  waiting_.clear();
}

Result<void, Failure> read_history(const std::string& directory,
                                   const std::function<void(const Fact&)>& each) {
  std::error_code error;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error))
    if (const std::string name = entry.path().filename();
        name.starts_with("facts-") && name.ends_with(".tsv"))
      paths.push_back(entry.path());
  if (error) return Failure{"cannot list " + directory + ": " + error.message()};
  if (paths.empty()) return Failure{directory + " holds no history: no file facts-*.tsv"};
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    std::ifstream in(path, std::ios::binary);
    if (!in) return Failure{"cannot read " + path};
    std::uint64_t number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      // A writer that was killed may leave half a line at the end of its file.
      if (in.eof()) break;
      const auto fact = parse_fact(line);
      if (!fact) return Failure{fmt::format("{}:{}: {}", path, number, fact.error().what)};
      each(*fact);
    }
  }
  return {};
}

}  // namespace mainstay::drills
