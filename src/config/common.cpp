#include "config/common.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace mainstay::config {
namespace {

bool alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool only(std::string_view text, std::string_view extra) {
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return alphanumeric(c) || extra.find(c) != std::string_view::npos; });
}

}  // namespace

std::string resolve(const std::string& directory, const std::string& path) {
  if (path.empty()) return path;
  return (std::filesystem::path(directory) / path).lexically_normal().string();
}

std::string directory_of(const std::string& path) {
  std::error_code failed;
  const auto absolute = std::filesystem::absolute(path, failed);
  return failed ? std::string(".") : absolute.parent_path().string();
}

std::string read_path(TableReader& table, std::string_view key, TableReader::Need need,
                      const std::string& directory) {
  const std::string path = table.text(key, need);
  if (path.find('\0') != std::string::npos) {
    table.problem(key, fmt::format("\"{}\" must be a path, found a text with a zero byte", key));
    return {};
  }
  return resolve(directory, path);
}

std::string read_name(TableReader& table, std::string_view key, TableReader::Need need,
                      std::string fallback) {
  std::string name = table.text(key, need, std::move(fallback));
  if (name.empty() || (name.size() <= 64 && only(name, "._-"))) return name;
  table.problem(key, fmt::format("\"{}\" must be a name of at most 64 letters, digits, '.', '_' and '-', "
                                 "found the text \"{}\"",
                                 key, name));
  return {};
}

std::string read_queue_name(TableReader& table, std::string_view key) {
  std::string name = table.text(key, TableReader::Need::required);
  if (name.empty()) return name;
  const bool ends_well = alphanumeric(name.front()) && alphanumeric(name.back());
  if (name.size() <= 260 && ends_well && only(name, "._-/")) return name;
  table.problem(key,
                fmt::format("\"{}\" must be a queue's name: at most 260 letters, digits, '.', '_', '-' and "
                            "'/', first and last a letter or digit; found the text \"{}\"",
                            key, name));
  return {};
}

std::string read_password(TableReader& table, const std::string& directory, bool required) {
  std::string password = table.secret("password");
  const std::string path = read_path(table, "password_file", TableReader::Need::optional, directory);
  const bool both = table.has("password") && table.has("password_file");
  const bool neither = !table.has("password") && !table.has("password_file");
  if (both) table.problem("password_file", "give \"password\" or \"password_file\", not both");
  if (neither && required && table.present())
    table.problem({}, "\"password\" or \"password_file\" is missing; one of them must be given");
  if (both || path.empty()) return password;

  const auto content = read_text_file(path, 4096);
  if (!content) {
    table.problem("password_file", content.error().what);
    return {};
  }
  password = *content;
  if (password.ends_with('\n')) password.pop_back();
  if (password.ends_with('\r')) password.pop_back();
  if (password.empty()) table.problem("password_file", fmt::format("{}: is empty", path));
  return password;
}

RegisterPlace read_register(TableReader& t, const std::string& directory, std::vector<Place>& places) {
  using Need = TableReader::Need;
  RegisterPlace place;
  place.file = read_path(t, "file", Need::optional, directory);
  place.etcd = t.endpoints("etcd", 0);
  place.group = read_name(t, "group", Need::optional, place.group);
  for (const Endpoint& endpoint : place.etcd) {
    if (endpoint.port == 0) t.problem("etcd", fmt::format("\"{}\" has port 0", endpoint.text()));
    place.voters.push_back({{}, endpoint, {}});
    places.push_back(t.place("etcd"));
  }
  t.each_table("voter", [&](TableReader& voter) {
    Placed it;
    it.name = read_name(voter, "name", Need::required);
    it.address = voter.endpoint("address", Need::required).value_or(Endpoint{});
    if (voter.has("address") && !it.address.host.empty() && it.address.port == 0)
      voter.problem("address", fmt::format("\"{}\" has port 0", it.address.text()));
    it.at.zone = read_name(voter, "zone", Need::optional);
    it.at.site = read_name(voter, "site", Need::optional);
    it.at.region = read_name(voter, "region", Need::optional);
    if (!voter.present()) return;  // keys are being listed
    place.etcd.push_back(it.address);
    place.voters.push_back(std::move(it));
    places.push_back(voter.place());
  });
  if (t.has("etcd") && t.has("voter"))
    t.problem("etcd", "give \"etcd\" or [[register.voter]], not both: each voter is listed once");
  const bool voters = t.has("etcd") || t.has("voter");
  if (t.has("file") && voters)
    t.problem(t.has("etcd") ? "etcd" : "voter",
              "give \"file\" or voters (\"etcd\", [[register.voter]]) in [register], not both: there is one "
              "register");
  if (!t.has("file") && !voters)
    t.problem("",
              "\"file\" or \"etcd\" in [register] is missing: \"file\" for one machine, \"etcd\" or "
              "[[register.voter]] for voters on several");
  place.prefix = t.text("prefix", Need::optional, place.prefix);
  if (!place.prefix.starts_with('/') || place.prefix.ends_with('/'))
    t.problem("prefix", "\"prefix\" must begin with '/' and not end with one, for example \"/mainstay\"");
  place.timeout_ms = static_cast<std::uint32_t>(t.integer("timeout_ms", 100, 60'000, place.timeout_ms));
  place.user = t.text("user", Need::optional);
  place.password = read_password(t, directory, t.has("user"));
  place.ca_file = read_path(t, "ca_file", Need::optional, directory);
  place.certificate_file = read_path(t, "certificate_file", Need::optional, directory);
  place.key_file = read_path(t, "key_file", Need::optional, directory);
  if (t.has("certificate_file") != t.has("key_file"))
    t.problem(t.has("key_file") ? "key_file" : "certificate_file",
              "\"certificate_file\" and \"key_file\" are given together or not at all");
  const bool files = t.has("ca_file") || t.has("certificate_file");
  place.tls = t.flag("tls", false) || (files && !t.has("tls"));
  if (files && !place.tls) t.problem("tls", "\"tls\" is false, and certificates are given");
  if (place.tls && place.etcd.empty()) t.problem("tls", "TLS is for \"etcd\"; a file needs none");
  return place;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

}  // namespace mainstay::config
