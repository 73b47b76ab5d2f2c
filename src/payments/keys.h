// Idempotency and ordering keys, written exactly as documented: other systems compare them as text.
//
//   MT user message     MT:<type>:<sender>:<receiver>:<reference>[:<page>]
//   MT acknowledgement  MT:<F21-ACK or F21-NAK>:<BIC11>:<session and sequence>:<time of field 177>
//   MX                  MX:<pacs.008>:<sender>:<receiver>:<reference>[:COPY]
//
// The receiver is in the key because one reference goes to two parties; the version of an MX is not, so that
// a resend after a release change is still found; a UETR is not, for it names a payment and not a message.
#pragma once

#include <string_view>

#include "payments/message.h"

namespace mainstay::payments {

/// System messages without a reference fall back to session and sequence number.
void assign_mt_keys(std::string_view page, std::string_view account, std::string_view session_and_sequence,
                    Message& message);
void assign_acknowledgement_keys(std::string_view session_and_sequence, std::string_view time,
                                 Message& message);
/// `account` is empty unless the message is about exactly one account.
void assign_mx_keys(std::string_view account, Message& message);

}  // namespace mainstay::payments
