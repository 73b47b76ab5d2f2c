#include "capacity/measurements.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <map>

namespace mainstay::capacity {
namespace {

namespace json = boost::json;

/// Medians of one benchmark run, by figure.
using Medians = std::map<std::string, double>;

std::optional<double> median(const json::value& samples) {
  if (!samples.is_array() || samples.get_array().empty()) return {};
  std::vector<double> values;
  for (const json::value& sample : samples.get_array()) {
    if (!sample.is_number()) return {};
    values.push_back(sample.to_number<double>());
  }
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  const double middle = values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return std::isfinite(middle) ? std::optional(middle) : std::nullopt;
}

std::optional<double> find(const Medians& in, const char* id) {
  const auto at = in.find(id);
  return at == in.end() ? std::nullopt : std::optional(at->second);
}
/// A figure that is divided by, or that must be there at all, is positive.
std::optional<double> positive(const Medians& in, const char* id) {
  const auto value = find(in, id);
  return value && *value > 0 ? value : std::nullopt;
}

void put(std::vector<SizePoint>& sizes, const SizePoint& point) {
  const auto same = std::find_if(sizes.begin(), sizes.end(), [&](const SizePoint& other) {
    return other.message_bytes == point.message_bytes;
  });
  if (same != sizes.end()) {
    *same = point;
  } else {
    sizes.push_back(point);
  }
}

template <class T>
void take(std::optional<T>& into, const std::optional<T>& from) {
  if (from) into = from;
}

void add(Measurements& to, const Medians& m) {
  if (const auto rate = positive(m, "publish.rate"), bytes = positive(m, "publish.message_bytes");
      rate && bytes) {
    SizePoint point{*bytes, *rate, positive(m, "both.rate"), positive(m, "both.server_cpu_us"),
                    positive(m, "both.syncs_per_message")};
    if (!point.cpu_us) point.cpu_us = positive(m, "publish.server_cpu_us");
    put(to.sizes, point);
  }
  if (const auto mib = positive(m, "large.rate"), bytes = positive(m, "large.message_bytes"); mib && bytes)
    put(to.sizes, {*bytes, *mib * 1048576 / *bytes, {}, {}, {}});
  take(to.cores, positive(m, "publish.cores"));
  // The better of the two ways in which the disk was measured.
  for (const auto& [id, bytes_each] :
       {std::pair{"large.bare_rate", 1048576.0}, {"journal.bare_rate_512", 1024.0}}) {
    if (const auto rate = positive(m, id))
      to.disk_bytes_per_second = std::max(to.disk_bytes_per_second.value_or(0), *rate * bytes_each);
  }
  if (const auto sync_us = positive(m, "latency.sync_p50_us")) to.syncs_per_second = 1e6 / *sync_us;
  take(to.syncs_per_second, positive(m, "journal.bare_rate_1"));
  const auto idle = positive(m, "backlog.idle_mib"), first = find(m, "backlog.memory_1m_mib"),
             first_at = positive(m, "backlog.shallow_messages"), deep = positive(m, "backlog.rss_10m_mib"),
             deep_at = positive(m, "backlog.deep_messages");
  if (idle && first && first_at && deep && deep_at && *deep_at > *first_at)
    to.memory = {{0, *idle}, {*first_at, *idle + *first}, {*deep_at, *deep}};
  take(to.drain_per_second, positive(m, "backlog.drain_rate"));
  take(to.memory_per_queue_kib, find(m, "many.memory_per_queue_kib"));
  take(to.memory_per_connection_kib, find(m, "many.memory_per_connection_kib"));
}

std::optional<Medians> medians_of(const json::object& record) {
  const json::value* figures = record.if_contains("figures");
  if (figures == nullptr || !figures->is_array()) return {};
  Medians out;
  for (const json::value& figure : figures->get_array()) {
    const json::object* object = figure.if_object();
    const json::value* id = object != nullptr ? object->if_contains("id") : nullptr;
    const json::value* samples = object != nullptr ? object->if_contains("samples") : nullptr;
    if (id == nullptr || !id->is_string() || samples == nullptr) return {};
    if (const auto value = median(*samples)) out[std::string(id->get_string())] = *value;
  }
  return out;
}

}  // namespace

Result<Measurements, Failure> read_measurements(const std::vector<RecordFile>& files) {
  Measurements out;
  for (const RecordFile& file : files) {
    const Failure not_a_record{
        file.name + " is not a file of benchmark records: make one with ./dev bench NAME --json FILE"};
    boost::system::error_code error;
    const json::value parsed = json::parse(file.text, error);
    const json::object* object = error ? nullptr : parsed.if_object();
    const json::value* format = object != nullptr ? object->if_contains("format") : nullptr;
    const json::value* records = object != nullptr ? object->if_contains("records") : nullptr;
    if (format == nullptr || *format != json::value("mainstay-bench-1") || records == nullptr ||
        !records->is_array())
      return not_a_record;
    for (const json::value& record : records->get_array()) {
      const auto medians = record.is_object() ? medians_of(record.get_object()) : std::nullopt;
      if (!medians) return not_a_record;
      add(out, *medians);
      const json::value* environment = record.get_object().if_contains("environment");
      if (environment == nullptr || !environment->is_string()) continue;
      std::string text(environment->get_string());
      if (!text.empty() &&
          std::find(out.environments.begin(), out.environments.end(), text) == out.environments.end())
        out.environments.push_back(std::move(text));
    }
  }
  if (out.sizes.empty())
    return Failure{"the records hold no throughput: add one of ./dev bench publish --json FILE"};
  std::sort(out.sizes.begin(), out.sizes.end(),
            [](const SizePoint& a, const SizePoint& b) { return a.message_bytes < b.message_bytes; });
  return out;
}

}  // namespace mainstay::capacity
