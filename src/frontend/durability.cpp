#include "frontend/durability.h"

#include <algorithm>

#include "amqp/value_reader.h"

namespace mainstay::frontend {
namespace {

DurabilityAsked find_level(const amqp::Value& map, std::string_view name) {
  DurabilityAsked out;
  if (map.kind != amqp::Kind::map) return out;
  amqp::ValueReader entries = amqp::ValueReader::inside(map);
  for (std::uint32_t i = 0; i + 1 < map.count && entries.ok(); i += 2) {
    const amqp::Value key = entries.next();
    const amqp::Value value = entries.next();
    if (!entries.ok() || (key.kind != amqp::Kind::symbol && key.kind != amqp::Kind::string)) continue;
    if (key.text() != name) continue;
    if (value.kind == amqp::Kind::symbol || value.kind == amqp::Kind::string) {
      out.level = broker::durability_of(value.text());
    }
    if (!out.level) {
      out.problem =
          amqp::Condition{"amqp:invalid-field", std::string(name) +
                                                    " is a symbol or string, one of journal, region, "
                                                    "global"};
    }
    return out;
  }
  return out;
}

bool mentions(BytesView bytes, std::string_view name) {
  return as_text(bytes).find(name) != std::string_view::npos;
}

}  // namespace

DurabilityAsked durability_of_link(BytesView properties) {
  if (properties.empty() || !mentions(properties, kDurabilityProperty)) return {};
  amqp::ValueReader reader(properties);
  const amqp::Value map = reader.next();
  return reader.ok() ? find_level(map, kDurabilityProperty) : DurabilityAsked{};
}

DurabilityAsked durability_of_message(BytesView section) {
  // Most messages with annotations do not have this one.
  if (section.empty() || !mentions(section, kDurabilityAnnotation)) return {};
  amqp::ValueReader reader(section);
  const amqp::Value value = reader.next();
  if (!reader.ok()) return {};
  const auto taken = amqp::described(value);
  return taken ? find_level(taken->value, kDurabilityAnnotation) : DurabilityAsked{};
}

DurabilityDue durability_due(const broker::QueueOptions& queue, std::optional<broker::Durability> asked) {
  DurabilityDue due{std::max(queue.durability, asked.value_or(queue.durability)), std::nullopt};
  if (due.level > queue.durability && !queue.producers_choose_durability) {
    due.refusal = amqp::Condition{
        "amqp:not-allowed", std::string("durability ") + broker::durability_name(due.level) +
                                " is asked for, and the queue does not let producers choose more than its " +
                                broker::durability_name(queue.durability) + " (producers_choose_durability)"};
  }
  return due;
}

}  // namespace mainstay::frontend
