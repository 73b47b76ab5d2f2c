#include "amqp/message.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "amqp/value_reader.h"
#include "amqp/value_writer.h"

namespace mainstay::amqp {
namespace {

Buffer joined(const MessageParts& parts) {
  Buffer out;
  for (const auto part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

std::string text(BytesView bytes) {
  return std::string(as_text(bytes));
}

/// A message with every section, odd encodings on purpose.
Buffer full_message() {
  Buffer out;
  ValueWriter w(out);
  w.descriptor(descriptor::header);
  auto open = w.list();
  w.boolean(true);
  w.ubyte(7);
  w.uint(60000);
  w.null();
  w.uint(9);
  w.close(open, 5);
  w.descriptor(descriptor::delivery_annotations);
  open = w.map();
  w.symbol("hop");
  w.boolean(true);
  w.close(open, 2);
  w.descriptor(descriptor::message_annotations);
  open = w.map();
  w.symbol("x-opt-partition-key");
  w.string("key");
  w.symbol("x-opt-sequence-number");
  w.long_(-1);
  w.close(open, 4);
  // symbolic descriptor, wide list, wide string
  out.push_back(std::byte{0});
  w.symbol("amqp:properties:list");
  const std::string wide(300, 'i');
  open = w.list();
  w.string(wide);
  w.binary(as_bytes("user"));
  w.string("to");
  w.string("subject");
  w.null();
  w.ulong(5);
  w.symbol("text/xml");
  w.null();
  w.timestamp(5);
  w.timestamp(6);
  w.string("session");
  w.uint(1);
  w.close(open, 12);
  w.descriptor(descriptor::application_properties);
  open = w.map();
  w.string("keep");
  w.descriptor(0x99);
  w.long_(3);
  w.string("DeadLetterReason");
  w.string("old");
  w.close(open, 4);
  w.descriptor(descriptor::data);
  w.binary(as_bytes("one"));
  w.descriptor(descriptor::data);
  w.binary(as_bytes("two"));
  w.descriptor(descriptor::footer);
  open = w.map();
  w.symbol("sum");
  w.uint(1);
  w.close(open, 2);
  return out;
}

TEST(Message, IsReadInPlace) {
  const Buffer message = full_message();
  const auto view = view_message(message);
  ASSERT_TRUE(view) << view.error().what;
  EXPECT_TRUE(view->durable);
  EXPECT_EQ(view->priority, 7);
  EXPECT_EQ(view->ttl_ms, 60000U);
  EXPECT_EQ(view->delivery_count, 9U);
  EXPECT_EQ(view->message_id(), std::string(300, 'i'));
  EXPECT_EQ(view->group_id, "session");
  EXPECT_EQ(view->subject, "subject");
  const std::size_t sum = view->header.size() + view->delivery_annotations.size() +
                          view->message_annotations.size() + view->bare.size() + view->footer.size();
  EXPECT_EQ(sum, message.size());
  EXPECT_EQ(view->bare.size(),
            view->properties.size() + view->application_properties.size() + view->body.size());
}

TEST(Message, LookedAtAgainHasTheSameSections) {
  const Buffer message = full_message();
  const MessageView first = view_message(message).value();
  const MessageView again = view_sections(message);
  EXPECT_EQ(again.properties.data(), first.properties.data());
  EXPECT_EQ(again.bare.data(), first.bare.data());
  EXPECT_EQ(again.bare.size(), first.bare.size());
  EXPECT_EQ(text(again.body), text(first.body));
  EXPECT_EQ(text(again.message_annotations), text(first.message_annotations));
  EXPECT_EQ(text(again.footer), text(first.footer));
  EXPECT_EQ(again.ttl_ms, first.ttl_ms);
  EXPECT_EQ(again.priority, first.priority);
}

TEST(Message, EmptySectionsDoNotTakeOverWhatAnEarlierSectionHeld) {
  Buffer message;
  ValueWriter w(message);
  w.descriptor(descriptor::message_annotations);
  const auto map = w.map();
  w.symbol("key");
  w.string("value");
  w.close(map, 2);
  w.descriptor(descriptor::properties);
  message.push_back(std::byte{code::list0});
  w.descriptor(descriptor::amqp_value);
  w.null();
  const auto view = view_message(message);
  ASSERT_TRUE(view) << view.error().what;
  EXPECT_EQ(view->message_id(), std::nullopt);
  EXPECT_EQ(view->group_id, std::nullopt);
}

TEST(Message, IdsOfDifferentTypesNeverLookAlike) {
  const auto id_of = [](auto&& write) {
    Buffer out;
    ValueWriter w(out);
    w.descriptor(descriptor::properties);
    const auto list = w.list();
    write(w);
    w.close(list, 1);
    w.descriptor(descriptor::amqp_value);
    w.null();
    const auto view = view_message(out);
    return view ? std::optional<std::string>(view->message_id()) : std::optional<std::string>("error");
  };
  EXPECT_EQ(id_of([](ValueWriter& w) { w.string("7"); }), "7");
  EXPECT_EQ(id_of([](ValueWriter& w) { w.ulong(7); }), "ulong:7");
  EXPECT_EQ(id_of([](ValueWriter& w) { w.binary(as_bytes("7")); }), "binary:37");
  EXPECT_EQ(id_of([](ValueWriter& w) { w.uuid({0xab}); }), "uuid:ab000000000000000000000000000000");
  EXPECT_EQ(id_of([](ValueWriter& w) { w.null(); }), std::nullopt);
  EXPECT_EQ(id_of([](ValueWriter& w) { w.boolean(true); }), "error");
}

TEST(Message, ThatIsMalformedIsRefusedWithThePlace) {
  const Buffer whole = full_message();
  for (std::size_t cut = 0; cut < whole.size(); ++cut) {
    const auto view = view_message(BytesView(whole).first(cut));
    if (view) {
      EXPECT_TRUE(view->footer.empty()) << cut;  // only a cut before the footer, or between two data sections
      continue;
    }
    EXPECT_NE(view.error().what.find("byte "), std::string::npos);
  }
  const auto section = [](std::uint64_t code) {
    Buffer out;
    ValueWriter w(out);
    w.descriptor(code);
    if (code == descriptor::header || code == descriptor::properties || code == descriptor::amqp_sequence) {
      w.close(w.list(), 0);
    } else if (code == descriptor::data) {
      w.binary({});
    } else {
      w.close(w.map(), 0);
    }
    return out;
  };
  const auto refused = [&](std::initializer_list<std::uint64_t> codes) {
    Buffer out;
    for (const auto code : codes) {
      const Buffer part = section(code);
      out.insert(out.end(), part.begin(), part.end());
    }
    const auto view = view_message(out);
    return view ? std::string() : view.error().what;
  };
  EXPECT_EQ(refused({0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x75, 0x78}), "");
  EXPECT_EQ(refused({0x76, 0x76}), "");
  EXPECT_NE(refused({0x73}), "") << "no body";
  EXPECT_NE(refused({0x73, 0x70, 0x75}).find("header cannot follow properties"), std::string::npos);
  EXPECT_NE(refused({0x73, 0x73, 0x75}), "") << "properties twice";
  EXPECT_NE(refused({0x75, 0x76}), "") << "two kinds of body";
  EXPECT_NE(refused({0x77, 0x77}), "") << "two values";
  EXPECT_NE(refused({0x75, 0x78, 0x75}), "") << "a body after the footer";
  EXPECT_NE(refused({0x79, 0x75}), "") << "no such section";
  EXPECT_NE(refused({}), "") << "nothing at all";
}

TEST(Message, IsCheckedDownToTheLastByteOfItsProperties) {
  // Properties as a list8 of `count` fields with these bytes as its content.
  const auto taken = [](std::uint8_t count, std::initializer_list<std::uint8_t> content) {
    Buffer out;
    for (const std::uint8_t byte : {code::described, code::smallulong, std::uint8_t{0x73}, code::list8,
                                    static_cast<std::uint8_t>(content.size() + 1), count}) {
      out.push_back(static_cast<std::byte>(byte));
    }
    for (const std::uint8_t byte : content) out.push_back(static_cast<std::byte>(byte));
    ValueWriter w(out);
    w.descriptor(descriptor::data);
    w.binary({});
    return view_message(out).has_value();
  };
  constexpr std::uint8_t kNull = code::null;
  EXPECT_TRUE(taken(1, {code::str8, 1, 'i'}));
  EXPECT_FALSE(taken(1, {code::str8, 1, 'i', kNull})) << "a byte behind the last field";
  EXPECT_FALSE(taken(2, {code::str8, 1, 'i'})) << "a field is missing";
  EXPECT_TRUE(taken(3, {kNull, kNull, code::list8, 2, 1, code::uint0})) << "any address";
  EXPECT_FALSE(taken(3, {kNull, kNull, code::list8, 2, 1, 0xff})) << "an address that holds what is no value";
  EXPECT_FALSE(taken(5, {kNull, kNull, kNull, kNull, code::list8, 2, 1, 0xff})) << "nor one to answer to";
  EXPECT_TRUE(taken(14, {kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull,
                         kNull, code::uint0}))
      << "a field that nobody here knows";
  EXPECT_FALSE(taken(
      14, {kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, 0xff}));
}

TEST(Message, LeavesForDeliveryWithANewHeadAndTheBareMessageBitForBit) {
  const Buffer message = full_message();
  const MessageView view = view_message(message).value();
  DeliveryHead with;
  with.delivery_count = 2;
  with.first_acquirer = false;
  with.sequence_number = 77;
  with.enqueued_time_ms = 1'700'000'000'000;
  with.locked_until_ms = 1'700'000'060'000;
  with.dead_letter_source = "orders";
  Buffer head;
  const Buffer sent = joined(encode_for_delivery(message, view, with, head));
  const MessageView got = view_message(sent).value();
  EXPECT_EQ(text(got.bare), text(view.bare));
  EXPECT_EQ(text(got.footer), text(view.footer));
  EXPECT_TRUE(got.delivery_annotations.empty());
  EXPECT_EQ(got.delivery_count, 2U);
  EXPECT_EQ(got.ttl_ms, 60000U);
  EXPECT_EQ(got.priority, 7);
  EXPECT_TRUE(got.durable);

  std::map<std::string, Value> annotations;
  ValueReader section(got.message_annotations);
  ValueReader entries = ValueReader::inside(described(section.next())->value);
  int count = 0;
  while (!entries.at_end()) {
    const Value key = entries.next();
    EXPECT_EQ(key.kind, Kind::symbol);
    annotations[std::string(key.text())] = entries.next();
    ++count;
  }
  EXPECT_EQ(count, 7) << "none twice";
  EXPECT_EQ(annotations["x-opt-partition-key"].text(), "key");
  EXPECT_EQ(annotations["x-opt-sequence-number"].number, 77U);
  EXPECT_EQ(annotations["x-opt-sequence-number"].kind, Kind::long_);
  EXPECT_EQ(annotations["x-opt-enqueued-time"].kind, Kind::timestamp);
  EXPECT_EQ(annotations["x-opt-enqueued-time"].number, 1'700'000'000'000U);
  EXPECT_EQ(annotations["x-opt-locked-until"].number, 1'700'000'060'000U);
  EXPECT_EQ(annotations["x-opt-enqueue-sequence-number"].kind, Kind::long_);
  EXPECT_EQ(annotations["x-opt-message-state"].kind, Kind::int_);
  EXPECT_EQ(annotations["x-opt-deadletter-source"].text(), "orders");
}

TEST(Message, GetsTheSameHeadWhetherItsSenderLeftAnnotationsOrNot) {
  SimpleMessage simple;
  simple.body = as_bytes("b");
  const Buffer bare = encode_message(simple);
  Buffer annotated;
  ValueWriter w(annotated);
  w.descriptor(descriptor::message_annotations);
  const auto map = w.map();
  w.symbol("x-opt-message-state");  // the broker's own name: it does not leave again
  w.int_(7);
  w.close(map, 2);
  w.encoded(bare);
  constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  for (const std::int64_t number : {std::int64_t{0}, std::int64_t{127}, std::int64_t{128}, std::int64_t{-128},
                                    std::int64_t{-129}, kMin, kMax}) {
    for (const bool locked : {false, true}) {
      DeliveryHead with;
      with.delivery_count = static_cast<std::uint32_t>(number);
      with.sequence_number = with.enqueued_time_ms = with.enqueue_sequence_number = number;
      with.message_state = static_cast<std::int32_t>(number);
      if (locked) with.locked_until_ms = number;
      Buffer head, other_head;
      const Buffer sent = joined(encode_for_delivery(bare, view_message(bare).value(), with, head));
      const Buffer other =
          joined(encode_for_delivery(annotated, view_message(annotated).value(), with, other_head));
      EXPECT_EQ(hex(sent), hex(other)) << number;
      const MessageView got = view_message(sent).value();
      EXPECT_EQ(got.delivery_count, static_cast<std::uint32_t>(number));
      ValueReader section(got.message_annotations);
      const auto annotations = described(section.next());
      EXPECT_EQ(annotations->value.count, locked ? 10U : 8U);
      ValueReader entries = ValueReader::inside(annotations->value);
      entries.next();
      EXPECT_EQ(entries.next().signed_number(), number);
    }
  }
}

TEST(Message, AlwaysCarriesADeliveryCountAlsoZero) {
  SimpleMessage simple;
  simple.body = as_bytes("b");
  const Buffer message = encode_message(simple);
  Buffer head;
  const Buffer sent = joined(encode_for_delivery(message, view_message(message).value(), {}, head));
  ValueReader reader(sent);
  const auto header = described(reader.next());
  ASSERT_EQ(header->code, descriptor::header);
  Fields f(header->value);
  f.skip(4);
  EXPECT_EQ(f.uint(), 0U);
}

TEST(Message, FromADeadLetterQueueHasItsReasonAmongTheApplicationProperties) {
  const Buffer message = full_message();
  const MessageView view = view_message(message).value();
  Buffer changes;
  ValueWriter w(changes);
  const auto map = w.map();
  w.symbol("attempt");
  w.int_(3);
  w.symbol("keep");
  w.string("changed");
  w.close(map, 4);
  DeliveryHead with;
  with.dead_letter_reason = "MaxDeliveryCountExceeded";
  with.dead_letter_description = "ten times";
  with.modified_properties = changes;
  Buffer head;
  const Buffer sent = joined(encode_for_delivery(message, view, with, head));
  const MessageView got = view_message(sent).value();
  EXPECT_EQ(text(got.properties), text(view.properties));
  EXPECT_EQ(text(got.body), text(view.body));
  std::map<std::string, std::string> properties;
  ValueReader section(got.application_properties);
  const Value got_map = described(section.next())->value;
  EXPECT_EQ(got_map.count, 8U);
  ValueReader entries = ValueReader::inside(got_map);
  while (!entries.at_end()) {
    const Value key = entries.next();
    EXPECT_EQ(key.kind, Kind::string);
    const Value value = entries.next();
    properties[std::string(key.text())] = value.kind == Kind::string ? std::string(value.text()) : "number";
  }
  EXPECT_EQ(properties["DeadLetterReason"], "MaxDeliveryCountExceeded");
  EXPECT_EQ(properties["DeadLetterErrorDescription"], "ten times");
  EXPECT_EQ(properties["keep"], "changed");
  EXPECT_EQ(properties["attempt"], "number");
}

TEST(Message, GetsAnIdAndKeepsEverythingElse) {
  SimpleMessage simple;
  simple.group_id = "g";
  simple.ttl_ms = 5;
  simple.application_properties = {{"a", "b"}};
  simple.body = as_bytes("body");
  const Buffer with_properties = encode_message(simple);
  const MessageView before = view_message(with_properties).value();
  const Buffer named = with_message_id(with_properties, before, "fresh");
  const MessageView after = view_message(named).value();
  EXPECT_EQ(after.message_id(), "fresh");
  EXPECT_EQ(after.group_id, "g");
  EXPECT_EQ(after.ttl_ms, 5U);
  EXPECT_EQ(text(after.application_properties), text(before.application_properties));
  EXPECT_EQ(text(after.body), text(before.body));

  simple.group_id.clear();
  const Buffer bare = encode_message(simple);
  EXPECT_TRUE(view_message(bare).value().properties.empty());
  const Buffer bare_named = with_message_id(bare, view_message(bare).value(), "fresh");
  EXPECT_EQ(view_message(bare_named).value().message_id(), "fresh");
  EXPECT_EQ(text(view_message(bare_named).value().body), text(before.body));
}

}  // namespace
}  // namespace mainstay::amqp
