#include "peers/best_rows.h"

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace mainstay::bench {
namespace {

constexpr std::array<const char*, 3> kSaturated = {"publish", "both", "slow_publish"};
constexpr std::string_view kShapeEnds = " in flight";

Figure* find(Record& record, const std::string& id) {
  for (Figure& figure : record.figures) {
    if (figure.id == id) return &figure;
  }
  return nullptr;
}

std::size_t shape_end(const std::string& note) {
  const std::size_t at = note.find(kShapeEnds);
  return at == std::string::npos ? 0 : at + kShapeEnds.size();
}

/// Both rows and every ratio that is made of the first have the same rounds.
bool rounds_match(Record& record, const std::string& system, const std::string& measure, const Figure& best,
                  const Figure& one) {
  const std::size_t rounds = best.samples.values.size();
  if (rounds == 0 || one.samples.values.size() != rounds) return false;
  const std::string ratios = "peers." + measure + ".over_";
  for (const Figure& ratio : record.figures) {
    if (ratio.id.rfind(ratios, 0) != 0 || ratio.samples.values.empty()) continue;
    const std::string peer = ratio.id.substr(ratios.size());
    if (system != "mainstay" && system != peer) continue;
    const Figure* theirs = find(record, "peers." + peer + "." + measure);
    if (theirs == nullptr || theirs->samples.values.size() != rounds ||
        ratio.samples.values.size() != rounds) {
      return false;
    }
  }
  return true;
}

void make_ratios_again(Record& record, const std::string& measure) {
  const Figure* ours = find(record, "peers.mainstay." + measure);
  if (ours == nullptr) return;
  const std::string ratios = "peers." + measure + ".over_";
  for (Figure& ratio : record.figures) {
    if (ratio.id.rfind(ratios, 0) != 0) continue;
    const Figure* theirs = find(record, "peers." + ratio.id.substr(ratios.size()) + "." + measure);
    const std::size_t rounds = ratio.samples.values.size();
    if (theirs == nullptr || theirs->samples.values.size() != rounds ||
        ours->samples.values.size() != rounds) {
      continue;
    }
    for (std::size_t i = 0; i < rounds; ++i)
      ratio.samples.values[i] = ours->samples.values[i] / theirs->samples.values[i];
  }
}

}  // namespace

void prefer_better_rows(Record& record) {
  if (record.benchmark != "peers") return;
  for (const std::string measure : kSaturated) {
    const std::string suffix = "." + measure;
    bool any = false;
    for (Figure& best : record.figures) {
      if (best.id.rfind("peers.", 0) != 0 || !best.id.ends_with(suffix)) continue;
      const std::string system = best.id.substr(6, best.id.size() - 6 - suffix.size());
      const Figure* one = find(record, best.id + "_one");
      if (one == nullptr || !rounds_match(record, system, measure, best, *one)) continue;
      if (one->samples.median() <= best.samples.median()) continue;
      const std::size_t end = shape_end(best.note);
      const std::string tried = best.note.substr(0, end);
      best.note = one->note.substr(0, shape_end(one->note)) + best.note.substr(end) +
                  "; the tries before the first round had chosen " + tried + ", which gave " +
                  readable(best.samples.median()) + " in the same rounds";
      best.samples = one->samples;
      any = true;
    }
    if (any) make_ratios_again(record, measure);
  }
}

}  // namespace mainstay::bench
