#include "peers/sync_order.h"

#include <map>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include "peers/stamp.h"

namespace mainstay::bench {
namespace {

/// One system call: where in the trace it began and where it returned.
struct Call {
  std::size_t begin{}, end{};
  std::string text;  ///< "name(arguments…) = result", also of a call that was interrupted by others' lines
};

/// Joins "<unfinished ...>" with "<... name resumed>" of the same thread.
std::vector<Call> calls_of(const std::string& trace) {
  std::vector<Call> calls;
  std::map<std::string, std::size_t> unfinished;  // thread → index in calls
  std::istringstream lines(trace);
  std::size_t at = 0;
  for (std::string line; std::getline(lines, line); ++at) {
    const std::size_t blank = line.find(' ');
    if (blank == std::string::npos) continue;
    const std::string thread = line.substr(0, blank);
    const std::size_t start = line.find_first_not_of(' ', blank);
    if (start == std::string::npos) continue;
    std::string text = line.substr(start);
    if (text.starts_with("<... ")) {
      const auto open = unfinished.find(thread);
      if (open == unfinished.end()) continue;  // began before the trace did
      const std::size_t resumed = text.find(" resumed>");
      if (resumed == std::string::npos) continue;
      calls[open->second].text += text.substr(resumed + 9);
      calls[open->second].end = at;
      unfinished.erase(open);
      continue;
    }
    const std::size_t cut = text.rfind(" <unfinished ...>");
    if (cut != std::string::npos) {
      text.resize(cut);
      unfinished[thread] = calls.size();
      calls.push_back({at, SIZE_MAX, text});
    } else {
      calls.push_back({at, at, text});
    }
  }
  return calls;
}

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    if (text.starts_with(name) && text.size() > name.size() && text[name.size()] == '(') return true;
  }
  return false;
}
bool is_read(std::string_view text) {
  return starts_with_any(text, {"read", "readv", "recvfrom", "recvmsg"});
}
bool is_write(std::string_view text) {
  return starts_with_any(text, {"write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg"});
}
bool is_sync(std::string_view text) {
  return starts_with_any(text, {"fsync", "fdatasync", "sync_file_range", "msync"});
}
bool succeeded(std::string_view text) {
  const std::size_t result = text.rfind(" = ");
  return result != std::string_view::npos && text.substr(result + 3).starts_with("0");
}

/// -yy shows sockets as fd<TCP:[127.0.0.1:port->127.0.0.1:port]> or fd<TCPv6:[[::ffff:127.0.0.1]:port->…]>:
/// one of ours has the server's port in front.
bool on_client_socket(std::string_view text, std::uint16_t port) {
  const std::size_t paren = text.find('(');
  const std::string_view descriptor = text.substr(paren, text.find("]>", paren) - paren);
  return descriptor.find("<TCP") != std::string_view::npos &&
         descriptor.find(":" + std::to_string(port) + "->") != std::string_view::npos;
}
/// "</var/lib/log>" of a call on a file; empty when there is none.
std::string file_of(std::string_view text) {
  const std::size_t open = text.find("</");
  return open == std::string_view::npos ? std::string()
                                        : std::string(text.substr(open, text.find('>', open) + 1 - open));
}
bool on_file(std::string_view text) {
  const std::size_t open = text.find('<');
  return open != std::string_view::npos && open + 1 < text.size() && text[open + 1] == '/';
}

}  // namespace

std::uint64_t count_syncs(const std::string& trace) {
  std::uint64_t syncs = 0;
  for (const Call& call : calls_of(trace)) syncs += is_sync(call.text) ? 1U : 0U;
  return syncs;
}

SyncOrder read_sync_order(const std::string& trace, std::uint16_t port, std::uint64_t first_stamp,
                          std::uint64_t count) {
  const std::vector<Call> calls = calls_of(trace);
  struct Seen {
    std::optional<std::size_t> received, written;  // indexes in `calls`
  };
  std::vector<Seen> seen(count);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const std::string& text = calls[i].text;
    const bool reads = is_read(text) && on_client_socket(text, port);
    const bool writes = is_write(text) && on_file(text);
    if (!reads && !writes) continue;
    for (std::size_t at = text.find("MSG"); at != std::string::npos; at = text.find("MSG", at + 3)) {
      if (at + kStampBytes > text.size()) break;
      if (text.find_first_not_of("0123456789abcdef", at + 3) < at + kStampBytes) continue;
      const std::uint64_t which = from_stamp(text.data() + at) - first_stamp;
      if (which >= count) continue;
      auto& entry = reads ? seen[which].received : seen[which].written;
      if (!entry) entry = i;
    }
  }
  SyncOrder order;
  for (std::size_t m = 0; m + 1 < count; ++m) {
    if (!seen[m].received || !seen[m + 1].received) continue;
    // The client sends the next message when it has the confirm: its last answer before that is the confirm.
    const std::size_t from = *seen[m].received, to = *seen[m + 1].received;
    std::optional<std::size_t> confirm;
    for (std::size_t i = from + 1; i < calls.size(); ++i) {
      if (calls[i].begin >= calls[to].end) break;
      if (is_write(calls[i].text) && on_client_socket(calls[i].text, port)) confirm = i;
    }
    if (!confirm) continue;
    ++order.messages;
    if (seen[m].written) ++order.file_writes_seen;
    const std::size_t stored_at = seen[m].written ? calls[*seen[m].written].end : calls[from].end;
    const std::string file = seen[m].written ? file_of(calls[*seen[m].written].text) : std::string();
    bool synced = false;
    for (std::size_t i = from; i < calls.size() && calls[i].begin < calls[*confirm].begin; ++i) {
      if (!is_sync(calls[i].text)) continue;
      ++order.syncs;
      const bool same_file = calls[i].text.find(file) != std::string::npos;  // no file known: any
      synced |= same_file && calls[i].begin > stored_at && calls[i].end < calls[*confirm].begin &&
                succeeded(calls[i].text);
    }
    if (synced) ++order.synced_before_confirm;
  }
  return order;
}

}  // namespace mainstay::bench
