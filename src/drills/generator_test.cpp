#include "drills/generator.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "drills/tsv.h"
#include "lab/test_directory.h"
#include "payments/seen_messages.h"

namespace mainstay::drills {
namespace {

constexpr std::uint64_t seed = 4711;

struct Feed {
  explicit Feed(std::uint64_t messages, std::uint64_t with_seed = seed, std::uint64_t pace = UINT64_MAX) {
    GeneratorOptions options;
    options.messages = messages;
    options.seed = with_seed;
    options.inbox = directory.path() + "/inbox";
    options.record = directory.path() + "/generated.tsv";
    options.duplicates_per_mille = 30;
    options.conflicts_per_mille = 20;
    options.malformed_per_mille = 20;
    std::filesystem::create_directory(options.inbox);
    auto opened = Generator::open(options);
    if (!opened) {
      ADD_FAILURE() << opened.error().what;
      return;
    }
    generator = std::move(*opened);
    for (std::uint64_t due = 0; !generator->finished(); due = pace == UINT64_MAX ? pace : due + pace) {
      const auto written = generator->write_until(due);
      if (!written) {
        ADD_FAILURE() << "seed " << with_seed << ": " << written.error().what;
        return;
      }
    }
    for (const auto& file : std::filesystem::directory_iterator(options.inbox))
      files[file.path().filename().string()] = *read_text_file(file.path().string());
    record = *read_text_file(options.record);
  }
  lab::TestDirectory directory;
  std::unique_ptr<Generator> generator;
  std::map<std::string, std::string> files;  // in the order of their names
  std::string record;
};

TEST(Generator, TheRecordIsWhatTheFilesHoldInTheOrderOfTheirNames) {
  const Feed feed(1200);
  const auto record = parse_ingest_record(feed.record);
  ASSERT_TRUE(record.has_value());
  ASSERT_EQ(record->size(), 1200u);
  payments::SeenMessages seen;
  std::size_t at = 0;
  for (const auto& [name, content] : feed.files) {
    for (const payments::Message& message : payments::read_messages(as_bytes(content))) {
      ASSERT_LT(at, record->size());
      const IngestEntry& entry = (*record)[at++];
      EXPECT_EQ(entry.number, at);
      EXPECT_EQ(entry.file, name);
      EXPECT_EQ(entry.item, message.item);
      EXPECT_EQ(entry.kind == EntryKind::malformed, !message.valid) << message.why;
      if (!message.valid) continue;
      EXPECT_EQ(entry.key, message.idempotency_key);
      // An independent judge of what is a duplicate and what a conflict.
      const auto relation = seen.add(name, message).to;
      EXPECT_EQ(entry.kind, relation == payments::Relation::To::none        ? EntryKind::normal
                            : relation == payments::Relation::To::duplicate ? EntryKind::duplicate
                                                                            : EntryKind::conflict)
          << entry.key;
    }
  }
  EXPECT_EQ(at, record->size());
}

TEST(Generator, IsRealistic) {
  const Feed feed(3000);
  const GeneratorCounts& counts = feed.generator->counts();
  EXPECT_GT(counts.duplicates, 40u);
  EXPECT_GT(counts.conflicts, 20u);
  EXPECT_GT(counts.malformed, 20u);
  EXPECT_GT(counts.files_rje, 5u);
  EXPECT_GT(counts.files_pcc, 5u);
  EXPECT_GT(counts.files_fin, 100u);
  EXPECT_GT(counts.files_xml, 300u);
  EXPECT_EQ(counts.files, feed.files.size());

  std::set<std::string> types;
  std::map<std::string, std::set<std::string>> keys_of_ordering_key;
  for (const IngestEntry& entry : feed.generator->entries()) {
    if (entry.kind == EntryKind::malformed) continue;
    types.insert(entry.key.substr(0, entry.key.find(':', 3)));
    keys_of_ordering_key[entry.ordering_key].insert(entry.key);
  }
  EXPECT_GE(types.size(), 40u);
  std::map<char, std::size_t> longest;
  for (const auto& [ordering_key, keys] : keys_of_ordering_key) {
    std::size_t& so_far = longest[ordering_key.front()];
    so_far = std::max(so_far, keys.size());
  }
  EXPECT_GE(longest['U'], 4u);   // order, cover, status, return of one payment
  EXPECT_GE(longest['A'], 20u);  // statements of a busy account
  EXPECT_GE(longest['P'], 20u);
}

TEST(Generator, TheSeedDecidesEverythingAndThePaceNothing) {
  const Feed first(600), slow(600, seed, 7), other(600, seed + 1);
  EXPECT_EQ(first.files, slow.files);
  EXPECT_EQ(first.record, slow.record);
  EXPECT_NE(first.record, other.record);
}

TEST(Generator, WritesNoMoreThanAFileAheadOfWhatIsDue) {
  const lab::TestDirectory directory;
  GeneratorOptions options;
  options.messages = 500;
  options.inbox = directory.path();
  options.record = directory.path() + "/.record";
  std::unique_ptr<Generator> generator = *Generator::open(options);
  ASSERT_TRUE(generator->write_until(0).has_value());
  EXPECT_EQ(generator->counts().messages, 0u);
  ASSERT_TRUE(generator->write_until(100).has_value());
  EXPECT_GE(generator->counts().messages, 100u);
  EXPECT_LT(generator->counts().messages, 300u);
  ASSERT_TRUE(generator->write_until(UINT64_MAX).has_value());
  EXPECT_EQ(generator->counts().messages, 500u);
}

TEST(Generator, MissingTemplatesAreNamed) {
  const lab::TestDirectory directory;
  GeneratorOptions options;
  options.templates = directory.path();
  options.inbox = directory.path();
  options.record = directory.path() + "/record";
  const auto opened = Generator::open(options);
  ASSERT_FALSE(opened.has_value());
  EXPECT_THAT(opened.error().what, ::testing::HasSubstr(directory.path()));
}

}  // namespace
}  // namespace mainstay::drills
