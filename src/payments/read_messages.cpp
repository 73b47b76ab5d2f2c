#include "payments/container.h"
#include "payments/message.h"
#include "payments/readers.h"

namespace mainstay::payments {
namespace {

Kind kind_of(Container container) {
  switch (container) {
    case Container::single:
    case Container::concat:
    case Container::rje:
    case Container::pcc:
      return Kind::mt;
    case Container::xml:
      return Kind::mx;
    case Container::empty:
    case Container::unknown:
      break;
  }
  return Kind::unknown;
}

}  // namespace

std::vector<Message> read_messages(BytesView file, const Limits& limits) {
  Items split = split_items(as_text(file), limits);
  std::vector<Message> messages;
  messages.reserve(split.items.size());
  for (Item& item : split.items) {
    Message& message = messages.emplace_back();
    message.container = split.container;
    message.kind = kind_of(split.container);
    message.item = static_cast<std::uint32_t>(messages.size());
    message.offset = item.offset;
    message.raw = file.subspan(item.offset, item.text.size());
    std::optional<Defect> defect = std::move(item.defect);
    if (!defect) {
      defect = message.kind == Kind::mx ? read_mx(item.text, limits, message)
                                        : read_mt(item.text, limits, message);
    }
    message.valid = !defect.has_value();
    message.code = defect ? defect->code : "OK";
    if (defect) {
      // What is not valid has no identity that others might act on.
      message.idempotency_key.clear();
      message.ordering_key.clear();
      message.content_digest.clear();
    }
    if (defect) message.why = "byte " + std::to_string(item.offset + defect->at) + ": " + defect->why;
  }
  return messages;
}

}  // namespace mainstay::payments
