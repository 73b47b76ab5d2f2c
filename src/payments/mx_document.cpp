#include "payments/mx_document.h"

#include <expat.h>

#include <algorithm>
#include <memory>
#include <tuple>
#include <utility>

#include "base/assert.h"

namespace mainstay::payments {
namespace {

constexpr char kSeparator = '\n';  // between namespace and local name; Expat refuses it inside a namespace
constexpr std::string_view kSchemaInstance = "http://www.w3.org/2001/XMLSchema-instance";

// Marks of the canonical form: control characters no XML text can hold, so that no text imitates structure.
constexpr char kOpen = '\x01';
constexpr char kAttribute = '\x02';
constexpr char kText = '\x03';
constexpr char kClose = '\x04';

std::pair<std::string_view, std::string_view> split_name(const char* expat_name) {
  const std::string_view name(expat_name);
  const std::size_t separator = name.find(kSeparator);
  if (separator == std::string_view::npos) return {{}, name};
  return {name.substr(0, separator), name.substr(separator + 1)};
}

bool equal_ignoring_case(std::string_view a, std::string_view upper) {
  return a.size() == upper.size() && std::equal(a.begin(), a.end(), upper.begin(), [](char x, char y) {
           return (x >= 'a' && x <= 'z' ? static_cast<char>(x - 'a' + 'A') : x) == y;
         });
}

}  // namespace

class MxDocumentReader {
 public:
  MxDocumentReader(MxDocument& document, const Limits& limits)
      : document_(document), limits_(limits), parser_(XML_ParserCreateNS("UTF-8", kSeparator)) {
    MS_ASSERT(parser_ != nullptr, "Expat is out of memory");
    XML_Parser parser = parser_.get();
    XML_SetUserData(parser, this);
    XML_SetElementHandler(
        parser,
        [](void* self, const XML_Char* name, const XML_Char** attributes) {
          of(self).start(name, attributes);
        },
        [](void* self, const XML_Char*) { of(self).finish(); });
    XML_SetCharacterDataHandler(parser, [](void* self, const XML_Char* text, int length) {
      of(self).characters({text, static_cast<std::size_t>(length)});
    });
    XML_SetStartDoctypeDeclHandler(parser,
                                   [](void* self, const XML_Char*, const XML_Char*, const XML_Char*, int) {
                                     of(self).refuse("MX_DTD", "a document type declaration is not accepted");
                                   });
    XML_SetXmlDeclHandler(parser, [](void* self, const XML_Char*, const XML_Char* encoding, int) {
      if (encoding != nullptr) of(self).declared_encoding(encoding);
    });
    XML_SetStartNamespaceDeclHandler(parser, [](void* self, const XML_Char*, const XML_Char* uri) {
      if (uri != nullptr) of(self).declared_name_space(uri);
    });
  }

  std::optional<Defect> read(std::string_view text) {
    constexpr std::size_t kPieceBytes = std::size_t{16} << 20;
    do {
      const std::string_view piece = text.substr(0, kPieceBytes);
      text.remove_prefix(piece.size());
      if (XML_Parse(parser_.get(), piece.data(), static_cast<int>(piece.size()), text.empty() ? 1 : 0) ==
          XML_STATUS_OK) {
        continue;
      }
      close_open_elements();
      if (defect_) return std::move(defect_);
      const auto at =
          static_cast<std::size_t>(std::max<XML_Index>(XML_GetCurrentByteIndex(parser_.get()), 0));
      return Defect{
          "MX_NOT_WELLFORMED", at,
          std::string("not a well-formed XML document: ") + XML_ErrorString(XML_GetErrorCode(parser_.get()))};
    } while (!text.empty());
    return std::nullopt;
  }

 private:
  struct Free {
    void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
  };

  static MxDocumentReader& of(void* self) { return *static_cast<MxDocumentReader*>(self); }

  void refuse(std::string_view code, std::string why) {
    if (defect_) return;
    defect_ = Defect{code, here(), std::move(why)};
    XML_StopParser(parser_.get(), XML_FALSE);
  }

  [[nodiscard]] std::size_t here() const {
    return static_cast<std::size_t>(std::max<XML_Index>(XML_GetCurrentByteIndex(parser_.get()), 0));
  }

  void declared_encoding(std::string_view encoding) {
    if (equal_ignoring_case(encoding, "UTF-8") || equal_ignoring_case(encoding, "US-ASCII") ||
        equal_ignoring_case(encoding, "ASCII")) {
      return;
    }
    refuse("MX_ENCODING", "only UTF-8 is accepted, the document declares " + shown(encoding));
  }

  /// Expat repeats the namespace in front of every name: bounding it bounds the work per element.
  void declared_name_space(std::string_view uri) {
    if (uri.size() > limits_.name_bytes_max) {
      refuse("MX_TOO_LONG", "a namespace longer than " + std::to_string(limits_.name_bytes_max) + " bytes");
    }
  }

  void start(const char* expat_name, const char** attributes) {
    if (defect_) return;
    flush_text();
    const auto [uri, local_name] = split_name(expat_name);
    if (open_.size() >= static_cast<std::size_t>(std::max(limits_.depth_max, 1))) {
      return refuse("MX_DEPTH", "elements nested deeper than " + std::to_string(limits_.depth_max));
    }
    if (document_.elements_.size() >= limits_.elements_max) {
      return refuse("MX_TOO_LONG", "more than " + std::to_string(limits_.elements_max) + " elements");
    }
    if (local_name.size() > limits_.name_bytes_max) {
      return refuse("MX_TOO_LONG",
                    "an element name longer than " + std::to_string(limits_.name_bytes_max) + " bytes");
    }
    const std::uint32_t index = document_.size();
    MxDocument::Element element;
    element.name = keep(local_name);
    element.at = here();
    if (inside_ == MxDocument::kNone && (local_name == "Document" || local_name == "AppHdr")) {
      inside_ = index;
      canonical_on_ = local_name == "Document";
      (canonical_on_ ? document_.documents_ : document_.headers_).push_back(index);
    }
    const auto [space, number] = name_space(uri);
    element.name_space = space;
    document_.elements_.push_back(element);
    open_.push_back(index);
    write_open(number, local_name);
    read_attributes(attributes);
  }

  void read_attributes(const char** attributes) {
    sorted_.clear();
    for (; *attributes != nullptr; attributes += 2) {
      const auto [uri, name] = split_name(attributes[0]);
      const std::string_view value(attributes[1]);
      if (sorted_.size() >= static_cast<std::size_t>(std::max(limits_.attributes_max, 0))) {
        return refuse("MX_TOO_LONG",
                      "more than " + std::to_string(limits_.attributes_max) + " attributes of one element");
      }
      if (name.size() > limits_.name_bytes_max || value.size() > limits_.text_bytes_max) {
        return refuse("MX_TOO_LONG", "an attribute too long: " + shown(name));
      }
      if (uri.empty() && name == "Ccy") {
        MxDocument::Element& element = document_.elements_.back();
        element.has_currency = true;
        element.currency = keep(value);
      }
      sorted_.emplace_back(uri, name, value);
    }
    if (!canonical_on_) return;
    std::sort(sorted_.begin(), sorted_.end());
    for (const auto& [uri, name, value] : sorted_) {
      if (uri == kSchemaInstance) continue;
      document_.canonical_ += kAttribute;
      document_.canonical_ += std::to_string(name_space(uri).second);
      document_.canonical_ += ' ';
      document_.canonical_ += name;
      document_.canonical_ += '=';
      document_.canonical_ += value;
    }
  }

  void finish() {
    if (defect_ || open_.empty()) return;
    const std::uint32_t index = open_.back();
    MxDocument::Element& element = document_.elements_[index];
    element.end = document_.size();
    if (element.end == index + 1) element.text = keep(trimmed(text_));
    flush_text();
    if (canonical_on_) document_.canonical_ += kClose;
    open_.pop_back();
    if (inside_ == index) {
      inside_ = MxDocument::kNone;
      canonical_on_ = false;
    }
  }

  void characters(std::string_view piece) {
    if (defect_) return;
    if (text_.size() + piece.size() > limits_.text_bytes_max) {
      return refuse("MX_TOO_LONG", "a text longer than " + std::to_string(limits_.text_bytes_max) + " bytes");
    }
    text_ += piece;
  }

  void flush_text() {
    const std::string_view text = trimmed(text_);
    if (canonical_on_ && !text.empty()) {
      document_.canonical_ += kText;
      document_.canonical_ += text;
    }
    text_.clear();
  }

  /// A namespace is written out where it is first used and as its number afterwards: prefixes do not matter,
  /// and a long namespace on many elements does not multiply.
  void write_open(std::uint32_t number, std::string_view local_name) {
    if (!canonical_on_) return;
    document_.canonical_ += kOpen;
    document_.canonical_ += std::to_string(number);
    document_.canonical_ += ' ';
    document_.canonical_ += local_name;
  }

  std::pair<const std::string*, std::uint32_t> name_space(std::string_view uri) {
    if (last_space_.first != nullptr && *last_space_.first == uri) return written(last_space_);
    auto found = document_.name_spaces_.find(uri);
    if (found == document_.name_spaces_.end()) {
      found = document_.name_spaces_.emplace(std::string(uri), std::uint32_t{0}).first;
    }
    last_space_ = {&found->first, &found->second};
    return written(last_space_);
  }

  /// Numbers count uses in the Document only: what wraps it must not change its digest.
  std::pair<const std::string*, std::uint32_t> written(std::pair<const std::string*, std::uint32_t*> space) {
    if (canonical_on_ && *space.second == 0) {
      *space.second = ++spaces_used_;
      document_.canonical_ += kAttribute;
      document_.canonical_ += *space.first;
    }
    return {space.first, *space.second};
  }

  MxDocument::Span keep(std::string_view text) {
    const MxDocument::Span span{static_cast<std::uint32_t>(document_.pool_.size()),
                                static_cast<std::uint32_t>(text.size())};
    document_.pool_ += text;
    return span;
  }

  void close_open_elements() {
    for (const std::uint32_t index : open_) document_.elements_[index].end = document_.size();
  }

  MxDocument& document_;
  const Limits& limits_;
  std::unique_ptr<XML_ParserStruct, Free> parser_;
  std::optional<Defect> defect_;
  std::vector<std::uint32_t> open_;
  std::vector<std::tuple<std::string_view, std::string_view, std::string_view>> sorted_;
  std::string text_;
  std::uint32_t inside_ = MxDocument::kNone;  ///< the outermost Document or AppHdr we are in
  bool canonical_on_ = false;
  std::uint32_t spaces_used_ = 0;
  std::pair<const std::string*, std::uint32_t*> last_space_{nullptr, nullptr};
};

std::optional<Defect> MxDocument::read(std::string_view text, const Limits& limits) {
  // Positions in the pool are 32 bits wide: a larger bound would need another representation anyway.
  constexpr std::size_t kBytesMax = std::size_t{1} << 30;
  const std::size_t bytes_max = std::min(limits.mx_bytes_max, kBytesMax);
  if (text.size() > bytes_max) {
    return Defect{
        "MX_TOO_LONG", 0,
        std::to_string(text.size()) + " bytes; at most " + std::to_string(bytes_max) + " are accepted"};
  }
  return MxDocumentReader(*this, limits).read(text);
}

std::uint32_t MxDocument::child(std::uint32_t parent, std::string_view local_name) const {
  if (parent == kNone) return kNone;
  for (std::uint32_t i = parent + 1; i < end(parent); i = end(i)) {
    if (name(i) == local_name) return i;
  }
  return kNone;
}

std::uint32_t MxDocument::path(std::uint32_t from, std::initializer_list<std::string_view> names) const {
  for (const std::string_view local_name : names) from = child(from, local_name);
  return from;
}

}  // namespace mainstay::payments
