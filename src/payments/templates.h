// Message templates: text with placeholders "{{NAME}}", from which realistic messages are made for drills and
// samples. samples/README.md tells what each placeholder means.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mainstay::payments {

/// Every placeholder there is, sorted: a template with another one is refused.
const std::vector<std::string>& template_placeholders();

class Template {
 public:
  /// Placeholder to text.
  using Values = std::map<std::string, std::string, std::less<>>;

  /// @param name  file name without extension; it begins with the type: "mt103_stp", "pacs.008.001.08".
  /// @param text  of the file. In FIN templates line ends become CR LF, as on the network; white space around
  /// is cut.
  /// @return the template; a Failure that names template and line when a placeholder is unknown or not
  /// closed.
  static Result<Template, Failure> parse(std::string_view name, std::string_view text);

  /// The text with every placeholder replaced. All placeholders() must be among the values; values are
  /// inserted as they are, so they must fit the fields (see samples/README.md).
  [[nodiscard]] std::string fill(const Values& values) const;

  [[nodiscard]] const std::string& name() const { return name_; }
  /// "103", "pacs.008.001.08": the type of the messages it makes.
  [[nodiscard]] std::string type() const;
  [[nodiscard]] bool is_mx() const { return is_mx_; }
  /// Names used, sorted, each once.
  [[nodiscard]] const std::vector<std::string>& placeholders() const { return placeholders_; }
  [[nodiscard]] bool uses(std::string_view placeholder) const;

 private:
  struct Piece {
    std::string text;         ///< goes first, as it is
    std::string placeholder;  ///< then its value; empty in the last piece
  };
  std::string name_;
  bool is_mx_ = false;
  std::vector<Piece> pieces_;
  std::vector<std::string> placeholders_;
};

}  // namespace mainstay::payments
