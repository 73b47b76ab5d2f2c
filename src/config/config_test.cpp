// Each promise of the two files' readers: what is read, and what is said about what cannot be.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "config/broker_config.h"
#include "config/pipeline_config.h"

namespace mainstay::config {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::string_view kNode = "[node]\nname = \"a1\"\nregion = \"a\"\ndata = \"data\"\n";
constexpr std::string_view kRegister = "[register]\nfile = \"register.db\"\n";
constexpr std::string_view kUser = "[[user]]\nname = \"u\"\npassword = \"hunter2-secret\"\n";

std::string minimal(std::string_view more = {}) {
  return fmt::format("{}{}{}{}", kNode, kRegister, kUser, more);
}
/// Line numbers of `more` in minimal(more) start after this.
constexpr int kMinimalLines = 9;

std::string broker_problems(const std::string& text) {
  const auto config = parse_broker_config(text, "b.toml", "/etc/mainstay");
  return config ? std::string() : config.error().what;
}

std::string pipeline_text(std::string_view role = "both", std::string_view more = {}) {
  return fmt::format(
      "[pipeline]\nregion = \"a\"\nworker = \"w1\"\nrole = \"{}\"\n"
      "[amqp]\nendpoints = [\"127.0.0.1:5672\", \"127.0.0.1:5673\"]\nqueue = \"payments\"\n"
      "[register]\nfile = \"r.db\"\n{}",
      role, more);
}
constexpr std::string_view kBuilder =
    "[source]\ndirectory = \"in\"\n[spool]\ndirectory = \"spool\"\n[archive]\ndirectory = \"archive\"\n";
constexpr std::string_view kProcessor =
    "[ledger]\nfile = \"ledger.db\"\n[destination]\ndirectory = \"out\"\n";

std::string pipeline_problems(const std::string& text) {
  const auto config = parse_pipeline_config(text, "p.toml", "/etc/mainstay");
  return config ? std::string() : config.error().what;
}

/// A directory that goes with the test.
class Scratch {
 public:
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "mainstay_config_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string write(const std::string& name, std::string_view content) const {
    const std::string path = path_ + "/" + name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(BrokerConfig, MinimalFileHasTheDocumentedDefaults) {
  const auto config = parse_broker_config(minimal(), "b.toml", "/etc/mainstay");
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_EQ(config->node.name, "a1");
  EXPECT_EQ(config->node.data, "/etc/mainstay/data");
  EXPECT_FALSE(config->node.cluster.has_value());
  EXPECT_EQ(config->amqp.listen.text(), "127.0.0.1:5672");
  EXPECT_EQ(config->amqp.max_message_bytes, 1'048'576U);
  EXPECT_EQ(config->amqp.max_frame_bytes, 65'536U);
  EXPECT_EQ(config->journal.segment_bytes, 67'108'864U);
  EXPECT_EQ(config->journal.reserve_bytes, 4'194'304U);
  EXPECT_EQ(config->region_register.group, "main");
  EXPECT_FALSE(config->region_register.initial_region.has_value());
  EXPECT_FALSE(config->replication.listen.has_value());
  ASSERT_EQ(config->users.size(), 1U);
  EXPECT_EQ(config->users[0].password, "hunter2-secret");
  EXPECT_EQ(config->log.level, "info");
}

TEST(BrokerConfig, EveryKeyIsRead) {
  const auto config = parse_broker_config(R"(
[node]
name = "b1"
region = "b"
data = "/var/lib/mainstay"
cluster = "6f2c1d0e-8a4b-4c3d-9e5f-0123456789ab"
[amqp]
listen = "[::1]:5671"
anonymous = true
max_message_bytes = "2MiB"
max_frame_bytes = 4096
idle_timeout_s = 30
connections_max = 5
[control]
listen = "127.0.0.1:0"
token = "t"
[replication]
listen = "127.0.0.1:7000"
peers = ["127.0.0.1:7001", "localhost:7002"]
soft_lag_records = 10
hard_lag_records = 20
[register]
file = "../r.db"
group = "g"
initial_region = "b"
[journal]
segment_bytes = "1 GiB"
reserve_bytes = 65536
checkpoint_every_records = 1000
body_cache_bytes = 0
[memory]
index_bytes = "3MiB"
index_hot_bytes = 0
[threads]
io = 2
spin_us = 7
[[queue]]
name = "pay/in"
requires_session = true
duplicate_detection = true
duplicate_window_s = 20
lock_duration_s = 300
max_delivery_count = 2000
default_ttl_s = 5
dead_letter_on_expiry = true
[[queue]]
name = "other"
[log]
level = "debug"
)",
                                          "b.toml", "/etc/mainstay");
  ASSERT_TRUE(config) << config.error().what;
  ASSERT_TRUE(config->node.cluster.has_value());
  EXPECT_EQ(config->node.cluster->text(), "6f2c1d0e-8a4b-4c3d-9e5f-0123456789ab");
  EXPECT_EQ(config->node.data, "/var/lib/mainstay");
  EXPECT_EQ(config->amqp.listen, (Endpoint{"::1", 5671}));
  EXPECT_EQ(config->amqp.listen.text(), "[::1]:5671");
  EXPECT_TRUE(config->amqp.anonymous);
  EXPECT_EQ(config->amqp.max_message_bytes, 2U << 20);
  EXPECT_EQ(config->amqp.max_frame_bytes, 4096U);
  EXPECT_EQ(config->amqp.idle_timeout_s, 30);
  EXPECT_EQ(config->amqp.connections_max, 5U);
  EXPECT_EQ(config->control.listen.port, 0);
  EXPECT_EQ(config->control.token, "t");
  EXPECT_EQ(config->replication.listen->port, 7000);
  ASSERT_EQ(config->replication.peers.size(), 2U);
  EXPECT_EQ(config->replication.peers[1].host, "localhost");
  EXPECT_EQ(config->replication.soft_lag_records, 10U);
  EXPECT_EQ(config->replication.hard_lag_records, 20U);
  EXPECT_EQ(config->region_register.file, "/etc/r.db");
  EXPECT_EQ(config->region_register.group, "g");
  EXPECT_EQ(config->region_register.initial_region, "b");
  EXPECT_EQ(config->journal.segment_bytes, 1U << 30);
  EXPECT_EQ(config->journal.reserve_bytes, 65536U);
  EXPECT_EQ(config->journal.checkpoint_every_records, 1000U);
  EXPECT_EQ(config->journal.body_cache_bytes, 0U);
  EXPECT_EQ(config->memory.index_bytes, 3U << 20);
  EXPECT_EQ(config->memory.index_hot_bytes, 0U);
  EXPECT_EQ(config->threads.io, 2U);
  EXPECT_EQ(config->threads.spin_us, 7);
  ASSERT_EQ(config->queues.size(), 2U);
  const auto& queue = config->queues[0];
  EXPECT_EQ(queue.name, "pay/in");
  EXPECT_TRUE(queue.requires_session && queue.duplicate_detection && queue.dead_letter_on_expiry);
  EXPECT_EQ(queue.duplicate_window_ms, 20'000);
  EXPECT_EQ(queue.lock_duration_ms, 300'000);
  EXPECT_EQ(queue.max_delivery_count, 2000U);
  EXPECT_EQ(queue.default_ttl_ms, 5'000);
  EXPECT_EQ(config->queues[1].lock_duration_ms, 60'000);
  EXPECT_EQ(config->log.level, "debug");
}

TEST(BrokerConfig, UnknownKeyNamesPlaceAllowedKeysAndTheNearestOne) {
  EXPECT_EQ(
      broker_problems(minimal("[[queue]]\nname = \"q\"\n  lock_duratoin_s = 5\n")),
      fmt::format(
          "b.toml:{}:3: unknown key \"lock_duratoin_s\" in [[queue]]; did you mean "
          "\"lock_duration_s\"? Allowed here: dead_letter_on_expiry, default_ttl_s, "
          "duplicate_detection, duplicate_window_s, durability, lock_duration_s, max_delivery_count, name, "
          "producers_choose_durability, requires_session.",
          kMinimalLines + 3));
}

TEST(BrokerConfig, UnknownKeyFarFromEverythingGetsNoGuess) {
  const std::string problems = broker_problems(minimal("[log]\ncolour = true\n"));
  EXPECT_THAT(problems, HasSubstr("unknown key \"colour\" in [log]. Allowed here: level."));
  EXPECT_THAT(problems, Not(HasSubstr("did you mean")));
}

TEST(BrokerConfig, LimitsShrinkWithTheMemoryAndMustTakeALargeMessage) {
  const auto usual = parse_broker_config(minimal(""), "b.toml", "/");
  ASSERT_TRUE(usual);
  EXPECT_EQ(usual->limits.memory_bytes, 256U << 20);
  EXPECT_EQ(usual->limits.connection_bytes, 64U << 20);
  EXPECT_EQ(usual->limits.journal_bytes, 32U << 20);
  const auto small = parse_broker_config(minimal("[limits]\nmemory_bytes = \"16MiB\"\n"), "b.toml", "/");
  ASSERT_TRUE(small);
  EXPECT_EQ(small->limits.connection_bytes, 4U << 20);
  EXPECT_EQ(small->limits.queue_bytes, 8U << 20);
  EXPECT_EQ(small->limits.journal_bytes, 2U << 20);
  EXPECT_THAT(
      broker_problems(minimal("[amqp]\nmax_message_bytes = \"2MiB\"\n[limits]\nmemory_bytes = \"15MiB\"\n")),
      HasSubstr("\"memory_bytes\" (15728640) must be at least 8 times \"max_message_bytes\""));
}

TEST(BrokerConfig, DeliveryWindowHasADefaultAndARangeWithoutAnUnboundedOne) {
  EXPECT_EQ(parse_broker_config(minimal(""), "b.toml", "/")->limits.delivery_window, 1000U);
  const auto narrow = parse_broker_config(minimal("[limits]\ndelivery_window = 1\n"), "b.toml", "/");
  ASSERT_TRUE(narrow);
  EXPECT_EQ(narrow->limits.delivery_window, 1U);
  for (const char* wrong : {"0", "100001", "-1"}) {
    EXPECT_THAT(broker_problems(minimal(std::string("[limits]\ndelivery_window = ") + wrong + "\n")),
                HasSubstr("\"delivery_window\" in [limits] must be an integer from 1 to 100000"))
        << wrong;
  }
}

TEST(BrokerConfig, AQueuesDurabilityIsOneOfTheLevels) {
  const auto config = parse_broker_config(
      minimal("[[queue]]\nname = \"q\"\ndurability = \"global\"\nproducers_choose_durability = false\n"),
      "b.toml", "/");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->queues.back().durability, "global");
  EXPECT_FALSE(config->queues.back().producers_choose_durability);
  EXPECT_THAT(broker_problems(minimal("[[queue]]\nname = \"q\"\ndurability = \"worldwide\"\n")),
              HasSubstr("durability"));
}

TEST(BrokerConfig, UnknownTableNamesTheTables) {
  EXPECT_EQ(
      broker_problems(minimal("[journl]\nsegment_bytes = 1\n")),
      fmt::format("b.toml:{}:2: unknown table \"journl\" at the top of the file; did you mean \"journal\"? "
                  "Allowed here: amqp, control, group, journal, limits, log, memory, node, queue, register, "
                  "replication, "
                  "threads, user.",
                  kMinimalLines + 1));
}

TEST(BrokerConfig, WrongTypesSayWhatWasFoundAndWhatIsAllowed) {
  const std::string problems =
      broker_problems(minimal("[amqp]\nlisten = 5672\nanonymous = \"yes\"\nidle_timeout_s = 1.5\n"
                              "[replication]\npeers = \"127.0.0.1:1\"\n[log]\nlevel = [\"info\"]\n"));
  EXPECT_EQ(
      problems,
      "b.toml:11:10: \"listen\" in [amqp] must be a text \"host:port\", found the integer 5672\n"
      "b.toml:12:13: \"anonymous\" in [amqp] must be true or false, found the text \"yes\"\n"
      "b.toml:13:18: \"idle_timeout_s\" in [amqp] must be an integer from 1 to 86400, found the number 1.5\n"
      "b.toml:15:9: \"peers\" in [replication] must be a list of texts \"host:port\", found the text "
      "\"127.0.0.1:1\"\n"
      "b.toml:17:9: \"level\" in [log] must be one of \"debug\", \"info\", \"warn\", \"error\", found a "
      "list");
}

TEST(BrokerConfig, TableWhereAValueIsMeantAndTheOtherWayRound) {
  EXPECT_THAT(broker_problems(fmt::format("amqp = 3\n{}", minimal())),
              HasSubstr("b.toml:1:8: [amqp] must be a table, found the integer 3"));
  EXPECT_THAT(broker_problems(minimal("[queue]\nname = \"q\"\n")),
              HasSubstr("[queue] is a list of tables: write [[queue]] above each, found a table"));
  EXPECT_THAT(broker_problems(fmt::format("queue = [3]\n{}", minimal())),
              HasSubstr("b.toml:1:10: [[queue]] must be a table, found the integer 3"));
}

TEST(BrokerConfig, OutOfRangeValuesSayTheRange) {
  const std::string problems = broker_problems(minimal(
      "[[queue]]\nname = \"q\"\nduplicate_window_s = 19\nlock_duration_s = 301\nmax_delivery_count = 0\n"
      "default_ttl_s = -1\n[journal]\nsegment_bytes = \"1KiB\"\n[amqp]\nmax_frame_bytes = \"64 megs\"\n"));
  EXPECT_THAT(problems,
              HasSubstr("\"duplicate_window_s\" in [[queue]] must be an integer from 20 to 604800, found "
                        "the integer 19"));
  EXPECT_THAT(problems,
              HasSubstr("\"lock_duration_s\" in [[queue]] must be an integer from 1 to 300, found the "
                        "integer 301"));
  EXPECT_THAT(problems,
              HasSubstr("\"max_delivery_count\" in [[queue]] must be an integer from 1 to 2000, found"));
  EXPECT_THAT(problems, HasSubstr("\"default_ttl_s\" in [[queue]] must be an integer from 0 to"));
  EXPECT_THAT(problems,
              HasSubstr("\"segment_bytes\" in [journal] must be a size from \"64KiB\" to \"4GiB\": bytes "
                        "as an integer, or a text with KiB, MiB or GiB, found the text \"1KiB\""));
  EXPECT_THAT(problems, HasSubstr("\"max_frame_bytes\" in [amqp] must be a size from"));
}

TEST(BrokerConfig, MissingRequiredKeysAreAllNamed) {
  EXPECT_EQ(
      broker_problems("[node]\nname = \"a\"\n[[user]]\nname = \"u\"\n[[queue]]\nrequires_session = true\n"),
      "b.toml:1:1: \"region\" in [node] is missing; it must be a text that is not empty\n"
      "b.toml:1:1: \"data\" in [node] is missing; it must be a text that is not empty\n"
      "b.toml:1:1: \"file\" or \"etcd\" in [register] is missing: \"file\" for one machine, \"etcd\" or "
      "[[register.voter]] for voters on several\n"
      "b.toml:3:1: \"password\" or \"password_file\" is missing; one of them must be given\n"
      "b.toml:5:1: \"name\" in [[queue]] is missing; it must be a text that is not empty");
}

constexpr std::string_view kVoters = "etcd = [\"10.0.0.1:2379\", \"voter-2.example:2379\"]\n";

std::string with_register(std::string_view lines) {
  return fmt::format("{}[register]\n{}{}", kNode, lines, kUser);
}

TEST(BrokerConfig, RegisterOfVotersIsReadWithItsDefaults) {
  const auto plain = parse_broker_config(with_register(kVoters), "b.toml", "/etc/mainstay");
  ASSERT_TRUE(plain) << plain.error().what;
  const RegisterPlace& voters = plain->region_register;
  EXPECT_TRUE(voters.file.empty());
  EXPECT_EQ(voters.etcd, (std::vector<Endpoint>{{"10.0.0.1", 2379}, {"voter-2.example", 2379}}));
  EXPECT_EQ(voters.prefix, "/mainstay");
  EXPECT_EQ(voters.timeout_ms, 2000U);
  EXPECT_TRUE(voters.user.empty());
  EXPECT_FALSE(voters.tls);

  const auto whole = parse_broker_config(
      with_register(fmt::format(
          "{}prefix = \"/bank/mainstay\"\ntimeout_ms = 500\nuser = \"broker\"\npassword = \"p\"\n"
          "ca_file = \"ca.pem\"\ncertificate_file = \"/certs/node.pem\"\nkey_file = \"node.key\"\n",
          kVoters)),
      "b.toml", "/etc/mainstay");
  ASSERT_TRUE(whole) << whole.error().what;
  const RegisterPlace& secure = whole->region_register;
  EXPECT_EQ(secure.prefix, "/bank/mainstay");
  EXPECT_EQ(secure.timeout_ms, 500U);
  EXPECT_EQ(secure.user, "broker");
  EXPECT_EQ(secure.password, "p");
  EXPECT_TRUE(secure.tls) << "certificates are for TLS";
  EXPECT_EQ(secure.ca_file, "/etc/mainstay/ca.pem");
  EXPECT_EQ(secure.certificate_file, "/certs/node.pem");
  EXPECT_EQ(secure.key_file, "/etc/mainstay/node.key");
}

TEST(BrokerConfig, RegisterIsOnePlaceAndItsSecretsBelongTogether) {
  const auto problems = [](const std::string& more) {
    return broker_problems(with_register(std::string(kVoters) + more));
  };
  EXPECT_EQ(problems(""), "");
  EXPECT_THAT(problems("file = \"r.db\"\n"),
              HasSubstr("give \"file\" or voters (\"etcd\", [[register.voter]]) in [register], not both"));
  EXPECT_THAT(problems("[[register.voter]]\nname = \"v\"\naddress = \"h:1\"\n"),
              HasSubstr("give \"etcd\" or [[register.voter]], not both"));
  EXPECT_THAT(broker_problems(with_register("[[register.voter]]\nname = \"v\"\naddress = \"h:0\"\n")),
              HasSubstr("\"h:0\" has port 0"));
  EXPECT_THAT(problems("prefix = \"mainstay\"\n"), HasSubstr("\"prefix\" must begin with '/'"));
  EXPECT_THAT(problems("prefix = \"/mainstay/\"\n"), HasSubstr("\"prefix\" must begin with '/'"));
  EXPECT_THAT(problems("user = \"broker\"\n"), HasSubstr("\"password\" or \"password_file\" is missing"));
  EXPECT_THAT(problems("key_file = \"k\"\n"), HasSubstr("are given together or not at all"));
  EXPECT_THAT(problems("ca_file = \"ca\"\ntls = false\n"), HasSubstr("\"tls\" is false"));
  EXPECT_THAT(problems("timeout_ms = 5\n"), HasSubstr("from 100 to 60000"));
  EXPECT_THAT(broker_problems(with_register("etcd = [\"10.0.0.1:0\"]\n")), HasSubstr("has port 0"));
  EXPECT_THAT(broker_problems(with_register("file = \"r.db\"\ntls = true\n")),
              HasSubstr("TLS is for \"etcd\""));
}

TEST(BrokerConfig, DuplicateNamesSayWhereTheFirstIs) {
  const std::string problems = broker_problems(
      minimal("[[queue]]\nname = \"Payments\"\n[[queue]]\nname = \"payments\"\n[[user]]\nname = \"u\"\n"
              "password = \"p\"\n"));
  EXPECT_EQ(problems,
            "b.toml:13:1: queue \"payments\" is given twice, first in line 11\n"
            "b.toml:15:1: user \"u\" is given twice, first in line 8");
}

TEST(BrokerConfig, BadNamesAreRefused) {
  EXPECT_THAT(broker_problems(minimal("[[queue]]\nname = \"q/$DeadLetterQueue\"\n")),
              HasSubstr("\"name\" must be a queue's name"));
  EXPECT_THAT(broker_problems(minimal("[[queue]]\nname = \"/q\"\n")), HasSubstr("must be a queue's name"));
  EXPECT_THAT(broker_problems(minimal("[[queue]]\nname = \"\"\n")),
              HasSubstr("\"name\" in [[queue]] must be a text that is not empty, found the text \"\""));
  EXPECT_THAT(
      broker_problems("[node]\nname = \"a b\"\nregion = \"a\"\ndata = \"d\"\n[register]\nfile = \"f\"\n"
                      "[amqp]\nanonymous = true\n"),
      HasSubstr("b.toml:2:1: \"name\" must be a name of at most 64 letters"));
  EXPECT_THAT(broker_problems(fmt::format("{}cluster = \"abc\"\n{}{}", kNode, kRegister, kUser)),
              HasSubstr("b.toml:5:11: \"cluster\" in [node] must be a UUID"));
}

TEST(BrokerConfig, ContradictionsAreRefused) {
  EXPECT_THAT(broker_problems(minimal("[replication]\nsoft_lag_records = 9\nhard_lag_records = 8\n")),
              HasSubstr("\"soft_lag_records\" (9) must not be greater than \"hard_lag_records\" (8)"));
  EXPECT_THAT(broker_problems(minimal("[journal]\nsegment_bytes = \"1MiB\"\nreserve_bytes = \"1MiB\"\n")),
              HasSubstr("\"reserve_bytes\" (1048576) must be smaller than \"segment_bytes\""));
  EXPECT_THAT(broker_problems(fmt::format("{}{}", kNode, kRegister)), HasSubstr("no client could connect"));
  EXPECT_THAT(broker_problems(minimal("[replication]\npeers = [\"a:1\", \"a:1\", \"b\"]\n")),
              HasSubstr("lists \"a:1\" twice\nb.toml:11:24: each of \"peers\" in [replication] must be"));
  const auto small = parse_broker_config(minimal("[journal]\nsegment_bytes = \"1MiB\"\n"), "b.toml", "/");
  ASSERT_TRUE(small) << small.error().what;
  EXPECT_EQ(small->journal.reserve_bytes, 262'144U) << "a default never contradicts a chosen value";
}

TEST(ControlListeners, AreOnPrivateAddressesUnlessTheFileSaysWhyNot) {
  for (const char* table : {"control", "replication"}) {
    const auto with = [table](std::string_view keys) {
      return minimal(fmt::format("[{}]\n{}\n", table, keys));
    };
    for (const char* host : {"127.0.0.1", "10.1.2.3", "[fd00::1]", "node-1.mainstay.svc"})
      EXPECT_EQ(broker_problems(with(fmt::format("listen = \"{}:5999\"", host))), "") << host;
    for (const char* host : {"0.0.0.0", "[::]", "8.8.8.8", "[2001:db8::1]"}) {
      const std::string listen = fmt::format("listen = \"{}:5999\"", host);
      EXPECT_THAT(broker_problems(with(listen)),
                  AllOf(HasSubstr("private network"), HasSubstr("allow_exposed")))
          << host;
      const std::string text = with(listen + "\nallow_exposed = \"a container\"");
      EXPECT_EQ(broker_problems(text), "") << host;
      const auto told = exposed_listeners(*parse_broker_config(text, "b.toml", "/etc/mainstay"));
      ASSERT_EQ(told.size(), 1) << host;
      EXPECT_THAT(told[0], AllOf(HasSubstr(table), HasSubstr("a container"), HasSubstr("5999")));
    }
    EXPECT_THAT(broker_problems(with("listen = \"10.1.2.3:5999\"\nallow_exposed = \"for nothing\"")),
                HasSubstr("allows nothing"));
  }
  EXPECT_TRUE(exposed_listeners(*parse_broker_config(minimal(), "b.toml", "/etc/mainstay")).empty());
}

TEST(ControlListeners, AreApartFromEachOtherAndFromTheClients) {
  EXPECT_THAT(broker_problems(minimal("[control]\nlisten = \"127.0.0.1:5672\"\n")),
              AllOf(HasSubstr("and in [amqp]"), HasSubstr("another port")));
  EXPECT_THAT(broker_problems(minimal("[replication]\nlisten = \"127.0.0.1:5672\"\n")),
              HasSubstr("and in [amqp]"));
  EXPECT_THAT(broker_problems(minimal("[replication]\nlisten = \"127.0.0.1:5680\"\n")),
              HasSubstr("and in [control]"));
  EXPECT_EQ(
      broker_problems(minimal("[control]\nlisten = \"127.0.0.1:0\"\n[amqp]\nlisten = \"127.0.0.1:0\"\n")),
      "");
}

TEST(BrokerConfig, SyntaxErrorsAndKeysGivenTwiceHaveAPlace) {
  EXPECT_THAT(broker_problems("[node]\nname = \"a\nregion = 3\n"), StartsWith("b.toml:2:"));
  EXPECT_THAT(broker_problems("[node]\nname = \"a\"\nname = \"b\"\n"),
              ::testing::AllOf(StartsWith("b.toml:3:"), HasSubstr("not valid TOML"), HasSubstr("name")));
  std::string deep = "x = ";
  deep.append(5000, '[');
  EXPECT_THAT(broker_problems(deep), StartsWith("b.toml:1:"));
}

TEST(BrokerConfig, PasswordsAreNeverEchoed) {
  for (const std::string_view line : {"password = hunter2-secret\n", "password = \"hunter2-secret\n",
                                      "password = [\"hunter2-secret\"]\n", "password = 'hunter2-secret' x\n",
                                      "password = \"hunter2-secret\"\npassword = \"hunter2-secret\"\n"}) {
    const std::string problems =
        broker_problems(fmt::format("{}{}[[user]]\nname = \"u\"\n{}", kNode, kRegister, line));
    EXPECT_THAT(problems, HasSubstr("b.toml:")) << line;
    EXPECT_THAT(problems, Not(HasSubstr("hunter2"))) << line;
  }
  // The parser quotes a number that does not fit.
  const std::string number = fmt::format("[control]\ntoken = {}\n", std::string(40, '7'));
  EXPECT_THAT(broker_problems(minimal(number)),
              ::testing::AllOf(HasSubstr("b.toml:11:"), Not(HasSubstr("777"))));
  EXPECT_THAT(broker_problems(minimal("[control]\ntoken = 424242\n")),
              ::testing::AllOf(HasSubstr("found an integer"), Not(HasSubstr("424242"))));
  EXPECT_THAT(broker_problems(minimal("[log]\nlevl = 1\n")), Not(HasSubstr("hunter2")));
}

TEST(BrokerConfig, PasswordFileIsReadAndItsTroubleIsNamed) {
  const Scratch scratch;
  scratch.write("secret", "from-file\n");
  scratch.write("empty", "\n");
  const auto text = [&](std::string_view lines) {
    return fmt::format("{}{}[[user]]\nname = \"u\"\n{}", kNode, kRegister, lines);
  };
  const auto good = parse_broker_config(text("password_file = \"secret\"\n"), "b.toml", scratch.path());
  ASSERT_TRUE(good) << good.error().what;
  EXPECT_EQ(good->users[0].password, "from-file");
  const auto problems = [&](std::string_view lines) {
    const auto config = parse_broker_config(text(lines), "b.toml", scratch.path());
    return config ? std::string() : config.error().what;
  };
  EXPECT_EQ(problems("password_file = \"none\"\n"),
            fmt::format("b.toml:9:1: {}/none: cannot be opened: No such file or directory", scratch.path()));
  EXPECT_THAT(problems("password_file = \"empty\"\n"), EndsWith("/empty: is empty"));
  EXPECT_THAT(problems("password = \"x\"\npassword_file = \"secret\"\n"),
              EndsWith("give \"password\" or \"password_file\", not both"));
}

TEST(BrokerConfig, LoadReadsAFileAndTakesPathsFromItsDirectory) {
  const Scratch scratch;
  const auto config = load_broker_config(scratch.write("b.toml", minimal()));
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_EQ(config->node.data, scratch.path() + "/data");
}

TEST(BrokerConfig, FilesThatCannotBeReadSayWhy) {
  const Scratch scratch;
  EXPECT_THAT(
      load_broker_config(scratch.path() + "/absent.toml").error().what,
      ::testing::AllOf(HasSubstr("absent.toml: cannot be opened: No such file"), HasSubstr("--config FILE")));
  EXPECT_THAT(load_broker_config(scratch.path()).error().what, HasSubstr("cannot be read: Is a directory"));
  EXPECT_THAT(load_broker_config(scratch.write("huge", std::string((4U << 20) + 1, '#'))).error().what,
              HasSubstr("longer than"));
  EXPECT_THAT(load_broker_config(scratch.write("nul", std::string(3, '\0'))).error().what,
              HasSubstr("nul:1:"));
}

TEST(PipelineConfig, RolesNeedTheirOwnTables) {
  const auto both = parse_pipeline_config(pipeline_text("both", fmt::format("{}{}", kBuilder, kProcessor)),
                                          "p.toml", "/etc/mainstay");
  ASSERT_TRUE(both) << both.error().what;
  EXPECT_TRUE(both->pipeline.builds() && both->pipeline.processes());
  EXPECT_EQ(both->amqp.endpoints.size(), 2U);
  EXPECT_EQ(both->destination.parked, "/etc/mainstay/out.parked");
  EXPECT_EQ(both->limits.session_timeout_s, 5);
  EXPECT_EQ(pipeline_problems(pipeline_text("queue-builder", kBuilder)), "");
  EXPECT_EQ(pipeline_problems(pipeline_text("processor", kProcessor)), "");
  EXPECT_THAT(pipeline_problems(pipeline_text("processor", kBuilder)),
              ::testing::AllOf(HasSubstr("\"file\" in [ledger] is missing"),
                               HasSubstr("\"directory\" in [destination] is missing; this role needs it")));
  EXPECT_THAT(pipeline_problems(pipeline_text("both", kProcessor)),
              ::testing::AllOf(HasSubstr("\"directory\" in [source]"), HasSubstr("\"directory\" in [spool]"),
                               HasSubstr("\"directory\" in [archive]")));
  EXPECT_THAT(
      pipeline_problems(pipeline_text("procesor", kProcessor)),
      HasSubstr("must be one of \"both\", \"queue-builder\", \"processor\" (did you mean \"processor\"?), "
                "found the text \"procesor\""));
}

TEST(PipelineConfig, CredentialsBelongTogether) {
  const std::string tables = fmt::format("{}{}", kBuilder, kProcessor);
  std::string text = pipeline_text("both", tables);
  const auto with = [&](std::string_view lines) {
    std::string changed = text;
    changed.insert(changed.find("queue = "), lines);
    return changed;
  };
  EXPECT_EQ(pipeline_problems(with("user = \"u\"\npassword = \"p\"\n")), "");
  EXPECT_THAT(pipeline_problems(with("user = \"u\"\n")),
              HasSubstr("\"password\" or \"password_file\" is missing"));
  EXPECT_THAT(pipeline_problems(with("password = \"hunter2\"\n")),
              ::testing::AllOf(HasSubstr("a password needs \"user\""), Not(HasSubstr("hunter2"))));
}

TEST(PipelineConfig, LimitsAndEndpointsAreChecked) {
  const std::string tables = fmt::format("{}{}", kBuilder, kProcessor);
  EXPECT_THAT(pipeline_problems(
                  pipeline_text("both", tables + "[limits]\nsessions_max = 0\nbatch_items_max = 5000\n")),
              ::testing::AllOf(
                  HasSubstr("\"sessions_max\" in [limits] must be an integer from 1 to 1024"),
                  HasSubstr("\"batch_items_max\" (5000) must not be greater than \"pending_items_max\"")));
  std::string text = pipeline_text("both", tables);
  const std::string list = "[\"127.0.0.1:5672\", \"127.0.0.1:5673\"]";
  EXPECT_THAT(pipeline_problems(std::string(text).replace(text.find(list), list.size(), "[]")),
              HasSubstr("\"endpoints\" in [amqp] needs at least 1 entry"));
  EXPECT_THAT(pipeline_problems(std::string(text).replace(text.find(list), list.size(), "[\"h:0\"]")),
              HasSubstr("has port 0"));
  EXPECT_THAT(load_pipeline_config("/nowhere/p.toml").error().what,
              HasSubstr("/nowhere/p.toml: cannot be opened: No such file or directory"));
}

TEST(ConfigValues, Sizes) {
  EXPECT_EQ(parse_size("64MiB"), 67'108'864U);
  EXPECT_EQ(parse_size("1 KiB"), 1024U);
  EXPECT_EQ(parse_size("7B"), 7U);
  for (const std::string_view bad : {"", "MiB", "64", "64MB", "-1KiB", "1.5GiB", "99999999999GiB", "1KiBx"})
    EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
  EXPECT_EQ(size_text(67'108'864), "\"64MiB\"");
  EXPECT_EQ(size_text(1000), "1000");
}

TEST(ConfigValues, Endpoints) {
  EXPECT_EQ(parse_endpoint("h:1"), (Endpoint{"h", 1}));
  EXPECT_EQ(parse_endpoint("[::1]:65535"), (Endpoint{"::1", 65535}));
  for (const std::string_view bad :
       {"", "h", ":1", "h:", "h:65536", "h:-1", "::1:5", "[h]:1", "a b:1", "amqp://h:1"})
    EXPECT_EQ(parse_endpoint(bad), std::nullopt) << bad;
}

TEST(ConfigValues, NearestWord) {
  EXPECT_EQ(nearest("lock_duration", {"lock_duration_s", "name"}), "lock_duration_s");
  EXPECT_EQ(nearest("nmae", {"lock_duration_s", "name"}), "name");
  EXPECT_EQ(nearest("zzzzzzzz", {"lock_duration_s", "name"}), "");
}

/// docs/configuration.md has, under "### `[table]`", a row "| `key` | … | `default` | …" for every key.
void expect_documented(const std::string& chapter, const std::vector<KeyInfo>& keys) {
  std::ifstream file("docs/configuration.md");
  ASSERT_TRUE(file) << "docs/configuration.md is missing (tests run in the source directory)";
  const std::string page(std::istreambuf_iterator<char>(file), {});
  const auto from = page.find("\n## " + chapter);
  ASSERT_NE(from, std::string::npos) << chapter;
  const std::string part = page.substr(from, page.find("\n## ", from + 1) - from);
  EXPECT_GT(keys.size(), 20U);
  for (const KeyInfo& key : keys) {
    const auto table = part.find(fmt::format("### `[{}]`", key.table));
    ASSERT_NE(table, std::string::npos) << "no section for [" << key.table << "] in " << chapter;
    const std::string section = part.substr(table, part.find("\n### ", table) - table);
    const auto row = section.find(fmt::format("\n| `{}` |", key.key));
    ASSERT_NE(row, std::string::npos) << "[" << key.table << "] lacks a row for " << key.key << " ("
                                      << key.allowed << "; default " << key.fallback << ")";
    const std::string line = section.substr(row + 1, section.find('\n', row + 1) - row - 1);
    const bool word = key.fallback == "required" || key.fallback == "none";
    EXPECT_THAT(
        line, HasSubstr(word ? fmt::format("| {} |", key.fallback) : fmt::format("| `{}` |", key.fallback)));
  }
}

TEST(ConfigReference, EveryKeyOfTheBrokerFileIsInThePageWithItsDefault) {
  expect_documented("Broker", broker_config_keys());
}

TEST(ConfigReference, EveryKeyOfThePipelineFileIsInThePageWithItsDefault) {
  expect_documented("Pipeline", pipeline_config_keys());
}

/// The examples of the pages are files that load.
TEST(ConfigReference, ExamplesInThePagesAreValid) {
  const std::pair<const char*, int> pages[] = {
      {"docs/configuration.md", 2}, {"docs/groups.md", 3}, {"docs/shared-store.md", 1}};
  for (const auto& [name, least] : pages) {
    std::ifstream file(name);
    const std::string page(std::istreambuf_iterator<char>(file), {});
    int examples = 0;
    for (std::size_t at = page.find("```toml\n"); at != std::string::npos;
         at = page.find("```toml\n", at + 1)) {
      const std::size_t begin = at + 8;
      const std::string text = page.substr(begin, page.find("```", begin) - begin);
      const std::string problems =
          text.find("[pipeline]") == std::string::npos ? broker_problems(text) : pipeline_problems(text);
      EXPECT_EQ(problems, "") << name << "\n" << text;
      ++examples;
    }
    EXPECT_GE(examples, least) << name;
  }
}

/// Operators look a refusal up by the name of its rule.
TEST(ConfigReference, EveryLayoutRuleIsInThePage) {
  std::ifstream file("docs/groups.md");
  const std::string page(std::istreambuf_iterator<char>(file), {});
  for (int i = 0; i <= static_cast<int>(LayoutRule::public_listener); ++i)
    EXPECT_THAT(page, HasSubstr(fmt::format("`{}`", name_of(static_cast<LayoutRule>(i)))));
}

}  // namespace
}  // namespace mainstay::config
