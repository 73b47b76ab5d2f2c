// One payment message as this room sees it: identity, ordering key, type, references, flags, routing facts,
// validity.
//
// Terms of the field: MT are FIN messages ({1:..}{2:..}{4:..}), MX are ISO 20022 XML documents, a UETR is the
// unique end-to-end transaction reference (RFC 4122 UUID version 4) that all messages of one payment share,
// BIC is ISO 9362. What "valid" means here: framed, typed, identified and free of the listed defects. It is
// not schema validation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace mainstay::payments {

enum class Kind : std::uint8_t {
  mt,      ///< FIN user or system message
  mt_ack,  ///< FIN service message: the network's answer to one of our own messages. Never a payment.
  mx,      ///< ISO 20022
  unknown,
};
std::string_view text(Kind kind);  ///< "mt", "mt-ack", "mx", "unknown"

/// How the file holds its messages.
enum class Container : std::uint8_t {
  single,  ///< one FIN message
  concat,  ///< FIN messages one after the other
  rje,     ///< FIN messages separated by '$'
  pcc,     ///< FIN messages between 0x01 and 0x03 (DOS-PCC)
  xml,     ///< one XML document, whatever wraps it
  empty,   ///< nothing but white space
  unknown,
};
std::string_view text(Container container);

enum class Flag : std::uint16_t {
  pde = 1 << 0,         ///< MT trailer: possible duplicate emission (the sender's)
  pdm = 1 << 1,         ///< MT trailer: possible duplicate message (the network's)
  pdup = 1 << 2,        ///< MX header: PssblDplct is true
  copy = 1 << 3,        ///< MX header: CpyDplct COPY
  codu = 1 << 4,        ///< MX header: CpyDplct CODU, copy of a duplicate
  dupl = 1 << 5,        ///< MX header: CpyDplct DUPL
  uak = 1 << 6,         ///< MT: a user acknowledgement stands in front of the received message
  multi_uetr = 1 << 7,  ///< MX: several payments, each with its own UETR
};

/// A duplicate flag is a hint, never the test: see SeenMessages.
class Flags {
 public:
  void set(Flag flag) { bits_ = static_cast<std::uint16_t>(bits_ | static_cast<std::uint16_t>(flag)); }
  [[nodiscard]] bool has(Flag flag) const { return (bits_ & static_cast<std::uint16_t>(flag)) != 0; }
  [[nodiscard]] bool empty() const { return bits_ == 0; }
  /// "PDE,PDM" in the order of the enumeration; empty when none is set.
  [[nodiscard]] std::string text() const;
  friend bool operator==(Flags, Flags) = default;

 private:
  std::uint16_t bits_ = 0;
};

enum class Direction : std::uint8_t {
  unknown,
  input,   ///< from us to the network
  output,  ///< from the network to us
};

/// One message of a file. Text fields are empty when the message does not have them. When `valid` is false,
/// the fields hold what could be read and are for information only: nothing may be done with the message but
/// keeping it.
struct Message {
  Kind kind = Kind::unknown;
  Container container = Container::unknown;
  Direction direction = Direction::unknown;
  bool valid = false;
  bool test = false;  ///< a test or training message: keep it away from production
  Flags flags;
  std::uint32_t item = 1;    ///< position in the file, from 1
  std::uint64_t offset = 0;  ///< of `raw` in the file, bytes
  /// The item's exact bytes, inside the view given to read_messages(); RJE and PCC without separators and
  /// padding.
  BytesView raw;

  std::string code;  ///< "OK", or the rule that failed, e.g. "MT_NO_REF"
  /// What is wrong where and what was expected; the offending value is cut to 32 printable characters (it is
  /// customer data). Empty when valid.
  std::string why;

  std::string type;       ///< "103", "F21-ACK", "F21-NAK", "pacs.008.001.08"
  std::string variant;    ///< "STP", "COV", …: field 119; for MX the header's BizSvc decides the variant
  std::string reference;  ///< the sender's own reference of this message
  std::string uetr;       ///< of the payment; for MX answers the original's. Names a payment, not a message.
  std::string sender;     ///< BIC11, or another identifier in MX
  std::string receiver;

  /// Same key and same content_digest: the same message again. Same key and another digest: a conflict.
  std::string idempotency_key;
  /// Messages with equal ordering keys must be delivered in order of arrival: "U:<uetr>", "A:<account>" or
  /// "P:<sender>:<receiver>".
  std::string ordering_key;
  /// digest128 of the canonical content: independent of line ends, prefixes, headers and trailers.
  std::string content_digest;

  std::string related_reference;  ///< the message this one points to
  std::string currency;           ///< of the first transaction
  std::string amount;             ///< its text as written: decimal comma in MT, point in MX
  std::string value_date;         ///< YYYY-MM-DD
  std::string account;            ///< of statements and confirmations
  std::string transactions;       ///< NbOfTxs as written
  std::string priority;
  std::string service;  ///< BizSvc of the business header
  std::string mur;      ///< field 108, message user reference
  std::string mir;      ///< message input reference, 28 characters: evidence, not identity
  std::string mor;      ///< message output reference, 28 characters
};

/// What is refused for its size. All bounds are per message and hold before memory is spent on it.
struct Limits {
  std::size_t mt_characters_max = 10'000;  ///< CR LF counts as two, also where the file has LF alone
  std::size_t mt_fields_max = 2'000;
  std::size_t mx_bytes_max = std::size_t{1} << 20;
  std::size_t elements_max = 100'000;
  int depth_max = 64;
  int attributes_max = 64;                            ///< per element
  std::size_t name_bytes_max = 256;                   ///< of an element or attribute, without its namespace
  std::size_t text_bytes_max = std::size_t{1} << 20;  ///< of one element or attribute
  std::size_t items_max = 100'000;  ///< messages of one file; what follows is one invalid item
};

/// Splits a file into its messages and reads each. There is always at least one item; a file without a
/// message gives one invalid item. A defective message never takes its neighbours along. Does not throw on
/// any input, reads nothing but `file`, and keeps no state: safe to call from any thread. The result points
/// into `file`.
[[nodiscard]] std::vector<Message> read_messages(BytesView file, const Limits& limits = {});

}  // namespace mainstay::payments
