#include "report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/escape.h"

namespace mainstay::bench {
namespace {

std::string trimmed(const std::string& text) {
  const std::size_t from = text.find_first_not_of(' ');
  return from == std::string::npos ? std::string() : text.substr(from);
}
/// A cell of a Markdown table.
std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}
std::string with_unit(double value, const std::string& unit) {
  return readable(value) + (unit.empty() || unit == "ratio" ? "" : " " + unit);
}

/// How many times better than its target a value is; 1 = just reached.
double times_better(const Figure& figure, double value) {
  if (value <= 0) return figure.at_least ? 0 : 1e9;
  return figure.at_least ? value / *figure.at_least : *figure.at_most / value;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

}  // namespace

std::string markdown(const std::vector<Record>& records) {
  std::string out;
  std::vector<std::string> environments;
  for (const Record& record : records) {
    if (std::find(environments.begin(), environments.end(), record.environment) == environments.end())
      environments.push_back(record.environment);
  }
  for (const std::string& environment : environments) {
    if (!environment.empty()) out += "```\n" + environment + "```\n\n";
  }
  out += "![Each figure against its target](performance.svg)\n";
  for (const Record& record : records) {
    out += "\n### " + record.benchmark + "\n\n";
    if (!record.command.empty()) out += "`" + record.command + "`\n\n";
    if (!record.trouble.empty()) out += "Not whole: " + cell(record.trouble) + "\n\n";
    out += "| figure | id | median | spread | target | verdict |\n|---|---|---|---|---|---|\n";
    std::vector<std::string> notes;
    for (const Figure& figure : record.figures) {
      std::string what = cell(trimmed(figure.what));
      if (!figure.note.empty()) {
        const auto seen = std::find(notes.begin(), notes.end(), figure.note);
        const auto place = static_cast<std::size_t>(seen - notes.begin()) + 1;
        if (seen == notes.end()) notes.push_back(figure.note);
        what += " (" + std::to_string(place) + ")";
      }
      const bool one = figure.samples.values.size() < 2;
      out +=
          "| " + what + " | " + figure.id + " | " +
          (figure.samples.values.empty() ? "not measured" : with_unit(figure.samples.median(), figure.unit)) +
          " | " + (one ? "" : readable(figure.samples.low()) + " … " + readable(figure.samples.high())) +
          " | " + target_text(figure) + " | " + verdict_text(figure.verdict()) + " |\n";
    }
    for (std::size_t i = 0; i < notes.size(); ++i)
      out += "\n(" + std::to_string(i + 1) + ") " + notes[i] + "\n";
  }
  return out;
}

std::optional<std::string> with_generated(const std::string& page, const std::string& generated) {
  const std::string begin = kGeneratedBegin;
  const std::size_t from = page.find(begin);
  if (from == std::string::npos) return {};
  const std::size_t to = page.find(kGeneratedEnd, from);
  if (to == std::string::npos) return {};
  return page.substr(0, from + begin.size()) + "\n\n" + generated + "\n" + page.substr(to);
}

std::string chart_svg(const std::vector<Record>& records) {
  struct Bar {
    std::string label, value;
    double low, middle, high;
    Verdict verdict;
  };
  std::vector<Bar> bars;
  for (const Record& record : records) {
    for (const Figure& figure : record.figures) {
      if (figure.verdict() == Verdict::only_shown) continue;
      const bool measured = !figure.samples.values.empty();
      double a = measured ? times_better(figure, figure.samples.low()) : 0;
      double b = measured ? times_better(figure, figure.samples.high()) : 0;
      if (a > b) std::swap(a, b);
      bars.push_back({record.benchmark + ": " + trimmed(figure.what),
                      (measured ? with_unit(figure.samples.median(), figure.unit) : "not measured") + " (" +
                          target_text(figure) + ")",
                      a, measured ? times_better(figure, figure.samples.median()) : 0, b, figure.verdict()});
    }
  }
  constexpr double kLabel = 470, kScale = 330, kValue = 250, kRow = 22, kTop = 58;
  constexpr double kDecades = 2;  // one to the left of the target, one to the right
  const auto x = [&](double times) {
    const double at = times <= 0 ? -1 : std::clamp(std::log10(times), -1.0, 1.0);
    return kLabel + (at + 1) / kDecades * kScale;
  };
  const double width = kLabel + kScale + kValue, height = kTop + kRow * static_cast<double>(bars.size()) + 16;
  std::string out =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + number(width) + "\" height=\"" + number(height) +
      "\" viewBox=\"0 0 " + number(width) + " " + number(height) +
      "\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n"
      "<title>Each figure against its target</title>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
      "<text x=\"10\" y=\"20\" font-size=\"14\" font-weight=\"bold\" fill=\"#222\">Measured against "
      "target: to the right of the line is better</text>\n";
  for (const auto& [times, label] : {std::pair{0.1, "10× short"},
                                     {0.5, "2× short"},
                                     {1.0, "target"},
                                     {2.0, "2× better"},
                                     {10.0, "10× better"}}) {
    out += "<line x1=\"" + number(x(times)) + "\" y1=\"" + number(kTop - 8) + "\" x2=\"" + number(x(times)) +
           "\" y2=\"" + number(height - 12) + "\" stroke=\"" + (times == 1.0 ? "#222" : "#ddd") +
           "\"/>\n<text x=\"" + number(x(times)) + "\" y=\"" + number(kTop - 14) +
           "\" text-anchor=\"middle\" font-size=\"10\" fill=\"#555\">" + label + "</text>\n";
  }
  double y = kTop;
  for (const Bar& bar : bars) {
    const double from = std::min(x(1), x(bar.middle)), to = std::max(x(1), x(bar.middle));
    const std::string colour = bar.verdict == Verdict::reached ? "#2b7a4b" : "#b3402a";
    out +=
        "<text x=\"10\" y=\"" + number(y + 14) + "\" fill=\"#222\">" + escaped_xml(bar.label) + "</text>\n";
    out += "<rect x=\"" + number(from) + "\" y=\"" + number(y + 3) + "\" width=\"" +
           number(std::max(to - from, 1.5)) + "\" height=\"" + number(kRow - 8) + "\" fill=\"" + colour +
           "\"/>\n";
    if (bar.high > bar.low)
      out += "<line x1=\"" + number(x(bar.low)) + "\" y1=\"" + number(y + 10) + "\" x2=\"" +
             number(x(bar.high)) + "\" y2=\"" + number(y + 10) + "\" stroke=\"#222\"/>\n";
    out += "<text x=\"" + number(kLabel + kScale + 10) + "\" y=\"" + number(y + 14) + "\" fill=\"#222\">" +
           escaped_xml(bar.value) + "</text>\n";
    y += kRow;
  }
  return out + "</svg>\n";
}

}  // namespace mainstay::bench
