// An XML document as a flat tree, read by Expat with every bound enforced while it is read.
// No DOCTYPE is accepted, so no entity can be declared and nothing outside the document is ever asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "payments/formats.h"
#include "payments/message.h"

namespace mainstay::payments {

/// Elements in document order, so that the descendants of i are [i + 1, end(i)). Views live as long as the
/// object and are valid once reading is over.
class MxDocument {
 public:
  static constexpr std::uint32_t kNone = 0xffffffff;

  /// Reads `text`. After a defect the elements read so far are there, for information.
  std::optional<Defect> read(std::string_view text, const Limits& limits);

  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(elements_.size()); }
  [[nodiscard]] std::string_view name(std::uint32_t i) const {
    return view(elements_[i].name);
  }  ///< local name
  [[nodiscard]] std::string_view name_space(std::uint32_t i) const { return *elements_[i].name_space; }
  /// Text of an element without children, without white space around it.
  [[nodiscard]] std::string_view text(std::uint32_t i) const { return view(elements_[i].text); }
  [[nodiscard]] bool has_currency(std::uint32_t i) const { return elements_[i].has_currency; }
  [[nodiscard]] std::string_view currency(std::uint32_t i) const {
    return view(elements_[i].currency);
  }  ///< attribute Ccy
  [[nodiscard]] std::uint32_t end(std::uint32_t i) const { return elements_[i].end; }
  [[nodiscard]] bool is_leaf(std::uint32_t i) const { return elements_[i].end == i + 1; }
  [[nodiscard]] std::size_t at(std::uint32_t i) const {
    return elements_[i].at;
  }  ///< byte offset of its start tag

  /// First child with this local name, or kNone.
  [[nodiscard]] std::uint32_t child(std::uint32_t parent, std::string_view local_name) const;
  /// Follows first children: path(i, {"Acct", "Id", "IBAN"}). kNone is accepted and given back.
  [[nodiscard]] std::uint32_t path(std::uint32_t from, std::initializer_list<std::string_view> names) const;
  [[nodiscard]] std::string_view text_at(std::uint32_t i) const {
    return i == kNone ? std::string_view() : text(i);
  }

  [[nodiscard]] const std::vector<std::uint32_t>& documents() const {
    return documents_;
  }  ///< outermost "Document"s
  [[nodiscard]] const std::vector<std::uint32_t>& headers() const {
    return headers_;
  }  ///< outermost "AppHdr"s

  /// Content of the Document as it is compared: namespaces and local names, sorted attributes, trimmed text;
  /// no prefixes, comments, processing instructions, xsi attributes or white space between elements.
  [[nodiscard]] std::string_view canonical() const { return canonical_; }

 private:
  friend class MxDocumentReader;
  struct Span {
    std::uint32_t at = 0;
    std::uint32_t length = 0;
  };
  struct Element {
    Span name;
    Span text;
    Span currency;
    const std::string* name_space = nullptr;
    std::uint32_t end = 0;
    std::size_t at = 0;
    bool has_currency = false;
  };
  [[nodiscard]] std::string_view view(Span span) const {
    return std::string_view(pool_).substr(span.at, span.length);
  }

  std::vector<Element> elements_;
  std::string pool_;
  std::map<std::string, std::uint32_t, std::less<>> name_spaces_;  ///< to order of first use
  std::vector<std::uint32_t> documents_;
  std::vector<std::uint32_t> headers_;
  std::string canonical_;
};

}  // namespace mainstay::payments
