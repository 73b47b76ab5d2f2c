// Published messages and what is known of them: the corpus of reference data beside the project, when it is
// there. MAINSTAY_CORPUS names its directory; otherwise ../shared/data/mx-mt beside the source directory is
// tried.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "payments/inspect.h"
#include "payments/message.h"
#include "payments/seen_messages.h"

namespace mainstay::payments {
namespace {

using Row = std::map<std::string, std::string>;

std::vector<std::string> split_tabs(const std::string& line) {
  std::vector<std::string> fields;
  std::stringstream in(line);
  for (std::string field; std::getline(in, field, '\t');) fields.push_back(field);
  return fields;
}

std::filesystem::path corpus_directory() {
  if (const char* given = std::getenv("MAINSTAY_CORPUS"); given != nullptr) return given;
  for (const char* place : {"../shared/data/mx-mt", "../../shared/data/mx-mt"}) {
    if (std::filesystem::exists(std::filesystem::path(place) / "manifest.tsv")) return place;
  }
  return "../shared/data/mx-mt";
}

class Corpus : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = corpus_directory();
    std::ifstream manifest(directory_ / "manifest.tsv");
    if (!manifest) {
      GTEST_SKIP() << "no corpus at " << directory_
                   << " (set MAINSTAY_CORPUS): published messages are NOT checked here";
    }
    std::string line;
    std::getline(manifest, line);
    header_ = line + "\n";
    const std::vector<std::string> columns = split_tabs(line);
    while (std::getline(manifest, line)) {
      const std::vector<std::string> fields = split_tabs(line);
      ASSERT_EQ(fields.size(), columns.size()) << line;
      Row row;
      for (std::size_t i = 0; i < columns.size(); ++i) row[columns[i]] = fields[i];
      rows_.push_back(std::move(row));
    }
    read_files();
  }

  /// Every row as `payment inspect` prints it, files in the order of the manifest, by "file#n".
  void read_files() {
    SeenMessages seen;
    std::string last;
    for (const Row& expected : rows_) {
      const std::string& file = expected.at("file");
      if (file == last) continue;
      last = file;
      std::ifstream in(directory_ / file, std::ios::binary);
      ASSERT_TRUE(in) << file;
      const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
      const std::vector<std::string> columns = split_tabs(header_.substr(0, header_.size() - 1));
      for (const Message& message : read_messages(as_bytes(bytes))) {
        std::string line;
        write_tsv(line, file, message, seen.add(file, message));
        line.pop_back();
        const std::vector<std::string> fields = split_tabs(line);
        ASSERT_EQ(fields.size(), columns.size()) << line;
        Row row;
        for (std::size_t i = 0; i < columns.size(); ++i) row[columns[i]] = fields[i];
        found_[file + "#" + row["n"]] = std::move(row);
        ++items_of_[file];
      }
    }
  }

  std::filesystem::path directory_;
  std::string header_;
  std::vector<Row> rows_;
  std::map<std::string, Row> found_;
  std::map<std::string, int> items_of_;
};

TEST_F(Corpus, ColumnsAreThoseOfTheManifest) {
  std::string ours;
  write_tsv_header(ours);
  EXPECT_EQ(ours, header_);
}

TEST_F(Corpus, EveryCoreRowAgreesAndAcceptedGrayRowsShowTheirIdentity) {
  std::map<std::string, int> expected_items;
  std::map<std::string, bool> all_core;
  int core = 0;
  int codes = 0;
  int codes_equal = 0;
  int gray_agreeing = 0;
  int gray = 0;
  std::string other_codes;
  for (const Row& expected : rows_) {
    const std::string where = expected.at("file") + "#" + expected.at("n");
    const bool is_core = expected.at("level") == "core";
    ++expected_items[expected.at("file")];
    all_core.emplace(expected.at("file"), true).first->second &= is_core;
    const auto found = found_.find(where);
    if (found == found_.end()) {
      EXPECT_FALSE(is_core) << where << " is missing";
      continue;
    }
    const Row& row = found->second;
    (is_core ? core : gray) += 1;
    if (is_core) {
      EXPECT_EQ(row.at("verdict"), expected.at("verdict"))
          << where << ": " << row.at("code") << " " << row.at("why") << " / expected " << expected.at("why");
    } else {
      gray_agreeing += row.at("verdict") == expected.at("verdict") ? 1 : 0;
    }
    if (row.at("verdict") == "valid" && expected.at("verdict") == "valid") {
      for (const char* column : {"kind", "type", "ref", "uetr", "n", "container", "sender", "receiver",
                                 "idkey", "ordkey", "flags", "relation"}) {
        EXPECT_EQ(row.at(column), expected.at(column)) << where << " " << column;
      }
    }
    if (is_core && expected.at("verdict") == "invalid") {
      ++codes;
      EXPECT_EQ(row.at("container"), expected.at("container")) << where;
      if (row.at("code") == expected.at("code")) {
        ++codes_equal;
      } else {
        other_codes += "  " + where + ": " + row.at("code") + " instead of " + expected.at("code") + "\n";
      }
    }
  }
  for (const auto& [file, count] : expected_items) {
    if (all_core[file]) {
      EXPECT_EQ(items_of_[file], count) << file << ": number of messages";
    }
  }
  std::cout << "core rows compared: " << core << ", error codes equal: " << codes_equal << " of " << codes
            << ", gray rows with the same verdict: " << gray_agreeing << " of " << gray << "\n"
            << other_codes;
}

}  // namespace
}  // namespace mainstay::payments
