#include "payments/seen_messages.h"

#include <algorithm>

namespace mainstay::payments {

std::string Relation::text() const {
  switch (to) {
    case To::duplicate:
      return "dup:" + earlier;
    case To::conflict:
      return "conflict:" + earlier;
    case To::none:
      break;
  }
  return {};
}

Relation SeenMessages::add(std::string_view file, const Message& message) {
  if (!message.valid) return {};
  Earlier self{std::string(file) + "#" + std::to_string(message.item), message.content_digest,
               message.kind == Kind::mt ? message.uetr : std::string()};
  std::vector<Earlier>& earlier = by_key_[message.idempotency_key];

  // A missing UETR contradicts nothing (a middleman may have stripped block 3), two different ones do. When a
  // twin without UETR has let two payments look alike, the contradiction wins: a conflict parked costs less
  // than a payment lost.
  const Earlier* compatible = nullptr;
  const Earlier* contradiction = nullptr;
  bool same_uetr = false;
  for (const Earlier& other : earlier) {
    if (other.digest != self.digest) continue;
    if (!other.uetr.empty() && !self.uetr.empty() && other.uetr != self.uetr) {
      if (contradiction == nullptr) contradiction = &other;
      continue;
    }
    if (compatible == nullptr) compatible = &other;
    same_uetr = same_uetr || (!self.uetr.empty() && other.uetr == self.uetr);
  }
  Relation relation;
  if (compatible != nullptr && (contradiction == nullptr || same_uetr || self.uetr.empty())) {
    relation = {Relation::To::duplicate, compatible->where};
  } else if (contradiction != nullptr && compatible != nullptr) {
    relation = {Relation::To::conflict, contradiction->where};
  } else if (!earlier.empty()) {
    relation = {Relation::To::conflict, earlier.front().where};
  }
  const bool known = std::any_of(earlier.begin(), earlier.end(), [&](const Earlier& other) {
    return other.digest == self.digest && other.uetr == self.uetr;
  });
  if (!known) earlier.push_back(std::move(self));
  return relation;
}

}  // namespace mainstay::payments
