#include "amqp/message.h"

#include <algorithm>
#include <array>

#include "amqp/hot_writer.h"
#include "amqp/value_reader.h"
#include "amqp/value_writer.h"
#include "base/assert.h"

namespace mainstay::amqp {
namespace {

constexpr std::uint32_t kGroupIdField = 10;

/// The annotations that the broker itself writes on delivery (service-bus-dialect, section 9.3).
constexpr std::array<std::string_view, 6> kBrokerAnnotations{
    "x-opt-sequence-number",         "x-opt-enqueued-time", "x-opt-locked-until",
    "x-opt-enqueue-sequence-number", "x-opt-message-state", "x-opt-deadletter-source",
};

bool is_text(const Value& v) {
  return v.kind == Kind::string || v.kind == Kind::symbol;
}

const char* section_name(std::uint64_t section) {
  switch (section) {
    case descriptor::header:
      return "header";
    case descriptor::delivery_annotations:
      return "delivery-annotations";
    case descriptor::message_annotations:
      return "message-annotations";
    case descriptor::properties:
      return "properties";
    case descriptor::application_properties:
      return "application-properties";
    case descriptor::data:
      return "data";
    case descriptor::amqp_sequence:
      return "amqp-sequence";
    case descriptor::amqp_value:
      return "amqp-value";
    case descriptor::footer:
      return "footer";
    default:
      return "unknown section";
  }
}

void take_id(const Value& id, MessageView& out) {
  switch (id.kind) {
    case Kind::string:
      out.string_id = id.text();
      break;
    case Kind::ulong:
      out.written_id = "ulong:" + std::to_string(id.number);
      break;
    case Kind::uuid:
      out.written_id = "uuid:" + hex(id.content);
      break;
    case Kind::binary:
      out.written_id = "binary:" + hex(id.content);
      break;
    default:
      break;
  }
}

/// Holds no other values that would have to be looked into.
bool is_simple(const Value& v) {
  return v.kind < Kind::list;
}

bool is_id(const Value& id) {
  return id.kind == Kind::string || id.kind == Kind::ulong || id.kind == Kind::uuid ||
         id.kind == Kind::binary;
}

bool read_header(const Value& list, MessageView& out) {
  Fields f(list);
  out.durable = f.boolean().value_or(false);
  out.priority = f.ubyte().value_or(4);
  out.ttl_ms = f.uint();
  f.boolean();  // first-acquirer
  out.delivery_count = f.uint().value_or(0);
  return f.ok();
}

/// True also when every field was looked into down to the last byte: then `whole`.
bool read_properties(const Value& list, MessageView& out, bool& whole) {
  Fields f(list);
  const Value message_id = f.any();
  f.binary();  // user-id
  const Value to = f.any();
  const auto subject = f.string();
  const Value reply_to = f.any();
  const Value correlation_id = f.any();
  f.symbol();             // content-type
  f.symbol();             // content-encoding
  f.of(Kind::timestamp);  // absolute-expiry-time
  f.of(Kind::timestamp);  // creation-time
  const auto group_id = f.string();
  f.uint();    // group-sequence
  f.string();  // reply-to-group-id
  if (!f.ok()) return false;
  if (!message_id.is_null() && !is_id(message_id)) return false;
  if (!correlation_id.is_null() && !is_id(correlation_id)) return false;
  whole = f.finished() && is_simple(to) && is_simple(reply_to);
  take_id(message_id, out);
  out.subject = subject;
  out.group_id = group_id;
  return true;
}

/// From the first byte of `first` to the last of `last`, which lie in one message.
BytesView span_over(BytesView first, BytesView last) {
  return {first.data(), last.data() + last.size()};
}

/// Checks one section's value, all the way down, and takes what the broker needs of it.
bool take_section(std::uint64_t section, const Value& value, MessageView& view) {
  switch (section) {
    case descriptor::header:
      return well_formed_inside(value) && read_header(value, view);
    case descriptor::properties: {
      bool whole = false;  // nothing is left to be checked: so are nearly all
      return read_properties(value, view, whole) && (whole || well_formed_inside(value));
    }
    case descriptor::data:
      return value.kind == Kind::binary;
    case descriptor::amqp_sequence:
      return value.kind == Kind::list && well_formed_inside(value);
    case descriptor::amqp_value:
      return well_formed_inside(value);
    default:
      return value.kind == Kind::map && well_formed_inside(value);
  }
}

bool is_body(std::uint64_t section) {
  return section >= descriptor::data && section <= descriptor::amqp_value;
}

void place_section(std::uint64_t section, BytesView bytes, MessageView& view) {
  switch (section) {
    case descriptor::header:
      view.header = bytes;
      break;
    case descriptor::delivery_annotations:
      view.delivery_annotations = bytes;
      break;
    case descriptor::message_annotations:
      view.message_annotations = bytes;
      break;
    case descriptor::footer:
      view.footer = bytes;
      break;
    default:
      if (section == descriptor::properties) view.properties = bytes;
      if (section == descriptor::application_properties) view.application_properties = bytes;
      if (is_body(section)) view.body = view.body.empty() ? bytes : span_over(view.body, bytes);
      view.bare = view.bare.empty() ? bytes : span_over(view.bare, bytes);
  }
}

/// The section's value without descriptor.
Value section_value(BytesView section) {
  if (section.empty()) return Value{};
  ValueReader reader(section);
  const auto value = described(reader.next());
  MS_ASSERT(value, "a section of a view was well-formed when the view was made");
  return value->value;
}

void write_header(HotWriter& w, const MessageView& view, const DeliveryHead& with) {
  w.begin(descriptor::header, 5);
  view.durable ? w.boolean(true) : w.null();
  view.priority != 4 ? w.ubyte(view.priority) : w.null();
  view.ttl_ms ? w.uint(*view.ttl_ms) : w.null();
  w.boolean(with.first_acquirer);
  w.uint(with.delivery_count);
  w.finish();
}

/// @return keys and values that write_own_annotations() writes
std::uint8_t own_annotations(const DeliveryHead& with) {
  return with.locked_until_ms ? 10 : 8;
}

void write_own_annotations(HotWriter& w, const DeliveryHead& with) {
  w.symbol("x-opt-sequence-number");
  w.long_(with.sequence_number);
  w.symbol("x-opt-enqueued-time");
  w.timestamp(with.enqueued_time_ms);
  if (with.locked_until_ms) {
    w.symbol("x-opt-locked-until");
    w.timestamp(*with.locked_until_ms);
  }
  w.symbol("x-opt-enqueue-sequence-number");
  w.long_(with.enqueue_sequence_number);
  w.symbol("x-opt-message-state");
  w.int_(with.message_state);
}

/// The header and the broker's own annotations at their longest, with a map's head.
constexpr std::size_t kOwnHeadBytesMax = 20 + 6 + 5 * (2 + 29 + 9);

/// The sender's annotations but those that only the broker writes, then the broker's.
void write_annotations(ValueWriter& w, const MessageView& view, const DeliveryHead& with) {
  w.descriptor(descriptor::message_annotations);
  const auto map = w.map();
  std::uint32_t count = 0;
  ValueReader kept = ValueReader::inside(section_value(view.message_annotations));
  while (!kept.at_end()) {
    const Value key = kept.next();
    const Value value = kept.next();
    if (!kept.ok()) break;
    if (is_text(key) && std::find(kBrokerAnnotations.begin(), kBrokerAnnotations.end(), key.text()) !=
                            kBrokerAnnotations.end()) {
      continue;
    }
    w.encoded(key.encoded);
    w.encoded(value.encoded);
    count += 2;
  }
  std::array<std::byte, kOwnHeadBytesMax> own;  // NOLINT: written before it is read
  HotWriter hot(own.data());
  write_own_annotations(hot, with);
  w.encoded(BytesView(own).first(hot.written()));
  count += own_annotations(with);
  if (with.dead_letter_source) {
    w.symbol("x-opt-deadletter-source");
    w.string(*with.dead_letter_source);
    count += 2;
  }
  w.close(map, count);
}

bool map_has(const Value& map, std::string_view name) {
  ValueReader entries = ValueReader::inside(map);
  while (!entries.at_end()) {
    const Value key = entries.next();
    entries.next();
    if (is_text(key) && key.text() == name) return true;
  }
  return false;
}

void write_application_properties(ValueWriter& w, const MessageView& view, const DeliveryHead& with) {
  constexpr std::string_view kReason = "DeadLetterReason";
  constexpr std::string_view kDescription = "DeadLetterErrorDescription";
  Value changes;
  if (!with.modified_properties.empty() && well_formed(with.modified_properties)) {
    changes = ValueReader(with.modified_properties).next();
    if (changes.kind != Kind::map) changes = Value{};
  }
  const auto written_here = [&](std::string_view name) {
    return (with.dead_letter_reason && name == kReason) ||
           (with.dead_letter_description && name == kDescription);
  };
  w.descriptor(descriptor::application_properties);
  const auto map = w.map();
  std::uint32_t count = 0;
  ValueReader sent = ValueReader::inside(section_value(view.application_properties));
  while (!sent.at_end()) {
    const Value key = sent.next();
    const Value value = sent.next();
    if (!sent.ok()) break;
    if (is_text(key) && (written_here(key.text()) || map_has(changes, key.text()))) continue;
    w.encoded(key.encoded);
    w.encoded(value.encoded);
    count += 2;
  }
  ValueReader changed = ValueReader::inside(changes);
  while (!changed.at_end()) {
    const Value key = changed.next();
    const Value value = changed.next();
    if (!changed.ok() || !is_text(key) || written_here(key.text())) continue;
    w.string(key.text());  // symbols in annotations, strings among application properties
    w.encoded(value.encoded);
    count += 2;
  }
  if (with.dead_letter_reason) {
    w.string(kReason);
    w.string(*with.dead_letter_reason);
    count += 2;
  }
  if (with.dead_letter_description) {
    w.string(kDescription);
    w.string(*with.dead_letter_description);
    count += 2;
  }
  w.close(map, count);
}

}  // namespace

void throw_exception_from_error(const MessageError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

Result<MessageView, MessageError> view_message(BytesView message) {
  Result<MessageView, MessageError> result = MessageView{};  // filled in its place: it is large
  MessageView& view = *result;
  ValueReader reader(message);
  std::uint64_t last = 0;
  const auto error = [](std::size_t at, const std::string& what) {
    return MessageError{"message, byte " + std::to_string(at) + ": " + what};
  };
  Described section;
  BytesView bytes;
  while (!reader.at_end()) {
    const std::size_t at = reader.position();
    if (!reader.next(section, bytes)) return error(at, "no well-formed section starts here");
    const std::uint64_t code = section.code;
    if (code < descriptor::header || code > descriptor::footer) {
      return error(at, "this is no section of an AMQP message");
    }
    const bool repeats = code == last && (code == descriptor::data || code == descriptor::amqp_sequence);
    const bool other_body = is_body(code) && !view.body.empty();
    if (!repeats && (code <= last || other_body)) {
      return error(at, std::string(section_name(code)) + " cannot follow " + section_name(last));
    }
    if (!take_section(code, section.value, view)) {
      return error(at, std::string(section_name(code)) + " is malformed or has a field of the wrong type");
    }
    last = code;
    place_section(code, bytes, view);
  }
  if (view.body.empty()) return error(message.size(), "there is no body section");
  return result;
}

MessageView view_sections(BytesView message) {
  MessageView view;
  ValueReader reader(message);
  Described section;
  BytesView bytes;
  while (!reader.at_end()) {
    const bool read = reader.next(section, bytes) &&
                      (section.code != descriptor::header || read_header(section.value, view));
    MS_ASSERT(read, "the message was taken by view_message() before");
    place_section(section.code, bytes, view);
  }
  return view;
}

MessageParts encode_for_delivery(BytesView, const MessageView& view, const DeliveryHead& with, Buffer& head) {
  std::array<std::byte, kOwnHeadBytesMax> own;  // NOLINT: written before it is read
  HotWriter hot(own.data());
  write_header(hot, view, with);
  const bool only_own = view.message_annotations.empty() && !with.dead_letter_source;
  if (only_own) {
    hot.begin_map(descriptor::message_annotations, own_annotations(with));
    write_own_annotations(hot, with);
    hot.finish();
  }
  head.assign(own.data(), own.data() + hot.written());
  ValueWriter w(head);
  if (!only_own) write_annotations(w, view, with);
  const std::size_t annotations_end = head.size();
  MessageParts parts;
  if (!with.dead_letter_reason && !with.dead_letter_description && with.modified_properties.empty()) {
    parts.add(head);
    parts.add(view.footer.empty() ? view.bare : span_over(view.bare, view.footer));
    return parts;
  }
  write_application_properties(w, view, with);
  const BytesView written(head);
  parts.add(written.first(annotations_end));
  parts.add(view.properties);
  parts.add(written.subspan(annotations_end));
  parts.add(view.footer.empty() ? view.body : span_over(view.body, view.footer));
  return parts;
}

Buffer encode_message(const SimpleMessage& message) {
  Buffer out;
  out.reserve(message.body.size() + 128);
  ValueWriter w(out);
  const auto string_or_null = [&](const std::string& v) { v.empty() ? w.null() : w.string(v); };
  if (message.ttl_ms) {
    w.descriptor(descriptor::header);
    const auto list = w.list();
    w.null();
    w.null();
    w.uint(*message.ttl_ms);
    w.close(list, 3);
  }
  if (!message.message_id.empty() || !message.group_id.empty() || !message.subject.empty() ||
      !message.content_type.empty()) {
    w.descriptor(descriptor::properties);
    const auto list = w.list();
    string_or_null(message.message_id);
    w.null();  // user-id
    w.null();  // to
    string_or_null(message.subject);
    w.null();  // reply-to
    w.null();  // correlation-id
    message.content_type.empty() ? w.null() : w.symbol(message.content_type);
    w.null();  // content-encoding
    w.null();  // absolute-expiry-time
    w.null();  // creation-time
    string_or_null(message.group_id);
    w.close(list, kGroupIdField + 1);
  }
  if (!message.application_properties.empty()) {
    w.descriptor(descriptor::application_properties);
    const auto map = w.map();
    for (const auto& [key, value] : message.application_properties) {
      w.string(key);
      w.string(value);
    }
    w.close(map, static_cast<std::uint32_t>(message.application_properties.size() * 2));
  }
  w.descriptor(descriptor::data);
  w.binary(message.body);
  return out;
}

Buffer with_message_id(BytesView message, const MessageView& view, std::string_view id) {
  Buffer out;
  out.reserve(message.size() + id.size() + 16);
  ValueWriter w(out);
  const BytesView after = view.properties.empty() ? view.bare : view.properties;
  const auto before = static_cast<std::size_t>(after.data() - message.data());
  w.encoded(message.first(before));
  w.descriptor(descriptor::properties);
  const auto list = w.list();
  w.string(id);
  const Value sent = section_value(view.properties);
  if (sent.count > 1) {
    ValueReader fields = ValueReader::inside(sent);
    fields.next();  // the id that is missing
    w.encoded(fields.rest());
  }
  w.close(list, std::max<std::uint32_t>(sent.count, 1));
  w.encoded(message.subspan(before + view.properties.size()));
  return out;
}

}  // namespace mainstay::amqp
