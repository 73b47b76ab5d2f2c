#include "node/alive_poster.h"

namespace mainstay::node {

AlivePoster::AlivePoster(etcd::AliveKeys keys, std::function<void(const std::string&)> tell)
    : keys_(std::move(keys)), tell_(std::move(tell)) {}

AlivePoster::~AlivePoster() {
  worker_.post([this] { static_cast<void>(keys_.leave()); });
}

void AlivePoster::say(const etcd::Alive& alive, Instant now) {
  due_at_ = now + Duration{etcd::AliveKeys::kTimeToLive.ns / 3};
  worker_.post([this, alive] {
    const auto said = keys_.say(alive);
    if (said.has_value() != failing_) return;
    failing_ = !failing_;
    tell_(said ? "the voters know again that this node is there"
               : "the voters cannot be told that this node is there, on which nothing depends: " +
                     said.error().what);
  });
}

}  // namespace mainstay::node
