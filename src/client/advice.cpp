#include "client/advice.h"

#include <algorithm>
#include <array>

namespace mainstay::client {

namespace {

struct Row {
  std::string_view condition;
  Advice advice;
};

constexpr std::array<Row, 22> table{{
    {"amqp:connection:forced", Advice::not_live},
    {"amqp:connection:redirect", Advice::not_live},
    {"amqp:link:redirect", Advice::not_live},
    {"mainstay:unreachable", Advice::unreachable},
    {"mainstay:connection-lost", Advice::unreachable},
    {"amqp:connection:framing-error", Advice::unreachable},
    {"mainstay:timeout", Advice::silent},
    {"amqp:resource-limit-exceeded", Advice::silent},  // Proton's word for an idle time-out
    {"com.microsoft:server-busy", Advice::busy},
    {"com.microsoft:timeout", Advice::busy},
    {"com.microsoft:operation-cancelled", Advice::busy},
    {"amqp:link:detach-forced", Advice::busy},
    {"amqp:link:transfer-limit-exceeded", Advice::busy},
    {"amqp:internal-error", Advice::busy},
    {"amqp:unauthorized-access", Advice::credentials},
    {"com.microsoft:auth-failed", Advice::credentials},
    {"amqp:not-found", Advice::request},
    {"amqp:not-allowed", Advice::request},
    {"amqp:not-implemented", Advice::request},
    {"amqp:invalid-field", Advice::request},
    {"amqp:precondition-failed", Advice::request},
    {"com.microsoft:entity-disabled", Advice::request},
}};

constexpr std::array<std::string_view, 8> faults{
    "amqp:link:message-size-exceeded",
    "amqp:decode-error",
    "amqp:invalid-field",
    "amqp:not-allowed",
    "amqp:not-implemented",
    "com.microsoft:argument-error",
    "com.microsoft:argument-out-of-range",
    "com.microsoft:no-matching-subscription",
};

}  // namespace

Advice advice_of(std::string_view condition) {
  const auto* const found = std::find_if(table.begin(), table.end(),
                                         [condition](const Row& row) { return row.condition == condition; });
  return found == table.end() ? Advice::unreachable : found->advice;
}

bool message_at_fault(std::string_view condition) {
  return std::find(faults.begin(), faults.end(), condition) != faults.end();
}

const char* name_of(Advice advice) {
  switch (advice) {
    case Advice::not_live:
      return "not live";
    case Advice::unreachable:
      return "unreachable";
    case Advice::silent:
      return "silent";
    case Advice::busy:
      return "busy";
    case Advice::credentials:
      return "credentials refused";
    case Advice::request:
      return "request refused";
  }
  return "?";
}

}  // namespace mainstay::client
