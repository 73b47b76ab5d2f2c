#include "amqp/outcome.h"

#include <array>

#include "amqp/performatives.h"
#include "amqp/value_writer.h"

namespace mainstay::amqp {
namespace {

template <std::size_t N>
constexpr std::array<std::byte, N> encoding(const std::uint8_t (&from)[N]) {
  std::array<std::byte, N> out{};
  for (std::size_t i = 0; i < N; ++i) out[i] = static_cast<std::byte>(from[i]);
  return out;
}
constexpr auto kAccepted = encoding({code::described, code::smallulong, 0x24, code::list0});
constexpr auto kRejected = encoding({code::described, code::smallulong, 0x25, code::list0});
constexpr auto kReleased = encoding({code::described, code::smallulong, 0x26, code::list0});
/// Both flags are written: some clients take an absent one for null.
constexpr auto kModified = encoding(
    {code::described, code::smallulong, 0x27, code::list8, 3, 2, code::boolean_false, code::boolean_false,
     code::described, code::smallulong, 0x27, code::list8, 3, 2, code::boolean_true,  code::boolean_false,
     code::described, code::smallulong, 0x27, code::list8, 3, 2, code::boolean_false, code::boolean_true,
     code::described, code::smallulong, 0x27, code::list8, 3, 2, code::boolean_true,  code::boolean_true});
constexpr std::size_t kModifiedBytes = 8;

}  // namespace

bool read_outcome(const Value& state, Outcome& out) {
  if (state.is_null()) return true;
  const auto value = described(state);
  if (!value) return false;
  switch (value->code) {
    case descriptor::received:
      return true;
    case descriptor::accepted:
      out.type = Outcome::Type::accepted;
      return value->value.kind == Kind::list;
    case descriptor::released:
      out.type = Outcome::Type::released;
      return value->value.kind == Kind::list;
    case descriptor::rejected: {
      out.type = Outcome::Type::rejected;
      Fields f(value->value);
      const Value error = f.of(Kind::described);
      if (!f.ok() || error.is_null()) return f.ok();
      const auto inside = described(error);
      if (!inside) return false;
      Fields e(inside->value);
      Condition condition;
      condition.symbol = e.symbol().value_or("");
      condition.description = e.string().value_or("");
      const Value info = e.of(Kind::map);
      if (!e.ok()) return false;
      out.error = std::move(condition);
      if (!info.is_null()) {
        if (!well_formed(info.encoded)) return false;
        out.map = to_buffer(info.encoded);
      }
      return true;
    }
    case descriptor::modified: {
      out.type = Outcome::Type::modified;
      Fields f(value->value);
      out.delivery_failed = f.boolean().value_or(false);
      out.undeliverable_here = f.boolean().value_or(false);
      const Value annotations = f.of(Kind::map);
      if (!f.ok()) return false;
      if (!annotations.is_null()) {
        if (!well_formed(annotations.encoded)) return false;
        out.map = to_buffer(annotations.encoded);
      }
      return true;
    }
    default:
      out.type = Outcome::Type::other;
      return true;
  }
}

bool is_plain(const Outcome& outcome) {
  return outcome.map.empty() && (outcome.type != Outcome::Type::rejected || !outcome.error);
}

BytesView plain_outcome(const Outcome& outcome) {
  switch (outcome.type) {
    case Outcome::Type::accepted:
      return kAccepted;
    case Outcome::Type::rejected:
      return kRejected;
    case Outcome::Type::released:
      return kReleased;
    case Outcome::Type::modified: {
      const std::size_t which = (outcome.delivery_failed ? 1U : 0U) + (outcome.undeliverable_here ? 2U : 0U);
      return BytesView(kModified).subspan(which * kModifiedBytes, kModifiedBytes);
    }
    case Outcome::Type::none:
    case Outcome::Type::other:
      break;
  }
  return {};
}

void encode_long_disposition(Buffer& to, bool from_receiver, std::uint32_t delivery_id, bool settled,
                             const Outcome& outcome) {
  ValueWriter w(to);
  w.descriptor(descriptor::disposition);
  const auto list = w.list();
  w.boolean(from_receiver);
  w.uint(delivery_id);
  w.uint(delivery_id);
  w.boolean(settled);
  encode_outcome(to, outcome);
  w.close(list, 5);
}

void encode_outcome(Buffer& to, const Outcome& outcome) {
  ValueWriter w(to);
  if (outcome.type == Outcome::Type::rejected && outcome.error) {
    w.descriptor(descriptor::rejected);
    const auto list = w.list();
    encode_error(w, *outcome.error, outcome.map);
    w.close(list, 1);
  } else if (outcome.type == Outcome::Type::modified && !outcome.map.empty()) {
    w.descriptor(descriptor::modified);
    const auto list = w.list();
    w.boolean(outcome.delivery_failed);
    w.boolean(outcome.undeliverable_here);
    w.encoded(outcome.map);
    w.close(list, 3);
  } else if (const BytesView plain = plain_outcome(outcome); !plain.empty()) {
    w.encoded(plain);
  } else {
    w.null();
  }
}

}  // namespace mainstay::amqp
