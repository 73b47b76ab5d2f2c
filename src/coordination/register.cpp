#include "coordination/register.h"

#include <fmt/format.h>

#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <optional>
#include <string_view>

#include "base/assert.h"

namespace mainstay::coordination {

namespace json = boost::json;

namespace {

constexpr std::uint64_t kFormat = 1;
constexpr std::array<std::string_view, 3> kPhases = {"active", "switching", "recovering"};

/// The rule of compare_and_swap() that does not depend on where the record is kept.
std::optional<RegisterError> forbidden(const RegionRecord& stored, const RegionRecord& next) {
  if (next.term < stored.term) {
    return RegisterError{"the register holds term " + std::to_string(stored.term.value) +
                         " and was asked to go back to term " + std::to_string(next.term.value) +
                         "; terms never go back"};
  }
  if (stored.revision != 0 && next.term == stored.term && next.region != stored.region) {
    return RegisterError{"term " + std::to_string(stored.term.value) + " belongs to region " + stored.region +
                         "; region " + next.region + " needs a higher one"};
  }
  return std::nullopt;
}

RegisterError not_a_record(const std::string& why) {
  return {"the register holds something that is no record of a region: " + why};
}

}  // namespace

void throw_exception_from_error(const RegisterError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

std::string encode_region_record(const RegionRecord& record) {
  return json::serialize(json::object{{"format", kFormat},
                                      {"term", record.term.value},
                                      {"region", record.region},
                                      {"phase", kPhases.at(static_cast<std::size_t>(record.phase))},
                                      {"by", record.by},
                                      {"reason", record.reason},
                                      {"at_ms", record.at.ms},
                                      {"fork_lsn", record.fork_lsn.value},
                                      {"fork_hash", fmt::format("{:016x}", record.fork_hash)}});
}

Result<RegionRecord, RegisterError> decode_region_record(const Stored& stored) {
  RegionRecord record;
  if (stored.revision == 0) return record;
  // Somebody else's words may be anything; Boost.JSON's throwing access ends here.
  try {
    const json::value value = json::parse(stored.value);
    if (const auto format = value.at("format").to_number<std::uint64_t>(); format > kFormat) {
      return not_a_record("format " + std::to_string(format) + ", this program knows up to " +
                          std::to_string(kFormat) + "; use the newer program");
    }
    const std::string_view phase = value.at("phase").as_string();
    const auto known = std::find(kPhases.begin(), kPhases.end(), phase);
    if (known == kPhases.end())
      return not_a_record("phase '" + std::string(phase) + "' is not known; use the newer program");
    const std::string_view hash = value.at("fork_hash").as_string();
    const auto [end, error] = std::from_chars(hash.data(), hash.data() + hash.size(), record.fork_hash, 16);
    if (error != std::errc{} || end != hash.data() + hash.size())
      return not_a_record("fork_hash '" + std::string(hash) + "' is not hexadecimal");
    record.revision = stored.revision;
    record.term = RegionTerm{value.at("term").to_number<std::uint64_t>()};
    record.region = value.at("region").as_string();
    record.phase = static_cast<Phase>(known - kPhases.begin());
    record.by = value.at("by").as_string();
    record.reason = value.at("reason").as_string();
    record.at = WallTime{value.at("at_ms").to_number<std::int64_t>()};
    record.fork_lsn = Lsn{value.at("fork_lsn").to_number<std::uint64_t>()};
  } catch (const std::exception& problem) {
    return not_a_record(problem.what());
  }
  if (record.region.empty()) return not_a_record("it names no region");
  return record;
}

Result<RegionRecord, RegisterError> Register::read() {
  const auto stored = store_->read();
  if (!stored) return stored.error();
  return decode_region_record(*stored);
}

Result<CasResult, RegisterError> Register::compare_and_swap(std::uint64_t expected_revision,
                                                            const RegionRecord& next) {
  const std::string text = encode_region_record(next);
  // A reason in another encoding than UTF-8 would leave a record that nobody can read.
  if (const auto readable = decode_region_record({1, text}); !readable) {
    return RegisterError{"the register was asked to store what it could not read back: " +
                         readable.error().what};
  }
  const auto swapped = store_->compare_and_swap(expected_revision, text,
                                                [&](const Stored& stored) -> std::optional<RegisterError> {
                                                  const auto there = decode_region_record(stored);
                                                  if (!there) return there.error();
                                                  return forbidden(*there, next);
                                                });
  if (!swapped) return swapped.error();
  if (swapped->outcome == CasOutcome::unknown) return CasResult{CasOutcome::unknown, {}};
  auto current = decode_region_record(swapped->current);
  if (!current) return current.error();
  return CasResult{swapped->outcome, std::move(*current)};
}

}  // namespace mainstay::coordination
