#include "payments/keys.h"

#include "payments/mt_types.h"

namespace mainstay::payments {
namespace {

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const std::string_view part : parts) {
    if (!out.empty()) out += ':';
    out += part;
  }
  return out;
}

std::string_view or_dash(std::string_view text) {
  return text.empty() ? "-" : text;
}

/// The first that applies: the payment, the account of a statement, the two parties.
std::string ordering_key(const Message& message, std::string_view statement_account) {
  if (!message.uetr.empty()) return "U:" + message.uetr;
  if (!statement_account.empty()) return "A:" + std::string(statement_account);
  return joined({"P", or_dash(message.sender), or_dash(message.receiver)});
}

}  // namespace

void assign_mt_keys(std::string_view page, std::string_view account, std::string_view session_and_sequence,
                    Message& message) {
  const std::string_view reference = message.reference.empty() ? session_and_sequence : message.reference;
  message.idempotency_key = joined({"MT", message.type, message.sender, message.receiver, reference});
  if (!page.empty()) message.idempotency_key += ":" + std::string(page);
  message.ordering_key =
      ordering_key(message, is_statement_type(message.type) ? account : std::string_view());
}

void assign_acknowledgement_keys(std::string_view session_and_sequence, std::string_view time,
                                 Message& message) {
  message.idempotency_key = joined({"MT", message.type, message.sender, session_and_sequence, time});
  message.ordering_key = ordering_key(message, {});
}

void assign_mx_keys(std::string_view account, Message& message) {
  const std::string_view type = std::string_view(message.type).substr(0, 8);
  message.idempotency_key =
      joined({"MX", type, or_dash(message.sender), or_dash(message.receiver), message.reference});
  if (message.flags.has(Flag::copy) || message.flags.has(Flag::codu)) message.idempotency_key += ":COPY";
  message.ordering_key = ordering_key(message, account);
}

}  // namespace mainstay::payments
