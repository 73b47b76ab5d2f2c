#include "sim/log_checker.h"

#include <algorithm>

#include "base/checksum.h"

namespace mainstay::sim {

void LogChecker::durable(const std::string& node, BytesView raw) {
  auto& log = logs_[node];
  // Read by offset, not with the journal's decoder: header layout of docs/formats/journal.md.
  while (raw.size() >= 48) {
    const auto body = load_le<std::uint32_t>(raw.data() + 4);
    const std::size_t bytes = (48 + std::size_t{body} + 7) / 8 * 8;
    if (bytes > raw.size()) break;
    const auto checksum = load_le<std::uint64_t>(raw.data() + 8);
    const auto previous = load_le<std::uint64_t>(raw.data() + 16);
    const auto lsn = load_le<std::uint64_t>(raw.data() + 24);
    if (lsn != log.size() + 1 || previous != (log.empty() ? 0 : log.back().checksum)) {
      report_.violated("log: " + node + " stored LSN " + std::to_string(lsn) + " after LSN " +
                       std::to_string(log.size()) + ", or with another predecessor");
      return;
    }
    log.push_back({checksum, checksum64(raw.first(bytes))});
    constexpr std::uint16_t kForked = 3;  // its body: version, term, … (docs/formats/leadership.md)
    if (load_le<std::uint16_t>(raw.data() + 40) == kForked && body >= 9) {
      publishes_.forked(RegionTerm{load_le<std::uint64_t>(raw.data() + 49)}, Lsn{lsn - 1});
    }
    raw = raw.subspan(bytes);
  }
  if (!raw.empty()) report_.violated("log: " + node + " stored something that is no whole record");
}

void LogChecker::state(const std::string& node, journal::LogPosition at, std::uint64_t hash) {
  const auto [entry, fresh] = states_.try_emplace({at.lsn.value, at.hash}, node, hash);
  if (!fresh && entry->second.second != hash) {
    report_.violated("state: " + node + " and " + entry->second.first + " differ after LSN " +
                     std::to_string(at.lsn.value) + " of one log");
  }
}

void LogChecker::recovered(const std::string& node, journal::LogPosition end) {
  auto& log = logs_[node];
  if (end.lsn.value < log.size()) {
    report_.violated("durability: " + node + " had LSN " + std::to_string(log.size()) +
                     " durable and restarted with LSN " + std::to_string(end.lsn.value));
    log.resize(end.lsn.value);
  } else if (end.lsn.value == log.size() && !log.empty() && log.back().checksum != end.hash) {
    report_.violated("durability: " + node + " restarted with another record at LSN " +
                     std::to_string(end.lsn.value));
  }
}

void LogChecker::acknowledged(const std::string& node, journal::LogPosition durable) {
  const auto& log = logs_[node];
  if (durable.lsn.value > log.size()) {
    report_.violated("acknowledgement: " + node + " acknowledged LSN " + std::to_string(durable.lsn.value) +
                     " with LSN " + std::to_string(log.size()) + " durable");
  }
}

void LogChecker::shown(const std::string& node, Lsn lsn) {
  if (lsn.value > logs_[node].size()) {
    report_.violated("commit: " + node + " showed what rests on LSN " + std::to_string(lsn.value) +
                     " with LSN " + std::to_string(logs_[node].size()) + " durable");
  }
}

void LogChecker::shown_globally(const std::string& node, Lsn lsn) {
  const auto& own = logs_[node];
  const bool elsewhere = std::any_of(logs_.begin(), logs_.end(), [&](const auto& entry) {
    const auto& [name, log] = entry;
    return name != node && lsn.value >= 1 && lsn.value <= log.size() && lsn.value <= own.size() &&
           log[lsn.value - 1].content == own[lsn.value - 1].content;
  });
  if (!elsewhere) {
    report_.violated("confirm: " + node + " confirmed LSN " + std::to_string(lsn.value) +
                     " as durable in both regions, and it is in no other log");
  }
}

void LogChecker::same_history(const std::string& live, const std::string& follower) {
  const auto& a = logs_[live];
  const auto& b = logs_[follower];
  if (b.size() > a.size()) {
    report_.violated("prefix: " + follower + " has more records than the live " + live);
  }
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (a[i].content != b[i].content) {
      report_.violated("prefix: " + live + " and " + follower + " differ at LSN " + std::to_string(i + 1));
      return;
    }
  }
}

std::uint64_t LogChecker::digest() const {
  std::uint64_t digest = 0;
  for (const auto& [node, log] : logs_) {
    digest = mix64(digest, log.size());
    if (!log.empty()) digest = mix64(digest, log.back().checksum);
  }
  return digest;
}

}  // namespace mainstay::sim
