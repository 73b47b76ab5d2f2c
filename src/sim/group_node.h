// The first stage's node: the production member and journal, driven as the real node drives them, without a
// broker. Its records are clients' operations, eight bytes each.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "sim/group_machine.h"

namespace mainstay::sim {

class GroupNode final : public GroupMachine {
 public:
  GroupNode(GroupWorld& world, GroupRegister& group_register, std::string name);
  ~GroupNode() override;

  [[nodiscard]] bool up() const override { return member_ != nullptr; }
  [[nodiscard]] const group::Member& member() const override { return *member_; }
  [[nodiscard]] const std::map<std::uint64_t, std::uint64_t>& operations() const { return operations_; }

  void start() override;
  void connected(PeerId peer, const std::string& dialled) override;
  void packet(PeerId from, Buffer bytes) override;
  void disconnected(PeerId peer) override;
  bool hand_over(const std::string& to) override;
  bool promote() override;

  /// A client's operation. @param answer  told when it is committed, never otherwise. @return taken
  [[nodiscard]] bool submit(std::uint64_t operation, std::function<void()> answer);

 private:
  void end_process() override;
  void step();
  void act(group::Output& output);
  void write();
  void wrote();
  void note_operation(const journal::Record& record);
  void tick();
  void restart(const group::Restart& restart);
  [[nodiscard]] Instant now() { return clock_.now(); }
  [[nodiscard]] WallTime wall() { return clock_.wall(); }

  GroupWorld& world_;
  std::unique_ptr<journal::Journal> journal_;
  std::unique_ptr<group::Member> member_;
  std::optional<journal::LogBuilder> builder_;
  bool stepping_ = false, writing_ = false;
  journal::Batch batch_;
  std::map<std::uint64_t, std::uint64_t> operations_;  ///< by LSN
  std::map<Lsn, std::pair<std::uint64_t, std::function<void()>>> waiting_;
};

}  // namespace mainstay::sim
