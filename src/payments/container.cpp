#include "payments/container.h"

#include <algorithm>

#include "payments/mt_frame.h"

namespace mainstay::payments {
namespace {

constexpr char kPccStart = '\x01';
constexpr char kPccEnd = '\x03';

class Splitter {
 public:
  Splitter(std::string_view file, const Limits& limits) : file_(file), limits_(limits) {}

  void add(std::size_t begin, std::size_t end, std::optional<Defect> defect = std::nullopt) {
    while (begin < end && is_space(file_[begin])) ++begin;
    while (end > begin && is_space(file_[end - 1])) --end;
    if (begin == end || full_) return;
    if (items_.size() >= limits_.items_max) {
      full_ = true;
      end = file_.size();
      defect = Defect{"FMT_TOO_MANY", 0,
                      "more than " + std::to_string(limits_.items_max) + " messages in one file"};
    }
    items_.push_back({begin, file_.substr(begin, end - begin), std::move(defect)});
  }

  /// Messages in a row. A basic header at top level starts a new one, except the first behind a service
  /// message (block 1 with service 21 and its block 4): that is the message it answers.
  void add_fin(std::size_t begin, std::size_t end) {
    const std::string_view text = file_.substr(0, end);
    std::size_t item = begin;
    int headers = 0;
    bool service = false;
    bool text_seen = false;
    bool broken = false;
    for (std::size_t at = text.find('{', begin); at != std::string_view::npos; at = text.find('{', at)) {
      if (!opens_block(text, at)) {
        ++at;
        continue;
      }
      if (text[at + 1] == '1' && (headers > 0 || text_seen || broken)) {
        const bool answered =
            service && headers == 1 && text_seen && !broken && text.substr(at + 3, 3) == "F01";
        if (!answered) {
          add(item, at);
          item = at;
          headers = 0;
          service = text_seen = broken = false;
        }
      }
      const ScannedBlock scanned = scan_block(text, at);
      if (scanned.block.id == '1') {
        const std::string_view application = text.substr(at + 3, 3);
        if (headers++ == 0) service = application.size() == 3 && application.substr(1) == "21";
      }
      text_seen = text_seen || scanned.block.id == '4';
      broken = broken || scanned.defect.has_value();
      at = scanned.end;
    }
    add(item, end);
  }

  /// A run of '$' and white space separates where a block ended before it or one begins behind it. Any other
  /// '$' is a wrong character inside a message and stays there.
  void add_rje(std::size_t begin) {
    std::size_t item = begin;
    for (std::size_t at = file_.find('$', begin); at != std::string_view::npos;) {
      const std::size_t run_end = std::min(file_.find_first_not_of("$ \t\r\n", at), file_.size());
      if (separates(begin, at, run_end)) {
        add_fin(item, at);
        item = run_end;
      }
      at = file_.find('$', run_end);
    }
    add_fin(item, file_.size());
  }

  /// '$' is in no FIN character set: behind a block, or right in front of a basic header, it can only be a
  /// separator.
  [[nodiscard]] bool is_rje(std::size_t begin) const {
    for (std::size_t at = file_.find('$', begin); at != std::string_view::npos;) {
      const std::size_t run_end = std::min(file_.find_first_not_of("$ \t\r\n", at), file_.size());
      if (closed_before(begin, at) || opens_message(file_, run_end)) return true;
      at = file_.find('$', run_end);
    }
    return false;
  }

  void add_pcc(std::size_t begin) {
    std::size_t at = begin;
    while (at < file_.size()) {
      if (file_[at] != kPccStart) {
        const std::size_t next = std::min(file_.find(kPccStart, at), file_.size());
        add_padding(at, next);
        at = next;
        continue;
      }
      static constexpr char kMarks[] = {kPccStart, kPccEnd};
      const std::size_t end =
          std::min(file_.find_first_of(std::string_view(kMarks, 2), at + 1), file_.size());
      add_fin(at + 1, end);
      at = end < file_.size() && file_[end] == kPccEnd ? end + 1 : end;
    }
  }

  std::vector<Item> take() { return std::move(items_); }
  [[nodiscard]] std::size_t count() const { return items_.size(); }

 private:
  [[nodiscard]] bool closed_before(std::size_t begin, std::size_t at) const {
    while (at > begin && is_space(file_[at - 1])) --at;
    return at > begin && file_[at - 1] == '}';
  }
  [[nodiscard]] bool separates(std::size_t begin, std::size_t at, std::size_t run_end) const {
    return run_end == file_.size() || opens_block(file_, run_end) || closed_before(begin, at);
  }

  /// Blanks, line ends, NULs and the end-of-file mark of DOS fill the sectors. Anything else is not dropped
  /// silently.
  void add_padding(std::size_t begin, std::size_t end) {
    const std::string_view text = file_.substr(begin, end - begin);
    const std::size_t stray = text.find_first_not_of(std::string_view(" \t\r\n\0\x1a", 6));
    if (stray == std::string_view::npos) return;
    add(begin + stray, end,
        Defect{"MT_STRAY_TEXT", 0,
               "expected a message between 0x01 and 0x03, found " + shown(text.substr(stray, 12))});
  }

  std::string_view file_;
  const Limits& limits_;
  std::vector<Item> items_;
  bool full_ = false;
};

bool is_utf16(std::string_view file) {
  return file.starts_with("\xff\xfe") || file.starts_with("\xfe\xff") ||
         file.starts_with(std::string_view("<\0", 2)) || file.starts_with(std::string_view("\0<", 2));
}

Items one(Container container, std::string_view file, std::optional<Defect> defect) {
  Items out;
  out.container = container;
  out.items.push_back({0, file, std::move(defect)});
  return out;
}

}  // namespace

Items split_items(std::string_view file, const Limits& limits) {
  if (is_utf16(file)) {
    return one(Container::xml, file,
               Defect{"MX_ENCODING", 0, "the document is in UTF-16 or UTF-32; only UTF-8 is accepted"});
  }
  std::size_t begin = file.starts_with("\xef\xbb\xbf") ? 3 : 0;
  while (begin < file.size() && is_space(file[begin])) ++begin;
  if (begin == file.size()) {
    return one(Container::empty, file, Defect{"FMT_EMPTY", 0, "nothing but white space; expected a message"});
  }
  if (file[begin] == '<') return one(Container::xml, file, std::nullopt);

  Splitter splitter(file, limits);
  Items out;
  if (file[begin] == kPccStart) {
    out.container = Container::pcc;
    splitter.add_pcc(begin);
  } else if (!opens_block(file, begin)) {
    return one(
        Container::unknown, file,
        Defect{"FMT_UNKNOWN", begin,
               "expected '<' (XML), '{1:' (FIN) or 0x01 (DOS-PCC), found " + shown(file.substr(begin, 12))});
  } else if (splitter.is_rje(begin)) {
    out.container = Container::rje;
    splitter.add_rje(begin);
  } else {
    splitter.add_fin(begin, file.size());
    out.container = splitter.count() > 1 ? Container::concat : Container::single;
  }
  out.items = splitter.take();
  if (out.items.empty()) {
    return one(out.container, file, Defect{"FMT_EMPTY", 0, "a container without a message"});
  }
  return out;
}

}  // namespace mainstay::payments
