// The alert rules that come with the product speak about metrics that a node has and the reference tells.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "http/control_api.h"

namespace mainstay::http {
namespace {

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  EXPECT_TRUE(in) << file << " is read from the source directory";
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::set<std::string> metrics_in(const std::string& text) {
  static const std::regex name("mainstay_[a-z_]+"), histogram("_(bucket|sum|count)$");
  std::set<std::string> names;
  for (std::sregex_iterator it(text.begin(), text.end(), name), end; it != end; ++it)
    names.insert(std::regex_replace(it->str(), histogram, ""));
  return names;
}

NodeStatus one_of_a_group() {
  NodeStatus status;
  status.group = NodeStatus::Group{};
  status.group->others.push_back({"east-2", true, true, 7});
  status.group->store = NodeStatus::Group::Store{};
  status.queues.push_back({"payments", 5, 1, 2, 3, 100, 0, 1.5});
  status.flow.stalls.push_back({"memory", 0, 0});
  return status;
}

TEST(AlertRules, NameOnlyMetricsThatAreThere) {
  int files = 0;
  const std::string there = metrics_text(one_of_a_group());
  const std::set<std::string> told = metrics_in(text_of("docs/control-api.md"));
  for (const auto& entry : std::filesystem::directory_iterator("samples/prometheus")) {
    if (entry.path().extension() != ".yml") continue;
    ++files;
    const std::string rules = text_of(entry.path());
    EXPECT_GE(metrics_in(rules).size(), 5U) << entry.path();
    for (const std::string& name : metrics_in(rules)) {
      EXPECT_NE(there.find("\n" + name), std::string::npos) << name << " is not in /metrics";
      EXPECT_TRUE(told.contains(name)) << name << " is not in docs/control-api.md";
    }
  }
  EXPECT_EQ(files, 2);
}

TEST(AlertRules, AllMetricsOfAGroupAreInTheReference) {
  const std::set<std::string> told = metrics_in(text_of("docs/control-api.md"));
  for (const std::string& name : metrics_in(metrics_text(one_of_a_group())))
    if (name.starts_with("mainstay_group_")) {
      EXPECT_TRUE(told.contains(name)) << name;
    }
}

TEST(AlertRules, EachSaysHowBadItIsAndWhatToDo) {
  const std::string rules = text_of("samples/prometheus/mainstay-group.rules.yml");
  const auto count = [&](const std::string& what) {
    std::size_t found = 0;
    for (std::size_t at = 0; (at = rules.find(what, at)) != std::string::npos; at += what.size()) ++found;
    return found;
  };
  const std::size_t alerts = count("- alert: ");
  EXPECT_GE(alerts, 8U);
  for (const char* part :
       {"\n        expr: ", "\n        labels: {severity: ", "\n          summary: ", "\n          do: "})
    EXPECT_EQ(count(part), alerts) << part;
}

}  // namespace
}  // namespace mainstay::http
