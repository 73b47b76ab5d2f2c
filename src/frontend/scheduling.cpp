#include "frontend/scheduling.h"

#include "amqp/value_reader.h"

namespace mainstay::frontend {

ScheduleAsked schedule_of_message(BytesView section) {
  // Most messages with annotations do not have this one.
  if (section.empty() || as_text(section).find(kScheduledEnqueueAnnotation) == std::string_view::npos)
    return {};
  amqp::ValueReader reader(section);
  const auto annotations = amqp::described(reader.next());
  if (!reader.ok() || !annotations || annotations->value.kind != amqp::Kind::map) return {};
  amqp::ValueReader entries = amqp::ValueReader::inside(annotations->value);
  while (!entries.at_end()) {
    const amqp::Value key = entries.next();
    const amqp::Value value = entries.next();
    if (!entries.ok() || (key.kind != amqp::Kind::symbol && key.kind != amqp::Kind::string)) continue;
    if (key.text() != kScheduledEnqueueAnnotation || value.is_null()) continue;
    if (value.kind != amqp::Kind::timestamp) {
      return {std::nullopt, amqp::Condition{"amqp:invalid-field",
                                            std::string(kScheduledEnqueueAnnotation) + " is a timestamp"}};
    }
    return {WallTime{value.signed_number()}, std::nullopt};
  }
  return {};
}

}  // namespace mainstay::frontend
