// What tells a duplicate from a conflict under one idempotency key: the content's digest and, for an MT that
// has one in its user header, the UETR, written "digest+uetr". The UETR is outside the digested text and may
// be stripped on the way: a copy without it is the same message, two different ones are two payments
// (reference: SWIFT FIN field 121).
#pragma once

#include <string>
#include <string_view>

namespace mainstay::ledger {

/// @param uetr  empty when the message has none or its digest covers it.
[[nodiscard]] inline std::string content_id(std::string_view digest, std::string_view uetr) {
  std::string id(digest);
  if (!uetr.empty()) id.append("+").append(uetr);
  return id;
}

[[nodiscard]] inline std::string_view digest_of(std::string_view content_id) {
  return content_id.substr(0, content_id.find('+'));
}

[[nodiscard]] inline std::string_view uetr_of(std::string_view content_id) {
  const auto plus = content_id.find('+');
  return plus == std::string_view::npos ? std::string_view() : content_id.substr(plus + 1);
}

/// False: a conflict, to be parked.
[[nodiscard]] inline bool same_content(std::string_view a, std::string_view b) {
  return digest_of(a) == digest_of(b) &&
         (uetr_of(a).empty() || uetr_of(b).empty() || uetr_of(a) == uetr_of(b));
}

}  // namespace mainstay::ledger
