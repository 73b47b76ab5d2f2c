// One FIN item: user message, system message or service message (acknowledgement), rule after rule.
#include <algorithm>
#include <array>

#include "base/checksum.h"
#include "payments/keys.h"
#include "payments/mt_frame.h"
#include "payments/mt_headers.h"
#include "payments/mt_text.h"
#include "payments/mt_types.h"
#include "payments/readers.h"

namespace mainstay::payments {
namespace {

using Rule = std::optional<Defect>;

bool is_number_tag(std::string_view tag) {
  return tag.size() == 3 && all_digits(tag);
}
bool is_trailer_tag(std::string_view tag) {
  return tag.size() == 3 &&
         std::all_of(tag.begin(), tag.end(), [](char c) { return is_capital(c) || is_digit(c); });
}
bool prints(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

/// The blocks of one message of the item: an acknowledgement and the message it answers are two.
struct Blocks {
  const MtBlock* basic = nullptr;
  const MtBlock* application = nullptr;
  const MtBlock* user = nullptr;
  const MtBlock* text = nullptr;
  const MtBlock* trailer = nullptr;
  std::size_t end = 0;  ///< index behind the last block
  Rule defect;          ///< repeated or out of order
};

int rank(char id) {
  return id == 'S' ? 6 : id - '0';
}

Blocks take_blocks(const std::vector<MtBlock>& all, std::size_t begin, std::size_t end) {
  Blocks blocks;
  blocks.end = end;
  std::array<bool, 7> seen{};
  int last = 0;
  for (std::size_t i = begin; i < end; ++i) {
    const MtBlock& block = all[i];
    const int position = rank(block.id);
    const auto index = static_cast<std::size_t>(position);
    if (!blocks.defect && seen[index]) {
      blocks.defect = Defect{"MT_DUP_BLOCK", block.at, std::string("block ") + block.id + " occurs twice"};
    } else if (!blocks.defect && position < last) {
      blocks.defect = Defect{
          "MT_BLOCK_ORDER", block.at,
          std::string("expected the blocks in the order 1 2 3 4 5 S, found block ") + block.id + " too late"};
    }
    seen[index] = true;
    last = position;
    switch (block.id) {
      case '1':
        blocks.basic = &block;
        break;
      case '2':
        blocks.application = &block;
        break;
      case '3':
        blocks.user = &block;
        break;
      case '4':
        blocks.text = &block;
        break;
      case '5':
        blocks.trailer = &block;
        break;
      default:
        break;
    }
  }
  return blocks;
}

/// CR LF counts as two characters, also where a tool has left LF alone.
std::size_t characters(std::string_view text) {
  std::size_t count = text.size();
  for (std::size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    if (at == 0 || text[at - 1] != '\r') ++count;
  }
  return count;
}

class MtReader {
 public:
  MtReader(const Limits& limits, Message& message) : limits_(limits), message_(message) {}

  Rule read(std::string_view item) {
    message_.kind = Kind::mt;
    if (auto defect = check_size(item)) return defect;
    if (auto defect = read_frame(item, frame_)) return defect;
    const std::vector<MtBlock>& all = frame_.blocks;
    const bool service =
        !all.empty() && all[0].id == '1' && all[0].content.size() >= 3 && all[0].content.substr(1, 2) == "21";
    std::size_t payload = 0;
    if (service) {
      payload = 1;
      while (payload < all.size() && all[payload].id != '1') ++payload;
    }
    const Blocks attached = take_blocks(all, payload, all.size());
    if (!service) return read_message(attached);
    if (payload < all.size() && attached.application != nullptr &&
        attached.application->content.starts_with('O')) {
      // A received message with our own acknowledgement in front: the message counts.
      message_.flags.set(Flag::uak);
      if (auto defect = read_acknowledgement(take_blocks(all, 0, payload), nullptr)) return defect;
      message_.kind = Kind::mt;
      message_.type.clear();
      message_.reference.clear();
      return read_message(attached);
    }
    message_.kind = Kind::mt_ack;
    return read_acknowledgement(take_blocks(all, 0, payload), payload < all.size() ? &attached : nullptr);
  }

 private:
  Rule check_size(std::string_view item) {
    // The acknowledgement in front is not part of the message that is measured.
    std::size_t begin = 0;
    if (item.starts_with("{1:F21")) begin = std::min(item.substr(0, 512).find("{1:", 3), item.size());
    if (begin == item.size()) begin = 0;
    const std::size_t count = characters(item.substr(begin));
    if (count <= limits_.mt_characters_max) return std::nullopt;
    return Defect{"MT_TOO_LONG", begin,
                  std::to_string(count) + " characters (line ends count as two); at most " +
                      std::to_string(limits_.mt_characters_max) + " are accepted"};
  }

  Rule read_message(const Blocks& blocks) {
    if (blocks.basic == nullptr)
      return Defect{"MT_B1_MISSING", 0, "expected a block 1 (basic header), found none"};
    if (auto defect = read_basic_header(*blocks.basic, basic_)) return defect;
    if (blocks.defect) return blocks.defect;
    if (basic_.service != "01") {
      return Defect{"MT_B1_FORMAT", blocks.basic->at, "an acknowledgement cannot answer an acknowledgement"};
    }
    if (blocks.application == nullptr) {
      return Defect{"MT_B2_MISSING", blocks.basic->at, "expected a block 2 (application header), found none"};
    }
    if (auto defect = read_application_header(*blocks.application, application_)) return defect;
    describe_headers();
    if (blocks.user != nullptr) {
      if (auto defect = read_user_header(*blocks.user)) return defect;
    }
    if (blocks.text == nullptr)
      return Defect{"MT_B4_MISSING", blocks.basic->at, "expected a block 4 (text), found none"};
    if (auto defect = blocks.text->lines ? read_text(*blocks.text) : read_system_text(*blocks.text))
      return defect;
    if (blocks.trailer != nullptr) {
      if (auto defect = read_trailer(*blocks.trailer)) return defect;
    }
    assign_mt_keys(page_, account_, basic_.session_and_sequence, message_);
    return std::nullopt;
  }

  void describe_headers() {
    message_.type = application_.type;
    message_.direction = application_.direction;
    message_.priority = application_.priority;
    const std::string ours = bic11_of_terminal(basic_.terminal);
    const std::string theirs = bic11_of_terminal(application_.terminal);
    const bool input = application_.direction == Direction::input;
    message_.sender = input ? ours : theirs;
    message_.receiver = input ? theirs : ours;
    message_.test = is_test_bic(message_.sender) || is_test_bic(message_.receiver);
    if (input) return;
    message_.mir = application_.mir;
    message_.mor = application_.output_date;
    message_.mor += basic_.terminal;
    message_.mor += basic_.session_and_sequence;
  }

  Rule read_user_header(const MtBlock& block) {
    std::vector<TagValue> tags;
    const std::size_t wrong = read_tag_list(block.content, block.content_at, is_number_tag, tags);
    if (wrong != std::string_view::npos) {
      return Defect{"MT_B3_FORMAT", wrong,
                    "block 3: expected a list of {nnn:value}, found " +
                        shown(block.content.substr(wrong - block.content_at, 32))};
    }
    for (const TagValue& tag : tags) {
      if (!prints(tag.value)) {
        return Defect{"MT_B3_FORMAT", tag.at, "block 3: expected printable ASCII, found " + shown(tag.value)};
      }
      if (tag.tag == "108") {
        if (tag.value.size() > 16) {
          return Defect{"MT_B3_FORMAT", tag.at,
                        "field 108 has at most 16 characters, found " + shown(tag.value)};
        }
        message_.mur = trimmed(tag.value);
      } else if (tag.tag == "119") {
        message_.variant = trimmed(tag.value);
      } else if (tag.tag == "121") {
        if (!is_uetr(tag.value)) {
          return Defect{"MT_UETR", tag.at,
                        "field 121 must be a UUID version 4 in lower case, found " + shown(tag.value)};
        }
        if (!message_.uetr.empty() && message_.uetr != tag.value) {
          return Defect{"MT_UETR", tag.at, "a second field 121 with another value: " + shown(tag.value)};
        }
        message_.uetr = tag.value;
      }
    }
    return std::nullopt;
  }

  Rule read_text(const MtBlock& block) {
    Fields fields;
    if (auto defect = read_fields(block, limits_.mt_fields_max, fields)) return defect;
    if (const std::size_t wrong = first_outside_fin_set(block.content); wrong != std::string_view::npos) {
      message_.reference = first_line(find_field(fields, "20"));
      return Defect{
          "MT_CHARSET", block.content_at + wrong,
          "a byte outside the FIN character sets: 0x" + hex(as_bytes(block.content.substr(wrong, 1)))};
    }
    if (auto defect = read_reference(block, fields)) return defect;
    if (auto defect = check_type(message_.type, message_.variant, fields)) return defect;
    describe_text(fields);
    message_.content_digest = digest128(as_bytes(canonical_text(message_.type, fields)));
    return std::nullopt;
  }

  Rule read_reference(const MtBlock& block, const Fields& fields) {
    std::string_view reference;
    std::size_t at = block.at;
    bool found = false;
    if (const Field* field = find_field(fields, "20"); field != nullptr) {
      reference = trimmed(field->value);
      at = field->at;
      found = true;
    } else if (message_.type.starts_with('5')) {
      static constexpr std::string_view kQualifier = ":SEME//";
      for (const Field& field_c : fields) {
        if (field_c.tag != "20C" || !field_c.value.starts_with(kQualifier)) continue;
        reference = trimmed(field_c.value.substr(kQualifier.size()));
        at = field_c.at;
        found = true;
        break;
      }
    }
    if (!found && is_system_type(message_.type)) return std::nullopt;
    if (!found)
      return Defect{"MT_NO_REF", at, "expected a field :20: (or :20C::SEME// in category 5), found none"};
    if (reference.empty()) return Defect{"MT_NO_REF", at, "the reference is empty"};
    message_.reference = reference.substr(0, 35);
    if (reference.size() > 16) {
      return Defect{"MT_REF_FORMAT", at,
                    "the reference has at most 16 characters, found " + shown(reference)};
    }
    if (!is_mt_reference_set(reference)) {
      return Defect{"MT_REF_FORMAT", at, "the reference has a character outside set x: " + shown(reference)};
    }
    if (reference.front() == '/' || reference.back() == '/' ||
        reference.find("//") != std::string_view::npos) {
      return Defect{"MT_REF_FORMAT", at,
                    "the reference must not begin or end with '/' nor hold '//': " + shown(reference)};
    }
    return std::nullopt;
  }

  void describe_text(const Fields& fields) {
    static constexpr std::array<std::string_view, 5> kPages = {"28C", "28D", "28E", "28", "27"};
    for (const std::string_view tag : kPages) {
      const Field* field = find_field(fields, tag);
      if (field == nullptr) continue;
      page_ = first_line(field);
      break;
    }
    account_ = first_line(find_field(fields, "25a"));
    message_.account = account_;
    message_.related_reference = first_line(find_field(fields, "21"));
    if (const Field* field = find_field(fields, "32A"); field != nullptr) {
      if (const auto dated = read_dated_amount(trimmed(field->value))) {
        message_.value_date = iso_date(dated->date);
        message_.currency = dated->currency;
        message_.amount = dated->amount;
      }
    } else if (const std::string_view value = first_line(find_field(fields, "32B"));
               value.size() > 3 && is_currency(value.substr(0, 3)) && is_mt_amount(value.substr(3))) {
      message_.currency = value.substr(0, 3);
      message_.amount = value.substr(3);
      const std::string_view date = first_line(find_field(fields, "30"));
      if (is_mt_date(date)) message_.value_date = iso_date(date);
    }
  }

  /// "{177:..}{451:0}": system and service messages have tags in braces instead of lines.
  Rule read_system_text(const MtBlock& block) {
    if (!is_system_type(message_.type)) {
      return Defect{"MT_B4_START", block.at,
                    "only system messages (category 0) have {tag:} in block 4; MT " + message_.type +
                        " must begin with a line break"};
    }
    std::vector<TagValue> tags;
    if (auto defect = read_braced_text(block, tags)) return defect;
    for (const TagValue& tag : tags) {
      if (tag.tag != "108" || !message_.reference.empty()) continue;
      if (!prints(tag.value) || tag.value.size() > 16) {
        return Defect{"MT_REF_FORMAT", tag.at,
                      "field 108 has at most 16 printable characters, found " + shown(tag.value)};
      }
      message_.reference = trimmed(tag.value);
    }
    return std::nullopt;
  }

  Rule read_braced_text(const MtBlock& block, std::vector<TagValue>& tags) {
    const std::size_t wrong = read_tag_list(block.content, block.content_at, is_number_tag, tags);
    if (wrong != std::string_view::npos) {
      return Defect{"MT_B4_TAG", wrong,
                    "block 4: expected a list of {nnn:value}, found " +
                        shown(block.content.substr(wrong - block.content_at, 32))};
    }
    if (tags.size() > limits_.mt_fields_max) {
      return Defect{"MT_TOO_LONG", block.at,
                    "more than " + std::to_string(limits_.mt_fields_max) + " fields"};
    }
    Fields fields;
    for (const TagValue& tag : tags) fields.push_back({tag.tag, tag.value, tag.at});
    message_.content_digest = digest128(as_bytes(canonical_text(message_.type, fields)));
    return std::nullopt;
  }

  Rule read_trailer(const MtBlock& block) {
    std::vector<TagValue> tags;
    const std::size_t wrong = read_tag_list(block.content, block.content_at, is_trailer_tag, tags);
    if (wrong != std::string_view::npos) {
      return Defect{"MT_TRAILER", wrong,
                    "block 5: expected a list of {XXX:value}, found " +
                        shown(block.content.substr(wrong - block.content_at, 32))};
    }
    for (const TagValue& tag : tags) {
      if (tag.tag == "PDE") message_.flags.set(Flag::pde);
      if (tag.tag == "PDM") message_.flags.set(Flag::pdm);
      if (tag.tag == "TNG") message_.test = true;
    }
    return std::nullopt;
  }

  /// `answered` is the input message the network echoes behind its answer: it gives the reference, and its
  /// own defects do not matter, for it must not be processed.
  Rule read_acknowledgement(const Blocks& blocks, const Blocks* answered) {
    if (auto defect = read_basic_header(*blocks.basic, basic_)) return defect;
    if (blocks.defect) return blocks.defect;
    message_.sender = bic11_of_terminal(basic_.terminal);
    if (blocks.text == nullptr || blocks.text->lines) {
      return Defect{"MT_ACK_FORMAT", blocks.basic->at,
                    "an acknowledgement must have a block 4 with {177:} and {451:}"};
    }
    std::vector<TagValue> tags;
    const std::size_t wrong =
        read_tag_list(blocks.text->content, blocks.text->content_at, is_number_tag, tags);
    const auto value = [&tags](std::string_view tag) {
      const auto found =
          std::find_if(tags.begin(), tags.end(), [tag](const TagValue& t) { return t.tag == tag; });
      return found == tags.end() ? std::string_view() : found->value;
    };
    const std::string_view time = value("177");
    const std::string_view result = value("451");
    if (wrong != std::string_view::npos || time.size() != 10 || !all_digits(time) ||
        (result != "0" && result != "1")) {
      return Defect{"MT_ACK_FORMAT", blocks.text->at,
                    "expected {177:ten digits} and {451:0 or 1}, found " + shown(blocks.text->content)};
    }
    message_.type = result == "0" ? "F21-ACK" : "F21-NAK";
    if (auto defect = read_braced_text(*blocks.text, tags)) return defect;
    const std::string session_and_sequence(basic_.session_and_sequence);
    const std::string echoed(trimmed(value("108")));
    const std::string when(time);
    message_.receiver = "SWIFT";
    if (answered != nullptr) describe_answered(*answered);
    if (message_.reference.empty())
      message_.reference = prints(echoed) ? echoed.substr(0, 16) : std::string();
    if (message_.reference.empty()) message_.reference = message_.mur;
    assign_acknowledgement_keys(session_and_sequence, when, message_);
    return std::nullopt;
  }

  void describe_answered(const Blocks& answered) {
    ApplicationHeader header;
    if (answered.application != nullptr && !read_application_header(*answered.application, header)) {
      message_.receiver = bic11_of_terminal(header.terminal);
    }
    if (answered.user != nullptr && read_user_header(*answered.user)) {
      message_.uetr.clear();
      message_.mur.clear();
    }
    message_.variant.clear();
    Fields fields;
    if (answered.text == nullptr || !answered.text->lines ||
        read_fields(*answered.text, limits_.mt_fields_max, fields))
      return;
    const std::string_view reference = first_line(find_field(fields, "20"));
    if (reference.size() <= 16 && is_mt_reference_set(reference)) message_.reference = reference;
  }

  const Limits& limits_;
  Message& message_;
  MtFrame frame_;
  BasicHeader basic_;
  ApplicationHeader application_;
  std::string_view page_;
  std::string_view account_;
};

}  // namespace

std::optional<Defect> read_mt(std::string_view item, const Limits& limits, Message& message) {
  return MtReader(limits, message).read(item);
}

}  // namespace mainstay::payments
