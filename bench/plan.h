// Which benchmarks of `bench all` are still to be run, and how long that takes. Pure: records and times come
// in.
#pragma once

#include <string>
#include <vector>

#include "figures.h"

namespace mainstay::bench {

/// One benchmark of the sequence.
struct Planned {
  std::string name;
  double seconds;  ///< expected, as measured on a machine of two cores; > 0
};

/// The names of those that have no record yet, or one that is not whole, in their order.
[[nodiscard]] std::vector<std::string> left_to_measure(const std::vector<Planned>& all,
                                                       const std::vector<Record>& records);

/// Puts `found` where the records of the same benchmarks are, or at the end. A whole record is never replaced
/// by one that is not: that one's trouble is told, its figures are dropped.
void merge(std::vector<Record>& records, const std::vector<Record>& found);

/// What is left of a sequence, from what it expected and what its parts took so far.
class Schedule {
 public:
  explicit Schedule(std::vector<Planned> parts) : left_(std::move(parts)) {}
  /// The next part took this long. What one that failed took says nothing about the others.
  void done(double seconds, bool whole = true);
  /// Of the parts that are left, as much slower or faster than expected as those that are done.
  [[nodiscard]] double remaining_seconds() const;
  /// "12 min gone, about 45 min left".
  [[nodiscard]] std::string text() const;

 private:
  std::vector<Planned> left_;
  double gone_ = 0;
  double took_ = 0, expected_ = 0;  ///< of what is done and whole
};

/// "40 s", "12 min", "1 h 25 min".
[[nodiscard]] std::string duration_text(double seconds);

}  // namespace mainstay::bench
