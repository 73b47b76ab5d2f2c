#include "amqp/terminus.h"

#include <algorithm>
#include <array>
#include <utility>

#include "amqp/value_writer.h"

namespace mainstay::amqp {
namespace {

constexpr std::string_view kSessionFilter = "com.microsoft:session-filter";
constexpr std::string_view kTimeout = "com.microsoft:timeout";
constexpr std::string_view kLockedUntil = "com.microsoft:locked-until-utc";
constexpr std::string_view kDuplicateWindow = "mainstay:duplicate-detection-window-ms";
constexpr std::uint32_t kAddressField = 0;
constexpr std::uint32_t kFilterField = 7;
constexpr std::size_t kCapabilitiesMax = 64;

bool is_text(const Value& v) {
  return v.kind == Kind::string || v.kind == Kind::symbol;
}

/// A field that may hold one symbol or an array of them.
void read_symbols(const Value& value, std::vector<std::string>& out) {
  if (value.kind == Kind::symbol) out.emplace_back(value.text());
  if (value.kind != Kind::array) return;
  ArrayReader array(value);
  for (Value element; out.size() < kCapabilitiesMax && array.next(element);) {
    if (element.kind == Kind::symbol) out.emplace_back(element.text());
  }
}

void read_address(const Value& address, AttachRequest& out) {
  out.address_is_null = !is_text(address);
  if (!out.address_is_null) out.address = address.text();
}

bool read_filter(const Value& filter, AttachRequest& out) {
  ValueReader entries = ValueReader::inside(filter);
  while (!entries.at_end()) {
    const Value key = entries.next();
    Value value = entries.next();
    if (!is_text(key) || key.text() != kSessionFilter) continue;
    if (value.kind == Kind::described) {
      const auto inside = described(value);
      if (!inside) return false;
      value = inside->value;
    }
    if (value.is_null()) {
      out.session_filter = AttachRequest::SessionFilter::next_available;
    } else if (value.kind == Kind::string) {
      out.session_filter = AttachRequest::SessionFilter::named;
      out.session_id = value.text();
    } else {
      return false;
    }
  }
  return entries.ok();
}

/// Calls `field(index, value, writer)` for each field and index up to `fields_min`; it returns false to have
/// the value copied.
template <class F>
Buffer rewrite_list(BytesView terminus, std::uint32_t fields_min, F&& field) {
  ValueReader outer(terminus);
  ValueReader parts = ValueReader::inside(outer.next());
  const Value name = parts.next();
  const Value list = parts.next();
  if (!parts.ok() || list.kind != Kind::list) return to_buffer(terminus);
  Buffer out;
  ValueWriter w(out);
  out.push_back(std::byte{code::described});
  w.encoded(name.encoded);
  const auto open = w.list();
  ValueReader values = ValueReader::inside(list);
  const std::uint32_t count = std::max(list.count, fields_min);
  for (std::uint32_t i = 0; i < count; ++i) {
    const Value value = i < list.count ? values.next() : Value{};
    if (field(i, value, w)) continue;
    if (value.encoded.empty()) {
      w.null();
    } else {
      w.encoded(value.encoded);
    }
  }
  w.close(open, count);
  return values.ok() ? out : to_buffer(terminus);
}

void write_filter(const Value& filter, const std::string& session_id, ValueWriter& w) {
  const auto map = w.map();
  ValueReader entries = ValueReader::inside(filter);
  while (!entries.at_end()) {
    const Value key = entries.next();
    const Value value = entries.next();
    w.encoded(key.encoded);
    if (!is_text(key) || key.text() != kSessionFilter) {
      w.encoded(value.encoded);
      continue;
    }
    if (value.kind == Kind::described) {
      w.encoded(value.encoded.first(1));  // the "described" constructor
      w.encoded(ValueReader::inside(value).next().encoded);
    }
    w.string(session_id);
  }
  w.close(map, filter.count);
}

}  // namespace

bool read_attach(const AttachFrame& attach, AttachRequest& out, std::string& problem) {
  out.name = attach.name;
  out.role = attach.role;
  out.sender_settle_mode = attach.sender_settle_mode;
  out.receiver_settle_mode = attach.receiver_settle_mode;
  out.max_message_size = attach.max_message_size;
  out.source = to_buffer(attach.source.encoded);
  out.target = to_buffer(attach.target.encoded);
  if (attach.source.is_null()) out.source.clear();
  if (attach.target.is_null()) out.target.clear();
  if (attach.properties.kind == Kind::map) out.properties = to_buffer(attach.properties.encoded);
  read_symbols(attach.desired_capabilities, out.desired_capabilities);

  ValueReader entries = ValueReader::inside(attach.properties);
  while (!entries.at_end()) {
    const Value key = entries.next();
    const Value value = entries.next();
    const bool number = value.kind == Kind::uint || value.kind == Kind::int_ || value.kind == Kind::ulong ||
                        value.kind == Kind::long_;
    if (is_text(key) && key.text() == kTimeout && number && value.number <= 0xffffffffU) {
      out.timeout_ms = static_cast<std::uint32_t>(value.number);
    }
  }

  out.address_is_null = true;
  for (const bool is_source : {true, false}) {
    const Value& terminus = is_source ? attach.source : attach.target;
    if (terminus.is_null()) continue;
    problem = is_source ? "attach: the source is malformed" : "attach: the target is malformed";
    if (!well_formed(terminus.encoded)) return false;
    const auto inside = described(terminus);
    if (!inside || inside->value.kind != Kind::list) return false;
    const bool names_node = is_source == (attach.role == Role::receiver);
    if (!is_source && inside->code == descriptor::coordinator) {
      out.coordinator = attach.role == Role::sender;
      continue;
    }
    Fields f(inside->value);
    const Value address = f.any();
    f.uint();    // durable
    f.symbol();  // expiry-policy
    f.uint();    // timeout
    const bool dynamic = f.boolean().value_or(false);
    f.of(Kind::map);  // dynamic-node-properties
    if (is_source) {
      f.symbol();  // distribution-mode
      const Value filter = f.of(Kind::map);
      if (!filter.is_null() && names_node && !read_filter(filter, out)) {
        problem = "attach: the filter of the source is malformed";
        return false;
      }
      f.any();  // default-outcome
      f.any();  // outcomes
      f.any();  // capabilities
    }
    if (!f.ok()) return false;
    if (!names_node) {
      if (is_text(address)) out.own_address = address.text();
      continue;
    }
    read_address(address, out);
    out.dynamic = dynamic;
  }
  problem.clear();
  return true;
}

Buffer echo_source(BytesView source, const std::optional<std::string>& session_id,
                   const std::optional<std::string>& assigned_address) {
  if (source.empty() || (!session_id && !assigned_address)) return to_buffer(source);
  return rewrite_list(source, assigned_address ? 1 : 0,
                      [&](std::uint32_t index, const Value& value, ValueWriter& w) {
                        if (index == kAddressField && assigned_address) {
                          w.string(*assigned_address);
                          return true;
                        }
                        if (index == kFilterField && session_id && value.kind == Kind::map) {
                          write_filter(value, *session_id, w);
                          return true;
                        }
                        return false;
                      });
}

Buffer echo_target(BytesView target, const std::optional<std::string>& assigned_address) {
  if (target.empty() || !assigned_address) return to_buffer(target);
  return rewrite_list(target, 1, [&](std::uint32_t index, const Value&, ValueWriter& w) {
    if (index != kAddressField) return false;
    w.string(*assigned_address);
    return true;
  });
}

Buffer echo_properties(BytesView properties, std::optional<std::int64_t> locked_until_ticks,
                       std::optional<std::int64_t> duplicate_window_ms) {
  const std::array<std::pair<std::string_view, std::optional<std::int64_t>>, 2> ours{
      {{kLockedUntil, locked_until_ticks}, {kDuplicateWindow, duplicate_window_ms}}};
  if (!locked_until_ticks && !duplicate_window_ms) return to_buffer(properties);
  ValueReader outer(properties);
  const Value map = properties.empty() ? Value{} : outer.next();
  Buffer out;
  ValueWriter w(out);
  const auto open = w.map();
  std::uint32_t count = 0;
  ValueReader entries = ValueReader::inside(map);
  while (!entries.at_end()) {
    const Value key = entries.next();
    const Value value = entries.next();
    if (!entries.ok()) continue;
    if (is_text(key) && std::any_of(ours.begin(), ours.end(),
                                    [&](const auto& our) { return our.second && key.text() == our.first; }))
      continue;
    w.encoded(key.encoded);
    w.encoded(value.encoded);
    count += 2;
  }
  for (const auto& [key, value] : ours) {
    if (!value) continue;
    w.symbol(key);
    w.long_(*value);
    count += 2;
  }
  w.close(open, count);
  return out;
}

}  // namespace mainstay::amqp
