// One ISO 20022 document: business header, message definition, identification and value formats, rule after
// rule.
#include <algorithm>
#include <array>

#include "base/checksum.h"
#include "payments/keys.h"
#include "payments/mx_document.h"
#include "payments/mx_header.h"
#include "payments/mx_values.h"
#include "payments/readers.h"

namespace mainstay::payments {
namespace {

using Rule = std::optional<Defect>;
constexpr std::uint32_t kNone = MxDocument::kNone;

/// "pacs.008.001.08" anywhere in the namespace; empty when there is none. Schemes differ, this part does not.
std::string_view type_in(std::string_view name_space) {
  constexpr std::string_view kForm = "aaaa.nnn.nnn.nn";
  for (std::size_t at = 0; at + kForm.size() <= name_space.size(); ++at) {
    const std::string_view part = name_space.substr(at, kForm.size());
    const bool fits = std::equal(part.begin(), part.end(), kForm.begin(), [](char c, char form) {
      return form == 'a' ? c >= 'a' && c <= 'z' : form == 'n' ? is_digit(c) : c == form;
    });
    if (fits) return part;
  }
  return {};
}

/// Where the message identification may be, under the body.
std::uint32_t find_message_id(const MxDocument& document, std::uint32_t body) {
  const std::uint32_t candidates[] = {
      document.path(body, {"GrpHdr", "MsgId"}),
      document.path(body, {"Assgnmt", "Id"}),
      document.path(body, {"Assgnmt", "MsgId"}),
      document.path(body, {"MsgHdr", "MsgId"}),
      document.path(body, {"Hdr", "MsgId"}),
      document.path(body, {"MsgId", "MsgId"}),
      document.path(body, {"MsgId", "Id"}),
      document.path(body, {"Refs", "MsgId", "Id"}),
      document.path(body, {"MsgId"}),
  };
  for (const std::uint32_t candidate : candidates) {
    if (candidate != kNone && document.is_leaf(candidate)) return candidate;
  }
  return kNone;
}

/// With a business header only these have a message identification of their own for certain.
bool needs_message_id(std::string_view type) {
  return type.starts_with("pacs.") || type.starts_with("pain.") || type.starts_with("camt.029") ||
         (type.substr(0, 8) >= "camt.052" && type.substr(0, 8) <= "camt.060");
}

struct Transactions {
  std::string_view type;
  std::string_view group;  ///< between body and transaction, empty when there is none
  std::string_view element;
};
constexpr std::array kTransactions = {
    Transactions{"pacs.003", "", "DrctDbtTxInf"},       Transactions{"pacs.008", "", "CdtTrfTxInf"},
    Transactions{"pacs.009", "", "CdtTrfTxInf"},        Transactions{"pain.001", "PmtInf", "CdtTrfTxInf"},
    Transactions{"pain.008", "PmtInf", "DrctDbtTxInf"},
};
constexpr std::array<std::string_view, 6> kCustomerTransfer = {"PmtId",   "IntrBkSttlmAmt", "Dbtr",
                                                               "DbtrAgt", "CdtrAgt",        "Cdtr"};
constexpr std::array<std::string_view, 4> kBankTransfer = {"PmtId", "IntrBkSttlmAmt", "Dbtr", "Cdtr"};

class MxReader {
 public:
  explicit MxReader(Message& message) : message_(message) {}

  Rule read(std::string_view item, const Limits& limits) {
    message_.kind = Kind::mx;
    if (auto defect = document_.read(item, limits)) return defect;
    if (auto defect = find_parts()) return defect;
    if (auto defect = read_header()) return defect;
    if (auto defect = read_message_id()) return defect;
    MxValues values(document_);
    values.scan(root_);
    if (header_ != kNone) values.scan(header_);
    if (values.defect()) return values.defect();
    if (auto defect = check_transactions()) return defect;
    if (auto defect = check_codes()) return defect;
    describe(values);
    message_.content_digest = digest128(as_bytes(document_.canonical()));
    return std::nullopt;
  }

 private:
  Rule find_parts() {
    const auto& roots = document_.documents();
    const auto& headers = document_.headers();
    if (!headers.empty()) header_ = headers.front();
    if (roots.empty()) {
      if (header_ != kNone) message_.reference = document_.text_at(document_.child(header_, "BizMsgIdr"));
      return Defect{"MX_NO_DOCUMENT", 0, "expected an element Document, found none"};
    }
    root_ = roots.front();
    if (roots.size() > 1) {
      return Defect{"MX_MULTI_DOCUMENT", document_.at(roots[1]),
                    "expected one element Document, found " + std::to_string(roots.size())};
    }
    if (headers.size() > 1) {
      return Defect{"MX_MULTI_BAH", document_.at(headers[1]),
                    "expected at most one element AppHdr, found " + std::to_string(headers.size())};
    }
    message_.type = type_in(document_.name_space(root_));
    if (message_.type.empty()) {
      return Defect{"MX_NAMESPACE", document_.at(root_),
                    "the namespace of Document must name the message, like pacs.008.001.08; found " +
                        shown(document_.name_space(root_))};
    }
    if (root_ + 1 < document_.end(root_)) body_ = root_ + 1;
    return std::nullopt;
  }

  Rule read_header() {
    if (header_ != kNone) return read_business_header(document_, header_, message_.type, message_);
    describe_parties_of_body();
    return std::nullopt;
  }

  /// Without a business header: the instructing and instructed agents, or who assigned an investigation to
  /// whom.
  void describe_parties_of_body() {
    const auto identifier_of = [this](std::string_view agent, std::string_view otherwise) -> std::string {
      for (const std::string_view wanted : {agent, otherwise}) {
        for (std::uint32_t i = root_ + 1; i < document_.end(root_); ++i) {
          if (document_.name(i) == wanted) return bic11(party_identifier(document_, i));
        }
      }
      return {};
    };
    message_.sender = identifier_of("InstgAgt", "Assgnr");
    message_.receiver = identifier_of("InstdAgt", "Assgne");
  }

  Rule read_message_id() {
    const std::uint32_t id = find_message_id(document_, body_);
    if (id == kNone) {
      if (header_ != kNone && !needs_message_id(message_.type)) return std::nullopt;
      return Defect{"MX_NO_MSGID", document_.at(root_),
                    "expected a message identification such as GrpHdr/MsgId, found none"};
    }
    const std::size_t length = utf8_length(document_.text(id));
    if (length < 1 || length > 35) {
      return Defect{
          "MX_ID_LEN", document_.at(id),
          "the message identification must have 1 to 35 characters, found " + shown(document_.text(id))};
    }
    if (header_ == kNone) message_.reference = document_.text(id);
    return std::nullopt;
  }

  Rule check_transactions() {
    const std::string_view type = std::string_view(message_.type).substr(0, 8);
    const std::uint32_t declared = document_.path(body_, {"GrpHdr", "NbOfTxs"});
    message_.transactions = document_.text_at(declared);
    const auto known = std::find_if(kTransactions.begin(), kTransactions.end(),
                                    [type](const Transactions& entry) { return entry.type == type; });
    if (known == kTransactions.end() || body_ == kNone) return std::nullopt;
    std::size_t count = 0;
    for (std::uint32_t i = body_ + 1; i < document_.end(body_); i = document_.end(i)) {
      if (known->group.empty()) {
        if (document_.name(i) != known->element) continue;
        ++count;
        if (!missing_) missing_ = check_transaction(type, i);
      } else if (document_.name(i) == known->group) {
        for (std::uint32_t j = i + 1; j < document_.end(i); j = document_.end(j)) {
          if (document_.name(j) == known->element) ++count;
        }
      }
    }
    if (declared != kNone) {
      std::string_view digits = document_.text(declared);
      while (digits.size() > 1 && digits.front() == '0') digits.remove_prefix(1);
      if (digits != std::to_string(count)) {
        return Defect{
            "MX_NBOFTXS", document_.at(declared),
            "NbOfTxs is " + shown(digits) + " but there are " + std::to_string(count) + " transactions"};
      }
    }
    if (count == 0) {
      return Defect{"MX_MISSING", document_.at(body_),
                    "expected at least one " + std::string(known->element)};
    }
    return std::move(missing_);
  }

  Rule check_transaction(std::string_view type, std::uint32_t transaction) const {
    const auto missing = [&](std::string_view name, std::uint32_t in) {
      return Defect{"MX_MISSING", document_.at(in),
                    std::string(document_.name(in)) + " must have a " + std::string(name) + " and has none"};
    };
    if (type == "pacs.008") {
      for (const std::string_view name : kCustomerTransfer) {
        if (document_.child(transaction, name) == kNone) return missing(name, transaction);
      }
      const std::uint32_t ids = document_.child(transaction, "PmtId");
      if (document_.child(ids, "EndToEndId") == kNone) return missing("EndToEndId", ids);
    } else if (type == "pacs.009") {
      for (const std::string_view name : kBankTransfer) {
        if (document_.child(transaction, name) == kNone) return missing(name, transaction);
      }
    }
    return std::nullopt;
  }

  Rule check_codes() {
    if (header_ == kNone) return std::nullopt;
    const std::uint32_t possible_duplicate = document_.child(header_, "PssblDplct");
    if (possible_duplicate != kNone) {
      const std::string_view value = document_.text(possible_duplicate);
      if (value == "true" || value == "1") {
        message_.flags.set(Flag::pdup);
      } else if (value != "false" && value != "0") {
        return Defect{"MX_CODE", document_.at(possible_duplicate),
                      "PssblDplct must be true, false, 1 or 0, found " + shown(value)};
      }
    }
    const std::uint32_t copy = document_.child(header_, "CpyDplct");
    if (copy == kNone) return std::nullopt;
    const std::string_view value = document_.text(copy);
    if (value == "COPY") {
      message_.flags.set(Flag::copy);
    } else if (value == "CODU") {
      message_.flags.set(Flag::codu);
    } else if (value == "DUPL") {
      message_.flags.set(Flag::dupl);
    } else {
      return Defect{"MX_CODE", document_.at(copy),
                    "CpyDplct must be CODU, COPY or DUPL, found " + shown(value)};
    }
    return std::nullopt;
  }

  void describe(const MxValues& values) {
    const MxFacts& facts = values.facts();
    if (facts.several_uetrs) {
      message_.flags.set(Flag::multi_uetr);
    } else {
      message_.uetr = facts.uetr;
    }
    message_.currency = facts.currency;
    message_.amount = facts.amount;
    message_.value_date = facts.value_date;
    if (message_.related_reference.empty()) message_.related_reference = facts.original_reference;
    if (message_.priority.empty()) message_.priority = facts.priority;
    message_.test = is_test_bic(message_.sender) || is_test_bic(message_.receiver) || in_pilot_service();
    message_.account = statement_account(document_, body_, message_.type);
    assign_mx_keys(message_.account, message_);
    describe_transport();
  }

  /// What an Alliance envelope around the message says.
  void describe_transport() {
    for (std::uint32_t i = 0; i < root_; ++i) {
      if (document_.name(i) != "SubFormat") continue;
      if (document_.text(i) == "Input") message_.direction = Direction::input;
      if (document_.text(i) == "Output") message_.direction = Direction::output;
      return;
    }
  }

  [[nodiscard]] bool in_pilot_service() const {
    for (std::uint32_t i = 0; i < root_; ++i) {
      if (i == header_) i = document_.end(i);  // may step onto the Document, where the loop ends
      if (i < root_ && document_.name(i) == "Service" && document_.text(i).ends_with("!pf")) return true;
    }
    return false;
  }

  MxDocument document_;
  Message& message_;
  std::uint32_t root_ = kNone;
  std::uint32_t header_ = kNone;
  std::uint32_t body_ = kNone;
  Rule missing_;
};

}  // namespace

std::optional<Defect> read_mx(std::string_view item, const Limits& limits, Message& message) {
  return MxReader(message).read(item, limits);
}

}  // namespace mainstay::payments
