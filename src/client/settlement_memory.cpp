#include "client/settlement_memory.h"

#include "amqp/message.h"
#include "amqp/value_reader.h"

namespace mainstay::client {

MessageKey key_of(BytesView message) {
  MessageKey key;
  const auto view = amqp::view_message(message);
  if (!view) return key;
  key.id = view->message_id().value_or("");
  if (view->message_annotations.empty()) return key;
  amqp::ValueReader section(view->message_annotations);
  const auto annotations = amqp::described(section.next());
  if (!section.ok() || !annotations || annotations->value.kind != amqp::Kind::map) return key;
  amqp::ValueReader entries = amqp::ValueReader::inside(annotations->value);
  while (!entries.at_end()) {
    const amqp::Value name = entries.next();
    const amqp::Value value = entries.next();
    if (entries.ok() && name.kind == amqp::Kind::symbol && name.text() == "x-opt-sequence-number")
      key.sequence = value.signed_number();
  }
  return key;
}

void SettlementMemory::unknown(const MessageKey& key, Wanted wanted) {
  if (!key.known() || wanted.as == SettleAs::abandon || wanted.as == SettleAs::release) return;
  if (const auto before = wanted_.find(key); before != wanted_.end()) order_.erase(before->second.second);
  order_[next_] = key;
  wanted_[key] = {std::move(wanted), next_++};
  while (wanted_.size() > most_) {
    wanted_.erase(order_.begin()->second);
    order_.erase(order_.begin());
  }
}

std::optional<SettlementMemory::Wanted> SettlementMemory::recognise(const MessageKey& key) {
  const auto found = wanted_.find(key);
  if (found == wanted_.end()) return std::nullopt;
  Wanted wanted = std::move(found->second.first);
  order_.erase(found->second.second);
  wanted_.erase(found);
  return wanted;
}

}  // namespace mainstay::client
