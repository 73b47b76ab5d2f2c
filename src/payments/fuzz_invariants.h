// What must hold for any input whatever: shared by the fuzz targets.
#pragma once

#include <algorithm>
#include <string>

#include "base/assert.h"
#include "payments/inspect.h"
#include "payments/message.h"
#include "payments/seen_messages.h"

namespace mainstay::payments {

inline bool prints(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

/// A valid message read alone must be the same message: what stands beside it in a file has no influence.
inline void check_alone(const Message& message) {
  const std::vector<Message> again = read_messages(message.raw);
  MS_ASSERT(again.size() == 1 && again[0].valid, "a valid message is valid alone");
  MS_ASSERT(again[0].idempotency_key == message.idempotency_key, "and has the same key");
  MS_ASSERT(again[0].ordering_key == message.ordering_key, "and the same ordering key");
  MS_ASSERT(again[0].content_digest == message.content_digest, "and the same content");
}

inline void check_invariants(BytesView input) {
  const std::vector<Message> messages = read_messages(input);
  MS_ASSERT(!messages.empty(), "there is always an item");
  SeenMessages seen;
  std::string lines;
  std::uint64_t last_end = 0;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    MS_ASSERT(message.item == i + 1, "items are numbered from 1");
    MS_ASSERT(message.offset >= last_end, "items do not overlap");
    last_end = message.offset + message.raw.size();
    MS_ASSERT(last_end <= input.size(), "raw lies inside the input");
    MS_ASSERT(input.empty() || message.raw.data() == input.data() + message.offset,
              "raw is the input, not a copy");
    MS_ASSERT(message.valid == (message.code == "OK"), "the code says whether it is valid");
    MS_ASSERT(message.valid == message.why.empty() && prints(message.why),
              "why is there exactly when invalid, printable");
    MS_ASSERT(message.why.size() < 400, "why quotes a value, not a message");
    if (message.valid) {
      MS_ASSERT(!message.idempotency_key.empty() && message.ordering_key.size() > 2,
                "a valid message has keys");
      MS_ASSERT(message.content_digest.size() == 32 && !message.type.empty(), "and content and a type");
      check_alone(message);
    }
    const Relation relation = seen.add("f", message);
    MS_ASSERT(message.valid || relation.to == Relation::To::none, "an invalid message relates to nothing");
    if (message.valid && messages.size() < 100) {
      MS_ASSERT(seen.add("f", message).to == Relation::To::duplicate, "a message shown again is a duplicate");
    }
    lines.clear();
    write_tsv(lines, "f", message, relation);
    MS_ASSERT(std::count(lines.begin(), lines.end(), '\t') == 16 &&
                  std::count(lines.begin(), lines.end(), '\n') == 1,
              "one row of 17 columns");
    lines.clear();
    write_json(lines, "f", message, relation);
    MS_ASSERT(lines.back() == '\n' && prints(lines.substr(0, lines.size() - 1)), "one line of ASCII");
  }
}

}  // namespace mainstay::payments
