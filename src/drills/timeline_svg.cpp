#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/escape.h"
#include "drills/figures.h"
#include "drills/report.h"

namespace mainstay::drills {
namespace {

// One coordinate system for everything, in the SVG's own units (scaled to the page's width).
constexpr double width = 1000, left = 62, right = 16;
constexpr double plot_width = width - left - right;
constexpr double label_row_height = 17, rates_height = 230, lag_height = 90, between = 34, axis_height = 26;
constexpr std::size_t bins_max = 400;
constexpr double bin_s_min = 0.1;

struct Bin {
  double from_s{};
  double in_per_s{}, out_per_s{};
  double lag_records{};
  bool lag_known = false;
};

/// Rates over equal steps of time; totals in between samples are interpolated.
std::vector<Bin> bins_of(const std::vector<Sample>& samples, double end_s, double bin_s) {
  const auto total_at = [&](double at_s, std::uint64_t Sample::*total) {
    const auto after = std::ranges::lower_bound(samples, at_s, {}, &Sample::at_s);
    if (after == samples.end()) return static_cast<double>(samples.back().*total);
    if (after == samples.begin())
      return after->at_s > 0 && at_s <= 0 ? 0.0 : static_cast<double>((*after).*total);
    const Sample& before = *(after - 1);
    const double part = (at_s - before.at_s) / std::max(1e-9, after->at_s - before.at_s);
    return static_cast<double>(before.*total) +
           part * (static_cast<double>((*after).*total) - static_cast<double>(before.*total));
  };
  std::vector<Bin> bins;
  for (double from = 0; from < end_s; from += bin_s) {
    Bin& bin = bins.emplace_back();
    bin.from_s = from;
    if (samples.empty()) continue;
    const double to = std::min(from + bin_s, end_s), span = std::max(to - from, 1e-3);
    bin.in_per_s = (total_at(to, &Sample::entered) - total_at(from, &Sample::entered)) / span;
    bin.out_per_s = (total_at(to, &Sample::delivered) - total_at(from, &Sample::delivered)) / span;
    for (const Sample& sample : samples)
      if (sample.at_s >= from && sample.at_s < to && sample.lag_records) {
        bin.lag_known = true;
        bin.lag_records = std::max(bin.lag_records, static_cast<double>(*sample.lag_records));
      }
  }
  return bins;
}

/// 1, 2 or 5 times a power of ten, so that `count` steps or a few more cover `range`.
double step_for(double range, int count) {
  const double rough = std::max(range, 1e-6) / count, power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (rough <= factor * power * 1.0001) return factor * power;
  return 10 * power;
}

std::string axis_number(double value) {
  if (value >= 1000) return grouped(static_cast<std::uint64_t>(std::llround(value)));
  return fmt::format("{:g}", value);
}

struct Panel {
  double top{}, height{}, value_max{};
  [[nodiscard]] double y(double value) const { return top + height * (1 - std::min(value / value_max, 1.0)); }
};

class Drawing {
 public:
  explicit Drawing(const DrillReport& report) : report_(report) {
    end_s_ = std::max(report.duration_s, 1.0);
    if (!report.samples.empty()) end_s_ = std::max(end_s_, report.samples.back().at_s);
    bin_s_ = bin_s_min;
    while (end_s_ / bin_s_ > static_cast<double>(bins_max)) bin_s_ *= 2;
    bins_ = bins_of(report.samples, end_s_, bin_s_);
  }

  std::string draw() {
    place_marks();
    double rate_max = 1, lag_max = 1;
    for (const Bin& bin : bins_) {
      rate_max = std::max({rate_max, bin.in_per_s, bin.out_per_s});
      lag_max = std::max(lag_max, bin.lag_records);
    }
    const double rate_step = step_for(rate_max, 5), lag_step = std::max(1.0, step_for(lag_max, 2));
    rates_ = {.top = 26 + static_cast<double>(mark_rows_) * label_row_height,
              .height = rates_height,
              .value_max = std::ceil(rate_max / rate_step) * rate_step};
    lag_ = {.top = rates_.top + rates_height + between,
            .height = lag_height,
            .value_max = std::ceil(lag_max / lag_step) * lag_step};
    const double height = lag_.top + lag_height + axis_height + 8;
    out_ += fmt::format(
        "<svg id=\"timeline\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"Messages per second in "
        "and out, "
        "replication lag, and what happened when\">\n",
        width, height);
    gap();
    grid(rates_, rate_step, "messages per second");
    grid(lag_, lag_step, "log records not yet at the standby");
    time_axis();
    area(&Bin::in_per_s, rates_, "in", false);
    area(&Bin::out_per_s, rates_, "out", false);
    area(&Bin::lag_records, lag_, "lag", true);
    no_standby();
    marks();
    out_ += fmt::format("<line id=\"cursor\" y1=\"{:.1f}\" y2=\"{:.1f}\" x1=\"0\" x2=\"0\"/>\n</svg>\n",
                        rates_.top, lag_.top + lag_height);
    return std::move(out_);
  }

 private:
  [[nodiscard]] double x(double at_s) const {
    return left + plot_width * std::clamp(at_s / end_s_, 0.0, 1.0);
  }

  /// Labels go into the first row above the plot where they do not touch another one.
  void place_marks() {
    std::vector<double> row_ends;
    for (const Mark& mark : report_.marks) {
      if (mark.kind == MarkKind::process_kill) {  // there are many of them: lines without labels
        placed_.push_back({0, false});
        continue;
      }
      const double length = 7.0 * static_cast<double>(mark.text.size()) + 12;
      double from = x(mark.at_s) + 5;
      const bool turned = from + length > width - right;
      if (turned) from = x(mark.at_s) - 5 - length;
      std::size_t row = 0;
      while (row < row_ends.size() && row_ends[row] > from) ++row;
      if (row == row_ends.size()) row_ends.push_back(0);
      row_ends[row] = std::max(row_ends[row], from + length);
      placed_.push_back({row, turned});
    }
    mark_rows_ = std::max<std::size_t>(row_ends.size(), 1);
  }

  /// P14: the time without deliveries, visible at a glance.
  void gap() {
    const auto kill = std::ranges::find(report_.marks, MarkKind::kill, &Mark::kind);
    if (kill == report_.marks.end()) return;
    const auto first = std::ranges::find(report_.marks, MarkKind::first_delivery, &Mark::kind);
    const double to = first == report_.marks.end() ? end_s_ : first->at_s;
    out_ += fmt::format(
        "<rect class=\"gap\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"><title>no delivery "
        "for "
        "{}</title></rect>\n",
        x(kill->at_s), rates_.top, std::max(x(to) - x(kill->at_s), 1.0), lag_.top + lag_height - rates_.top,
        readable_seconds(to - kill->at_s));
  }

  void grid(const Panel& panel, double step, std::string_view title) {
    for (double value = 0; value <= panel.value_max * 1.0001; value += step)
      out_ += fmt::format(
          "<line class=\"{}\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text class=\"tick\" "
          "x=\"{:.1f}\" "
          "y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n",
          value == 0 ? "base" : "grid", left, width - right, panel.y(value), panel.y(value), left - 8,
          panel.y(value) + 4, axis_number(value));
    out_ += fmt::format("<text class=\"title\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", left, panel.top - 9,
                        title);
  }

  void time_axis() {
    const double step = step_for(end_s_, 10), y = lag_.top + lag_height;
    for (double at = 0; at <= end_s_ * 1.0001; at += step)
      out_ +=
          fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:g} s</text>\n",
                      x(at), y + 18, at);
  }

  void area(double Bin::*value, const Panel& panel, std::string_view name, bool only_known) {
    std::string line, fill;
    bool open = false;
    const auto close = [&] {
      if (open) fill += fmt::format("V{:.1f}Z", panel.y(0));
      open = false;
    };
    for (const Bin& bin : bins_) {
      if (only_known && !bin.lag_known) {
        close();
        continue;
      }
      const double y = panel.y(bin.*value), from = x(bin.from_s), to = x(bin.from_s + bin_s_);
      line += open ? fmt::format("V{:.1f}H{:.1f}", y, to) : fmt::format("M{:.1f} {:.1f}H{:.1f}", from, y, to);
      fill += open ? fmt::format("V{:.1f}H{:.1f}", y, to)
                   : fmt::format("M{:.1f} {:.1f}V{:.1f}H{:.1f}", from, panel.y(0), y, to);
      open = true;
    }
    close();
    if (line.empty()) return;
    out_ += fmt::format("<path class=\"fill {0}\" d=\"{1}\"/><path class=\"line {0}\" d=\"{2}\"/>\n", name,
                        fill, line);
  }

  /// Says why the lag ends: after an outage nothing is replicated any more, which is not a lag of zero.
  void no_standby() {
    const auto last = std::ranges::find(bins_.rbegin(), bins_.rend(), true, &Bin::lag_known);
    if (last == bins_.rend() || last == bins_.rbegin()) return;
    const double from = x(last->from_s + bin_s_), to = width - right;
    if (to - from < 150) return;
    out_ += fmt::format(
        "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">no standby connected</text>\n",
        (from + to) / 2, lag_.top + lag_.height / 2 + 4);
  }

  void marks() {
    for (std::size_t i = 0; i < report_.marks.size(); ++i) {
      const Mark& mark = report_.marks[i];
      if (mark.kind == MarkKind::process_kill) {
        out_ += fmt::format(
            "<g class=\"mark one\"><line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"/>"
            "<title>{3:.1f} s: {4} killed</title></g>\n",
            x(mark.at_s), rates_.top - 6, lag_.top + lag_height, mark.at_s, escaped_xml(mark.text));
        continue;
      }
      const auto [row, turned] = placed_[i];
      const double at = x(mark.at_s), y = 13 + static_cast<double>(row) * label_row_height;
      constexpr std::string_view classes[] = {"kill", "promotion", "replay", "first", "one", "other"};
      out_ += fmt::format(
          "<g class=\"mark {}\"><line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text "
          "x=\"{:.1f}\" "
          "y=\"{:.1f}\" text-anchor=\"{}\">{}</text></g>\n",
          classes[static_cast<std::size_t>(mark.kind)], at, at, y - 9, lag_.top + lag_height,
          turned ? at - 5 : at + 5, y, turned ? "end" : "start", escaped_xml(mark.text));
    }
  }

  struct Placed {
    std::size_t row;
    bool turned;
  };
  const DrillReport& report_;
  double end_s_{}, bin_s_{};
  std::vector<Bin> bins_;
  std::vector<Placed> placed_;
  std::size_t mark_rows_ = 1;
  Panel rates_, lag_;
  std::string out_;
};

}  // namespace

std::string timeline_svg(const DrillReport& report) {
  return Drawing(report).draw();
}

}  // namespace mainstay::drills
