// Who of a group says that it is there: a key for each node in etcd, bound to a lease, gone by itself when
// the node is. For people and user interfaces only. Nothing is ever decided by it: a lease that has run out
// says that voters have not heard from a node, not that it does not lead.
#pragma once

#include <map>
#include <string>

#include "etcd/etcd_client.h"
#include "etcd/open_register.h"

namespace mainstay::etcd {

/// What a node says of itself, as it is stored (docs/formats/register.md).
struct Alive {
  std::string node, incarnation;
  std::string role;  ///< leader | backup | candidate | stopped
  std::uint64_t epoch{};
  WallTime at;
};
[[nodiscard]] std::string encode_alive(const Alive& alive);
/// Nothing when it is not that.
[[nodiscard]] std::optional<Alive> decode_alive(std::string_view text);

/// Not thread-safe: of a thread that nothing else waits for, since each call may take until
/// EtcdOptions::most. What fails changes nothing here: the next call tries everything again.
class AliveKeys {
 public:
  static constexpr Duration kTimeToLive = seconds(15);

  /// Nothing when the register is a file: its processes are on one machine, and can be asked.
  [[nodiscard]] static std::optional<AliveKeys> of(const RegisterPlace& place, const std::string& region,
                                                   Clock& clock);

  /// Keeps the node's key for another kTimeToLive, and what it says up to date. Call it every third of that.
  [[nodiscard]] Result<void, coordination::RegisterError> say(const Alive& alive);
  /// Takes it back: the node ends as it should.
  [[nodiscard]] Result<void, coordination::RegisterError> leave();
  /// Who is there, by node. What cannot be read is left out.
  [[nodiscard]] Result<std::map<std::string, Alive>, coordination::RegisterError> read();

 private:
  AliveKeys(EtcdOptions options, std::string prefix, Clock& clock);
  [[nodiscard]] Result<boost::json::value, coordination::RegisterError> ask(const std::string& path,
                                                                            const std::string& body);

  std::string prefix_;  ///< of the keys; a node's name behind it
  EtcdClient client_;
  std::string lease_;  ///< empty: none yet, or it is gone
  Alive said_;         ///< last, under that lease
};

}  // namespace mainstay::etcd
