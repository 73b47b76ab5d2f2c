#include "config/reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace mainstay::config {
namespace {

/// What was found, for a person. Long texts are cut, secrets never shown.
std::string found(const Node& node, bool secret) {
  switch (node.kind) {
    case Node::Kind::table:
      return "a table";
    case Node::Kind::array:
      return "a list";
    case Node::Kind::text:
      if (secret) return "a text";
      return node.text.size() > 60 ? fmt::format("the text \"{}…\"", node.text.substr(0, 60))
                                   : fmt::format("the text \"{}\"", node.text);
    case Node::Kind::integer:
      return secret ? "an integer" : fmt::format("the integer {}", node.integer);
    case Node::Kind::real:
      return secret ? "a number" : fmt::format("the number {}", node.real);
    case Node::Kind::boolean:
      return fmt::format("{}", node.boolean);
    case Node::Kind::date:
      return "a date or time";
  }
  return "something else";
}

constexpr std::string_view kEndpointForm = "a text \"host:port\"";

}  // namespace

void Report::add(Place at, std::string what) {
  problems_.push_back({at, std::move(what)});
}

Failure Report::failure() const {
  auto sorted = problems_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Problem& a, const Problem& b) {
    return a.at.line != b.at.line ? a.at.line < b.at.line : a.at.column < b.at.column;
  });
  std::string all;
  for (const Problem& problem : sorted) {
    if (!all.empty()) all += '\n';
    all += problem.at.line == 0
               ? fmt::format("{}: {}", file_, problem.what)
               : fmt::format("{}:{}:{}: {}", file_, problem.at.line, problem.at.column, problem.what);
  }
  return {all};
}

TableReader::TableReader(Report& report, const Node* node, std::string name, Place at)
    : report_(report), node_(node), name_(std::move(name)), at_(node != nullptr ? node->place : at) {
  if (node_ != nullptr && node_->kind != Node::Kind::table) {
    report_.add(node_->place, fmt::format("{} must be a table, found {}", full({}), found(*node_, false)));
    node_ = nullptr;
  }
}

TableReader::~TableReader() {
  if (node_ == nullptr) return;
  std::vector<std::string> allowed = known_;
  std::sort(allowed.begin(), allowed.end());
  for (const Entry& entry : node_->entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    const std::string near = nearest(entry.key, allowed);
    const std::string hint = near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near);
    const std::string where = name_.empty() ? "at the top of the file" : fmt::format("in {}", full({}));
    report_.add(entry.place,
                fmt::format("unknown {} \"{}\" {}{} Allowed here: {}.", name_.empty() ? "table" : "key",
                            entry.key, where, hint.empty() ? "." : hint, fmt::join(allowed, ", ")));
  }
}

std::string TableReader::full(std::string_view key) const {
  if (key.empty()) return fmt::format("[{}]", name_);
  if (name_.empty()) return fmt::format("[{}]", key);
  return fmt::format("\"{}\" in [{}]", key, name_);
}

std::string TableReader::inner(std::string_view key) const {
  return name_.empty() ? std::string(key) : fmt::format("{}.{}", name_, key);
}

bool TableReader::has(std::string_view key) const {
  return node_ != nullptr && node_->find(key) != nullptr;
}

Place TableReader::place(std::string_view key) const {
  const Entry* entry = node_ == nullptr ? nullptr : node_->find(key);
  return entry == nullptr ? at_ : entry->place;
}

const Entry* TableReader::ask(std::string_view key, std::string allowed, std::string fallback) {
  known_.emplace_back(key);
  const bool required = fallback == "required";
  report_.note_key({name_, std::string(key), allowed, std::move(fallback)});
  const Entry* entry = node_ == nullptr ? nullptr : node_->find(key);
  if (entry == nullptr && required)
    report_.add(at_, fmt::format("{} is missing; it must be {}", full(key), allowed));
  return entry;
}

void TableReader::wrong(const Entry& entry, std::string_view allowed, bool secret) {
  report_.add(entry.value.place,
              fmt::format("{} must be {}, found {}", full(entry.key), allowed, found(entry.value, secret)));
}

std::string TableReader::text(std::string_view key, Need need, std::string fallback) {
  constexpr std::string_view allowed = "a text that is not empty";
  const std::string shown = need == Need::required ? "required"
                            : fallback.empty()     ? "none"
                                                   : fmt::format("\"{}\"", fallback);
  const Entry* entry = ask(key, std::string(allowed), shown);
  if (entry == nullptr) return fallback;
  if (entry->value.kind == Node::Kind::text && !entry->value.text.empty()) return entry->value.text;
  wrong(*entry, allowed);
  return fallback;
}

std::string TableReader::secret(std::string_view key) {
  constexpr std::string_view allowed = "a text that is not empty";
  const Entry* entry = ask(key, std::string(allowed), "none");
  if (entry == nullptr) return {};
  if (entry->value.kind == Node::Kind::text && !entry->value.text.empty()) return entry->value.text;
  wrong(*entry, allowed, true);
  return {};
}

std::string TableReader::choice(std::string_view key, std::initializer_list<std::string_view> allowed,
                                std::string_view fallback) {
  const std::vector<std::string> words(allowed.begin(), allowed.end());
  const std::string form = fmt::format("one of \"{}\"", fmt::join(words, "\", \""));
  const Entry* entry = ask(key, form, fmt::format("\"{}\"", fallback));
  if (entry == nullptr) return std::string(fallback);
  if (entry->value.kind == Node::Kind::text) {
    if (std::find(words.begin(), words.end(), entry->value.text) != words.end()) return entry->value.text;
    const std::string near = nearest(entry->value.text, words);
    if (!near.empty()) {
      wrong(*entry, fmt::format("{} (did you mean \"{}\"?)", form, near));
      return std::string(fallback);
    }
  }
  wrong(*entry, form);
  return std::string(fallback);
}

bool TableReader::flag(std::string_view key, bool fallback) {
  const Entry* entry = ask(key, "true or false", fallback ? "true" : "false");
  if (entry == nullptr) return fallback;
  if (entry->value.kind == Node::Kind::boolean) return entry->value.boolean;
  wrong(*entry, "true or false");
  return fallback;
}

std::int64_t TableReader::integer(std::string_view key, std::int64_t min, std::int64_t max,
                                  std::int64_t fallback) {
  const std::string allowed = fmt::format("an integer from {} to {}", min, max);
  const Entry* entry = ask(key, allowed, fmt::format("{}", fallback));
  if (entry == nullptr) return fallback;
  const Node& value = entry->value;
  if (value.kind == Node::Kind::integer && value.integer >= min && value.integer <= max) return value.integer;
  wrong(*entry, allowed);
  return fallback;
}

std::uint64_t TableReader::size(std::string_view key, std::uint64_t min, std::uint64_t max,
                                std::uint64_t fallback) {
  const std::string allowed =
      fmt::format("a size from {} to {}: bytes as an integer, or a text with KiB, MiB or GiB", size_text(min),
                  size_text(max));
  const Entry* entry = ask(key, allowed, size_text(fallback));
  if (entry == nullptr) return fallback;
  const Node& value = entry->value;
  std::optional<std::uint64_t> bytes;
  if (value.kind == Node::Kind::integer && value.integer >= 0)
    bytes = static_cast<std::uint64_t>(value.integer);
  if (value.kind == Node::Kind::text) bytes = parse_size(value.text);
  if (bytes && *bytes >= min && *bytes <= max) return *bytes;
  wrong(*entry, allowed);
  return fallback;
}

std::optional<Endpoint> TableReader::endpoint(std::string_view key, Need need, std::string_view fallback) {
  const std::string shown = need == Need::required ? "required"
                            : fallback.empty()     ? "none"
                                                   : fmt::format("\"{}\"", fallback);
  const Entry* entry = ask(key, std::string(kEndpointForm), shown);
  if (entry == nullptr) return parse_endpoint(fallback);
  if (entry->value.kind == Node::Kind::text)
    if (auto endpoint = parse_endpoint(entry->value.text)) return endpoint;
  wrong(*entry, kEndpointForm);
  return parse_endpoint(fallback);
}

std::vector<Endpoint> TableReader::endpoints(std::string_view key, std::size_t items_min) {
  const std::string allowed = "a list of texts \"host:port\"";
  const Entry* entry = ask(key, allowed, items_min > 0 ? "required" : "[]");
  std::vector<Endpoint> all;
  if (entry == nullptr) return all;
  if (entry->value.kind != Node::Kind::array) {
    wrong(*entry, allowed);
    return all;
  }
  for (const Node& item : entry->value.items) {
    std::optional<Endpoint> endpoint;
    if (item.kind == Node::Kind::text) endpoint = parse_endpoint(item.text);
    if (!endpoint)
      report_.add(item.place, fmt::format("each of {} must be {}, found {}", full(key), kEndpointForm,
                                          found(item, false)));
    else if (std::find(all.begin(), all.end(), *endpoint) != all.end())
      report_.add(item.place, fmt::format("{} lists \"{}\" twice", full(key), endpoint->text()));
    else
      all.push_back(*endpoint);
  }
  if (entry->value.items.size() < items_min)
    report_.add(entry->value.place, fmt::format("{} needs at least {} entry", full(key), items_min));
  return all;
}

std::optional<Uuid> TableReader::uuid(std::string_view key) {
  constexpr std::string_view allowed = "a UUID as text, such as \"6f2c1d0e-8a4b-4c3d-9e5f-0123456789ab\"";
  const Entry* entry = ask(key, std::string(allowed), "none");
  if (entry == nullptr) return std::nullopt;
  std::optional<Uuid> id;
  if (entry->value.kind == Node::Kind::text) id = parse_uuid(entry->value.text);
  if (!id || id->is_nil()) {
    wrong(*entry, allowed);
    return std::nullopt;
  }
  return id;
}

TableReader TableReader::table(std::string_view key) {
  known_.emplace_back(key);
  const Entry* entry = node_ == nullptr ? nullptr : node_->find(key);
  return {report_, entry == nullptr ? nullptr : &entry->value, inner(key), at_};
}

void TableReader::each_table(std::string_view key, const std::function<void(TableReader&)>& each) {
  known_.emplace_back(key);
  const std::string name = fmt::format("[{}]", inner(key));
  const Entry* entry = node_ == nullptr ? nullptr : node_->find(key);
  if (node_ == nullptr) {
    // What such a table needs is noted; nothing is missing where the table around it is not there.
    Report scratch("");
    TableReader absent(scratch, nullptr, name, at_);
    each(absent);
    for (const KeyInfo& info : scratch.keys()) report_.note_key(info);
    return;
  }
  if (entry == nullptr) return;
  if (entry->value.kind != Node::Kind::array) {
    report_.add(entry->value.place, fmt::format("[{}] is a list of tables: write [[{}]] above each, found {}",
                                                inner(key), inner(key), found(entry->value, false)));
    return;
  }
  for (const Node& item : entry->value.items) {
    TableReader table(report_, &item, name, item.place);
    // An item that is no table has been reported; its missing keys would only repeat that.
    if (table.present()) each(table);
  }
}

}  // namespace mainstay::config
