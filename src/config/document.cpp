#include "config/document.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace mainstay::config {
namespace {

Place place_of(const toml::source_region& region) {
  return {region.begin.line, region.begin.column};
}

Node convert(const toml::node& from);

Node convert_table(const toml::table& from) {
  Node node;
  for (const auto& [key, value] : from)
    node.entries.push_back({std::string(key.str()), place_of(key.source()), convert(value)});
  // toml++ keeps keys sorted by name; errors read better in the order of the file.
  std::stable_sort(node.entries.begin(), node.entries.end(), [](const Entry& a, const Entry& b) {
    return a.place.line != b.place.line ? a.place.line < b.place.line : a.place.column < b.place.column;
  });
  return node;
}

Node convert(const toml::node& from) {
  Node node;
  switch (from.type()) {
    case toml::node_type::table:
      node = convert_table(*from.as_table());
      break;
    case toml::node_type::array:
      node.kind = Node::Kind::array;
      for (const toml::node& item : *from.as_array()) node.items.push_back(convert(item));
      break;
    case toml::node_type::string:
      node.kind = Node::Kind::text;
      node.text = from.as_string()->get();
      break;
    case toml::node_type::integer:
      node.kind = Node::Kind::integer;
      node.integer = from.as_integer()->get();
      break;
    case toml::node_type::floating_point:
      node.kind = Node::Kind::real;
      node.real = from.as_floating_point()->get();
      break;
    case toml::node_type::boolean:
      node.kind = Node::Kind::boolean;
      node.boolean = from.as_boolean()->get();
      break;
    default:
      node.kind = Node::Kind::date;
      break;
  }
  node.place = place_of(from.source());
  return node;
}

std::string_view line_of(std::string_view text, std::uint32_t line) {
  for (std::uint32_t at = 1; at < line; ++at) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

bool sets_a_secret(std::string_view line) {
  return line.find("password") != std::string_view::npos || line.find("token") != std::string_view::npos;
}

}  // namespace

const Entry* Node::find(std::string_view key) const {
  const auto at = std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.key == key; });
  return at == entries.end() ? nullptr : &*at;
}

Result<Node, Failure> parse_document(std::string_view text, const std::string& file) {
  try {
    const toml::table table = toml::parse(text, std::string_view(file));
    Node root = convert_table(table);
    root.place = {1, 1};
    return root;
  } catch (const toml::parse_error& error) {
    const Place at = place_of(error.source());
    // The parser quotes what it met; on a line with a secret that would be the secret.
    const std::string_view what = sets_a_secret(line_of(text, at.line))
                                      ? std::string_view("text values need quotes: key = \"value\"")
                                      : error.description();
    return Failure{fmt::format("{}:{}:{}: not valid TOML: {}", file, at.line, at.column, what)};
  } catch (const std::exception& error) {
    return Failure{fmt::format("{}: not valid TOML: {}", file, error.what())};
  }
}

Result<std::string, Failure> read_text_file(const std::string& path, std::size_t bytes_max) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (!file) return Failure{fmt::format("{}: cannot be opened: {}", path, std::strerror(errno))};
  std::string text(bytes_max + 1, '\0');
  errno = 0;
  const std::size_t bytes = std::fread(text.data(), 1, text.size(), file.get());
  if (std::ferror(file.get()) != 0)
    return Failure{fmt::format("{}: cannot be read: {}", path, std::strerror(errno))};
  if (bytes > bytes_max)
    return Failure{fmt::format("{}: longer than {} bytes, which cannot be meant", path, bytes_max)};
  text.resize(bytes);
  // Named, since a Failure could be made from a text as well.
  return {boost::system::in_place_value, std::move(text)};
}

}  // namespace mainstay::config
