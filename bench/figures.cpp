#include "figures.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <cstdio>

namespace mainstay::bench {
namespace {

namespace json = boost::json;
constexpr const char* kFormat = "mainstay-bench-1";

/// Columns that a text takes on a terminal: code points, which for the signs used here (µ, ≥, …) is the same.
std::size_t columns(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}
std::string padded(const std::string& text, std::size_t width, bool to_the_right) {
  const std::size_t have = columns(text);
  const std::string fill(width > have ? width - have : 0, ' ');
  return to_the_right ? fill + text : text + fill;
}

std::string spread_text(const Samples& samples) {
  if (samples.values.size() < 2) return {};
  return readable(samples.low()) + " … " + readable(samples.high());
}

std::string text_of(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}
std::optional<double> number_of(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return {};
  return value->to_number<double>();
}

std::optional<Figure> figure_of(const json::value& from) {
  const json::object* object = from.if_object();
  if (object == nullptr) return {};
  Figure figure;
  figure.id = text_of(*object, "id");
  figure.what = text_of(*object, "what");
  figure.unit = text_of(*object, "unit");
  figure.note = text_of(*object, "note");
  figure.at_least = number_of(*object, "at_least");
  figure.at_most = number_of(*object, "at_most");
  const json::value* samples = object->if_contains("samples");
  if (figure.id.empty() || samples == nullptr || !samples->is_array()) return {};
  for (const json::value& sample : samples->get_array()) {
    if (!sample.is_number()) return {};
    figure.samples.values.push_back(sample.to_number<double>());
  }
  return figure;
}

std::optional<Record> record_of(const json::value& from) {
  const json::object* object = from.if_object();
  if (object == nullptr) return {};
  Record record;
  record.benchmark = text_of(*object, "benchmark");
  record.command = text_of(*object, "command");
  record.environment = text_of(*object, "environment");
  record.trouble = text_of(*object, "trouble");
  const json::value* figures = object->if_contains("figures");
  if (record.benchmark.empty() || figures == nullptr || !figures->is_array()) return {};
  for (const json::value& each : figures->get_array()) {
    auto figure = figure_of(each);
    if (!figure) return {};
    record.figures.push_back(std::move(*figure));
  }
  return record;
}

}  // namespace

double Samples::median() const {
  if (values.empty()) return 0;
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
double Samples::low() const {
  return values.empty() ? 0 : *std::min_element(values.begin(), values.end());
}
double Samples::high() const {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

Verdict Figure::verdict() const {
  if (!at_least && !at_most) return Verdict::only_shown;
  const bool measured =
      !samples.values.empty() && std::all_of(samples.values.begin(), samples.values.end(),
                                             [](double value) { return std::isfinite(value); });
  if (!measured) return Verdict::missed;
  const double median = samples.median();
  if (at_least && median < *at_least) return Verdict::missed;
  if (at_most && median > *at_most) return Verdict::missed;
  return Verdict::reached;
}

std::string readable(double number) {
  if (!std::isfinite(number)) return "not a number";
  const double size = std::fabs(number);
  char text[64];
  if (size >= 1000) {
    std::snprintf(text, sizeof text, "%.0f", number);
    std::string out = text;
    const std::size_t first = out[0] == '-' ? 1 : 0;
    for (std::size_t at = out.size(); at > first + 3;) out.insert(at -= 3, ",");
    return out;
  }
  int decimals = 0;
  if (size > 0) {
    for (double scaled = size; scaled < 100 && decimals < 6; scaled *= 10) ++decimals;
  }
  std::snprintf(text, sizeof text, "%.*f", decimals, number);
  std::string out = text;
  if (out.find('.') != std::string::npos) {
    out.erase(out.find_last_not_of('0') + 1);
    if (out.back() == '.') out.pop_back();
  }
  return out;
}

std::string target_text(const Figure& figure) {
  std::string out;
  if (figure.at_least) out = "≥ " + readable(*figure.at_least);
  if (figure.at_most) out += (out.empty() ? "≤ " : ", ≤ ") + readable(*figure.at_most);
  return out;
}

std::string verdict_text(Verdict verdict) {
  switch (verdict) {
    case Verdict::reached:
      return "reached";
    case Verdict::missed:
      return "MISSED";
    case Verdict::only_shown:
      break;
  }
  return {};
}

const Figure* find_figure(const std::vector<Record>& records, const std::string& id) {
  for (const Record& record : records) {
    for (const Figure& figure : record.figures) {
      if (figure.id == id) return &figure;
    }
  }
  return nullptr;
}

std::string table(const std::vector<Record>& records) {
  constexpr std::size_t kColumns = 6;
  using Row = std::vector<std::string>;
  std::vector<Row> rows = {{"figure", "median", "unit", "spread", "target", "verdict"}};
  std::vector<std::string> notes;
  for (const Record& record : records) {
    for (const Figure& figure : record.figures) {
      std::string what = figure.what.empty() ? figure.id : figure.what;
      if (!figure.note.empty()) {
        const auto seen = std::find(notes.begin(), notes.end(), figure.note);
        what += " [" + std::to_string(seen - notes.begin() + 1) + "]";
        if (seen == notes.end()) notes.push_back(figure.note);
      }
      rows.push_back(
          {what, figure.samples.values.empty() ? "not measured" : readable(figure.samples.median()),
           figure.unit, spread_text(figure.samples), target_text(figure), verdict_text(figure.verdict())});
    }
  }
  std::size_t widths[kColumns] = {};
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < kColumns; ++i) widths[i] = std::max(widths[i], columns(row[i]));
  }
  std::string out;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < kColumns; ++i) line += padded(row[i], widths[i], i == 1) + "  ";
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  for (std::size_t i = 0; i < notes.size(); ++i) out += "[" + std::to_string(i + 1) + "] " + notes[i] + "\n";
  for (const Record& record : records) {
    if (!record.trouble.empty()) out += record.benchmark + " is not whole: " + record.trouble + "\n";
  }
  return out;
}

std::string to_json(const std::vector<Record>& records) {
  json::array out;
  for (const Record& record : records) {
    json::array figures;
    for (const Figure& figure : record.figures) {
      json::object object{{"id", figure.id}, {"what", figure.what}, {"unit", figure.unit}};
      json::array samples;
      for (const double value : figure.samples.values) {
        // JSON has no word for infinity; a text makes the file unreadable here, which is better than a wrong
        // number.
        if (std::isfinite(value)) {
          samples.emplace_back(value);
        } else {
          samples.emplace_back("not a number");
        }
      }
      object["samples"] = std::move(samples);
      if (figure.at_least) object["at_least"] = *figure.at_least;
      if (figure.at_most) object["at_most"] = *figure.at_most;
      if (!figure.note.empty()) object["note"] = figure.note;
      figures.push_back(std::move(object));
    }
    json::object object{{"benchmark", record.benchmark},
                        {"command", record.command},
                        {"environment", record.environment},
                        {"figures", std::move(figures)}};
    if (!record.trouble.empty()) object["trouble"] = record.trouble;
    out.push_back(std::move(object));
  }
  return json::serialize(json::object{{"format", kFormat}, {"records", std::move(out)}}) + "\n";
}

std::optional<std::vector<Record>> from_json(const std::string& text) {
  boost::system::error_code error;
  const json::value parsed = json::parse(text, error);
  if (error || !parsed.is_object() || text_of(parsed.get_object(), "format") != kFormat) return {};
  const json::value* records = parsed.get_object().if_contains("records");
  if (records == nullptr || !records->is_array()) return {};
  std::vector<Record> out;
  for (const json::value& each : records->get_array()) {
    auto record = record_of(each);
    if (!record) return {};
    out.push_back(std::move(*record));
  }
  return out;
}

int exit_status(const std::vector<Record>& records) {
  int status = 0;
  for (const Record& record : records) {
    if (!record.trouble.empty()) return 2;
    for (const Figure& figure : record.figures) {
      if (figure.verdict() == Verdict::missed) status = 1;
    }
  }
  return status;
}

}  // namespace mainstay::bench
