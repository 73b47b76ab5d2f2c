// The engine against frames made by hand: legal orders that clients really use, and what breaks the rules.
#include "amqp/engine.h"

#include <gtest/gtest.h>

#include <deque>

#include "amqp/client_frames.h"
#include "amqp/performatives.h"
#include "amqp/test_server.h"

namespace mainstay::amqp {
namespace {

const char* name_of(std::uint64_t code) {
  switch (code) {
    case descriptor::open:
      return "open";
    case descriptor::begin:
      return "begin";
    case descriptor::attach:
      return "attach";
    case descriptor::flow:
      return "flow";
    case descriptor::transfer:
      return "transfer";
    case descriptor::disposition:
      return "disposition";
    case descriptor::detach:
      return "detach";
    case descriptor::end:
      return "end";
    case descriptor::close:
      return "close";
    case descriptor::sasl_mechanisms:
      return "mechanisms";
    case descriptor::sasl_challenge:
      return "challenge";
    case descriptor::sasl_outcome:
      return "outcome";
    default:
      return "?";
  }
}

/// Talks to an engine and takes its answers apart.
struct Script {
  explicit Script(EngineOptions options = {}) : server(std::move(options)) {}

  /// Feeds frames; `answers` and `names` then describe what came back.
  Script& say(ClientFrames& frames) {
    server.engine->input(frames.bytes, now);
    frames.bytes.clear();
    return listen();
  }
  Script& listen() {
    const BytesView out = server.engine->output();
    kept.push_back(to_buffer(out));
    server.engine->consumed(out.size());
    names.clear();
    answers.clear();
    BytesView rest = kept.back();
    while (rest.size() >= 8) {
      if (as_text(rest.first(4)) == "AMQP") {
        names += std::string("header") + std::to_string(std::to_integer<int>(rest[4])) + " ";
        rest = rest.subspan(8);
        continue;
      }
      const FrameHeader header = read_frame_header(rest.data());
      const BytesView body = rest.subspan(8, header.size - 8);
      rest = rest.subspan(header.size);
      if (body.empty()) {
        names += "empty ";
        continue;
      }
      answers.push_back(*read_frame_body(body));
      channels.push_back(header.channel);
      names += std::string(name_of(answers.back().code)) + " ";
    }
    EXPECT_TRUE(rest.empty());
    if (!names.empty()) names.pop_back();
    return *this;
  }
  /// The condition of the answer at `index` from the back.
  std::string error(std::size_t field, std::size_t from_back = 0) {
    Fields fields(answers.at(answers.size() - 1 - from_back).fields);
    fields.skip(static_cast<unsigned>(field));
    const auto condition = read_condition(fields.any());
    EXPECT_TRUE(!condition || !condition->description.empty());
    return condition ? condition->symbol : "";
  }
  std::vector<std::uint32_t> numbers(std::size_t index) {
    std::vector<std::uint32_t> out;
    ValueReader values = ValueReader::inside(answers.at(index).fields);
    while (!values.at_end()) out.push_back(static_cast<std::uint32_t>(values.next().number));
    return out;
  }
  /// Skipped SASL, open, session 0.
  Script& start(std::uint32_t max_frame = 65536, std::uint32_t window = 1000) {
    say(f.header().open(max_frame).begin(0, window));
    EXPECT_EQ(names, "header0 open begin");
    return *this;
  }

  TestServer server;
  ClientFrames f;
  Instant now{1'000'000'000};
  std::string names;
  std::vector<FrameBody> answers;
  std::vector<std::uint16_t> channels;
  std::deque<Buffer> kept;
};

constexpr std::size_t kDetachError = 2;
constexpr std::size_t kEndError = 0;

TEST(Engine, AnswersAClientThatSaysEverythingBeforeItReads) {
  Script s;
  s.f.header(3).sasl_init("PLAIN", std::string_view("ignored\0user\0word", 17)).header().open().begin(5);
  s.say(s.f.attach(5, 0, false, "q")
            .transfer(5, 0, 0, "early", true)
            .transfer(5, 0, 1, "second")
            .detach(5, 0)
            .end(5)
            .close());
  EXPECT_EQ(s.names,
            "header3 mechanisms outcome header0 open begin attach flow disposition detach end close");
  EXPECT_EQ(s.server.sasl.user, "user");
  EXPECT_EQ(s.server.sasl.password, "word");
  ASSERT_EQ(s.server.transfers.size(), 2U);
  EXPECT_EQ(s.server.transfers[1].payload, "second");
  EXPECT_EQ(s.server.closed_calls, 1);
  EXPECT_FALSE(s.server.closed);
  EXPECT_TRUE(s.server.engine->finished());
}

TEST(Engine, AnswersTheSameHoweverItsInputIsCut) {
  ClientFrames f;
  f.header(3).sasl_init("ANONYMOUS", "x").header().open().begin(0).attach(0, 0, false, "q");
  f.transfer(0, 0, 0, std::string(500, 'a'))
      .transfer(0, 0, 1, "b", false, true)
      .transfer(0, 0, {}, "c")
      .close();
  Script whole;
  ClientFrames copy = f;
  whole.say(copy);
  for (std::size_t piece = 1; piece < 40; ++piece) {
    Script s;
    for (std::size_t at = 0; at < f.bytes.size(); at += piece) {
      s.server.engine->input(BytesView(f.bytes).subspan(at, std::min(piece, f.bytes.size() - at)), s.now);
    }
    s.listen();
    EXPECT_EQ(s.names, whole.names) << piece;
    ASSERT_EQ(s.server.transfers.size(), 2U);
    EXPECT_EQ(s.server.transfers[1].payload, "bc");
  }
}

TEST(Engine, AnswersAnotherProtocolWithItsOwnHeaderAndEnds) {
  const std::vector<std::pair<std::string, std::string>> openings{
      {"AMQP\x02\x01\x00\x00", "header3"},              // TLS
      {std::string("AMQP\0\0\x09\x01", 8), "header3"},  // AMQP 0-9-1
      {"GET / HTTP/1.1\r\n", "header3"},
      {"\x16\x03\x01", "header3"},  // a TLS hello
  };
  for (auto [opening, answer] : openings) {
    if (opening.size() == 4) opening.append("\x02\x01\0\0", 4);
    opening.resize(std::max<std::size_t>(opening.size(), 8));
    Script s;
    s.server.engine->input(as_bytes(opening), s.now);
    EXPECT_EQ(s.listen().names, answer);
    EXPECT_TRUE(s.server.engine->finished());
    EXPECT_EQ(s.server.closed->symbol, "amqp:connection:framing-error");
  }
}

TEST(Engine, AsksForSaslWhereItMayNotBeSkipped) {
  EngineOptions options;
  options.allow_skipped_sasl = false;
  Script s(options);
  s.say(s.f.header().open());
  EXPECT_EQ(s.names, "header3");
  EXPECT_TRUE(s.server.engine->finished());
  EXPECT_EQ(s.server.container, "");
}

TEST(Engine, TellsAClientWithoutSaslWhyItIsNotLetIn) {
  Script s;
  s.server.let_in = [](const SaslRequest&) { return false; };
  s.say(s.f.header().open());
  EXPECT_EQ(s.names, "header0 open close");
  EXPECT_EQ(s.error(0), "amqp:unauthorized-access");
}

TEST(Engine, TakesServiceBusAndChallengedLogins) {
  Script bus;
  bus.say(bus.f.header(3).sasl_init("MSSBCBS", "").header().open());
  EXPECT_EQ(bus.names, "header3 mechanisms outcome header0 open");
  EXPECT_EQ(bus.server.sasl.mechanism, "ANONYMOUS");

  Script slow;
  const auto init = [](ValueWriter& w) {
    w.symbol("PLAIN");
    return 1U;
  };
  const auto response = [](ValueWriter& w) {
    w.binary(as_bytes(std::string_view("\0u\0p", 4)));
    return 1U;
  };
  slow.say(slow.f.header(3).frame(0, descriptor::sasl_init, init, {}, FrameType::sasl));
  EXPECT_EQ(slow.names, "header3 mechanisms challenge");
  slow.say(slow.f.frame(0, descriptor::sasl_response, response, {}, FrameType::sasl));
  EXPECT_EQ(slow.names, "outcome");
  EXPECT_EQ(slow.server.sasl.user, "u");

  for (const std::string_view mechanism : {"SCRAM-SHA-256", "EXTERNAL"}) {
    Script other;
    other.say(other.f.header(3).sasl_init(mechanism, ""));
    EXPECT_EQ(other.names, "header3 mechanisms outcome");
    EXPECT_EQ(other.numbers(1), std::vector<std::uint32_t>{1});
    EXPECT_TRUE(other.server.engine->finished());
  }
}

TEST(Engine, ClosesOnMalformedFramesWithTheRightCondition) {
  const auto closed_by = [](auto&& more) {
    Script s;
    s.start();
    more(s.f);
    s.say(s.f);
    EXPECT_EQ(s.names, "close");
    EXPECT_EQ(s.server.closed_calls, 1);
    EXPECT_EQ(s.server.closed->symbol, s.error(0));
    EXPECT_FALSE(s.server.engine->finished()) << "the peer may answer";
    s.server.engine->input_closed(s.now);
    EXPECT_TRUE(s.server.engine->finished());
    return s.error(0);
  };
  const auto raw = [](std::initializer_list<int> from) {
    return [bytes = std::vector<int>(from)](ClientFrames& f) {
      for (const int b : bytes) f.bytes.push_back(static_cast<std::byte>(b));
    };
  };
  EXPECT_EQ(closed_by(raw({0, 0, 0, 7, 2, 0, 0, 0})), "amqp:connection:framing-error");
  EXPECT_EQ(closed_by(raw({0, 0, 0, 8, 1, 0, 0, 0})), "amqp:connection:framing-error");
  EXPECT_EQ(closed_by(raw({0, 0, 0, 8, 3, 0, 0, 0})), "amqp:connection:framing-error");
  EXPECT_EQ(closed_by(raw({0, 0, 0, 8, 2, 1, 0, 0})), "amqp:connection:framing-error");
  EXPECT_EQ(closed_by(raw({0, 1, 0, 1, 2, 0, 0, 0})), "amqp:connection:framing-error")
      << "larger than announced";
  EXPECT_EQ(closed_by(raw({0, 0, 0, 9, 2, 0, 0, 0, 0x40})), "amqp:decode-error");
  EXPECT_EQ(closed_by(raw({0, 0, 0, 12, 2, 0, 0, 0, 0, 0x53, 0x14, 0x45})), "amqp:decode-error");
  EXPECT_EQ(closed_by([](ClientFrames& f) { f.frame(0, 0x99, [](ValueWriter&) { return 0U; }); }),
            "amqp:decode-error");
  EXPECT_EQ(closed_by([](ClientFrames& f) { f.flow(9, 0, 1, 0); }), "amqp:not-allowed");
  EXPECT_EQ(closed_by([](ClientFrames& f) { f.begin(0); }), "amqp:illegal-state");
  EXPECT_EQ(closed_by([](ClientFrames& f) { f.open(); }), "amqp:illegal-state");
  EXPECT_EQ(closed_by([](ClientFrames& f) { f.begin(9000); }), "amqp:connection:framing-error");
  EXPECT_EQ(closed_by([](ClientFrames& f) { f.attach(0, 1024, true, "q"); }),
            "amqp:connection:framing-error");
}

TEST(Engine, EndsASessionOnWhatConcernsOnlyIt) {
  const auto ended_by = [](auto&& more) {
    Script s;
    s.start();
    s.say(s.f.begin(1).attach(0, 0, false, "q").attach(0, 1, true, "q").attach(1, 0, false, "q"));
    more(s.f);
    s.say(s.f.flow(0, 0, 1, 0, 77));  // ignored: the session has ended
    EXPECT_EQ(s.names, "end");
    EXPECT_EQ(s.server.detached.size(), 2U);
    std::string error = s.error(kEndError);
    s.say(s.f.transfer(1, 0, 0, "the other session lives").end(0).begin(0).attach(0, 0, false, "again"));
    EXPECT_EQ(s.server.transfers.size(), 1U);
    EXPECT_EQ(s.names, "begin attach flow disposition flow");
    return error;
  };
  EXPECT_EQ(ended_by([](ClientFrames& f) { f.transfer(0, 5, 0, "x"); }), "amqp:session:unattached-handle");
  EXPECT_EQ(ended_by([](ClientFrames& f) { f.flow(0, 0, 10, 0, 5); }), "amqp:session:unattached-handle");
  EXPECT_EQ(ended_by([](ClientFrames& f) { f.detach(0, 5); }), "amqp:session:unattached-handle");
  EXPECT_EQ(ended_by([](ClientFrames& f) { f.attach(0, 0, true, "q"); }), "amqp:session:handle-in-use");
  EXPECT_EQ(ended_by([](ClientFrames& f) { f.transfer(0, 1, 0, "x"); }), "amqp:not-allowed");
  EXPECT_EQ(ended_by([](ClientFrames& f) { f.transfer(0, 0, {}, "no id"); }), "amqp:invalid-field");
  EXPECT_EQ(ended_by([](ClientFrames& f) { f.disposition(0, true, 4, 4, true, 0x24); }),
            "amqp:invalid-field");
  EXPECT_EQ(ended_by([](ClientFrames& f) { f.disposition(0, false, 4, 4, true, 0x24); }),
            "amqp:invalid-field");
}

TEST(Engine, HoldsClientsToTheirWindowAndCredit) {
  EngineOptions options;
  options.limits.incoming_window = 4;
  Script s(options);
  s.server.accept_transfers = s.server.top_up = false;
  s.server.credit = 100;
  s.start();
  s.say(s.f.attach(0, 0, false, "q"));
  for (std::uint32_t i = 0; i < 4; ++i) s.say(s.f.transfer(0, 0, i, "x"));
  s.say(s.f.transfer(0, 0, 4, "x"));
  EXPECT_EQ(s.names, "end");
  EXPECT_EQ(s.error(kEndError), "amqp:session:window-violation");
  EXPECT_EQ(s.server.transfers.size(), 4U);

  Script t(options);
  t.server.accept_transfers = t.server.top_up = false;
  t.start();
  t.say(t.f.attach(0, 0, false, "q"));
  for (std::uint32_t i = 0; i < 4; ++i) t.say(t.f.transfer(0, 0, i, "x"));
  for (const auto& transfer : t.server.transfers) {
    t.server.engine->settle_incoming(transfer.delivery, outcome_of(Outcome::Type::accepted));
  }
  t.listen();
  EXPECT_EQ(t.names, "disposition flow") << "settling opens the window again";
  EXPECT_EQ(t.numbers(1).at(0), 4U);
  EXPECT_EQ(t.numbers(1).at(1), 4U);

  Script u;
  u.server.credit = 2;
  u.server.top_up = false;
  u.start();
  u.say(u.f.attach(0, 0, false, "q").transfer(0, 0, 0, "1").transfer(0, 0, 1, "2").transfer(0, 0, 2, "3"));
  EXPECT_EQ(u.server.transfers.size(), 2U);
  EXPECT_EQ(u.names, "attach flow disposition detach");
  EXPECT_EQ(u.error(kDetachError), "amqp:link:transfer-limit-exceeded");
  EXPECT_EQ(u.server.detached.size(), 1U);
  EXPECT_EQ(u.say(u.f.detach(0, 0).attach(0, 0, false, "q").transfer(0, 0, 3, "4")).names,
            "attach flow disposition");
}

TEST(Engine, DoesNotBlameAClientForCreditTakenBackTooLate) {
  Script s;
  s.server.top_up = false;
  s.server.credit = 10;
  s.start();
  s.say(s.f.attach(0, 0, false, "q"));
  const LinkId link = s.server.order.at(0);
  s.server.engine->grant_credit(link, 0);
  EXPECT_EQ(s.listen().names, "flow");
  EXPECT_EQ(s.server.engine->credit_left(link), 0U);
  for (std::uint32_t i = 0; i < 10; ++i) s.f.transfer(0, 0, i, "under way");
  EXPECT_EQ(s.say(s.f).names, "disposition");
  EXPECT_EQ(s.server.transfers.size(), 10U);
}

TEST(Engine, WritesCompleteFlowsAndAnswersEcho) {
  Script s;
  s.server.top_up = false;
  s.start();
  s.say(s.f.attach(0, 3, false, "q"));
  EXPECT_EQ(s.names, "attach flow");
  EXPECT_EQ(s.numbers(1), (std::vector<std::uint32_t>{0, 8192, 0, 0x7fffffff, 3, 0, 100, 0, 0}));
  s.say(s.f.transfer(0, 3, 0, "x", true).flow(0, 0, 100, 1, {}, 0, 0, false, true));
  EXPECT_EQ(s.names, "flow");
  EXPECT_EQ(s.numbers(0), (std::vector<std::uint32_t>{1, 8192, 0, 0x7fffffff}));
  s.say(s.f.flow(0, 0, 100, 1, 3, 1, 0, false, true));
  EXPECT_EQ(s.names, "flow");
  EXPECT_EQ(s.numbers(0), (std::vector<std::uint32_t>{1, 8192, 0, 0x7fffffff, 3, 1, 99, 0, 0}));
}

TEST(Engine, AnswersADrainAlsoWithoutCreditAndBeforeAcceptance) {
  Script s;
  s.server.take_credit = [&](const TestServer::Credit& credit) {
    if (credit.drain) s.server.engine->drained(credit.link);
  };
  s.start();
  s.say(s.f.attach(0, 0, true, "q").flow(0, 0, 100, 0, 0, 0, 0, true));
  EXPECT_EQ(s.names, "attach flow");
  EXPECT_EQ(s.numbers(1), (std::vector<std::uint32_t>{0, 8192, 0, 0x7fffffff, 0, 0, 0, 0, 1}));
  s.say(s.f.flow(0, 0, 100, 0, 0, 0, 7, true));
  EXPECT_EQ(s.numbers(0), (std::vector<std::uint32_t>{0, 8192, 0, 0x7fffffff, 0, 7, 0, 0, 1}));

  std::vector<LinkId> waiting;
  s.server.answer_attach = [&](LinkId link, const AttachRequest&) { waiting.push_back(link); };
  s.say(s.f.attach(0, 1, true, "q").flow(0, 0, 100, 0, 1, 0, 5, true));
  EXPECT_EQ(s.names, "");
  s.server.engine->accept(waiting.at(0), {});
  EXPECT_EQ(s.listen().names, "attach flow");
  EXPECT_EQ(s.numbers(1), (std::vector<std::uint32_t>{0, 8192, 0, 0x7fffffff, 1, 5, 0, 0, 1}));
}

TEST(Engine, KeepsCreditThatCameBeforeTheLinkWasAccepted) {
  Script s;
  std::vector<LinkId> waiting;
  s.server.answer_attach = [&](LinkId link, const AttachRequest&) { waiting.push_back(link); };
  s.start();
  s.say(s.f.attach(0, 0, true, "q").flow(0, 0, 100, 0, 0, 0, 5));
  EXPECT_FALSE(s.server.engine->can_send(waiting.at(0)));
  EXPECT_EQ(s.server.credits.size(), 1U);
  s.server.engine->accept(waiting.at(0), {});
  EXPECT_TRUE(s.server.engine->can_send(waiting.at(0)));
  EXPECT_EQ(s.server.engine->credit_left(waiting.at(0)), 5U);
}

TEST(Engine, AnswersAnAttachThatIsDetachedBeforeItWasAnswered) {
  Script s;
  LinkId waiting = 0;
  s.server.answer_attach = [&](LinkId link, const AttachRequest&) { waiting = link; };
  s.start();
  s.say(s.f.attach(0, 0, true, "q").detach(0, 0));
  EXPECT_EQ(s.names, "attach detach");
  EXPECT_EQ(s.server.detached.size(), 1U);
  s.server.engine->accept(waiting, {});
  s.server.engine->detach(waiting, {"x", "y"});
  EXPECT_EQ(s.listen().names, "");
}

TEST(Engine, KeepsTheMessageFormatBothWays) {
  Script s;
  s.start();
  s.say(s.f.attach(0, 0, false, "q").attach(0, 1, true, "q").flow(0, 0, 100, 0, 1, 0, 5));
  s.say(s.f.transfer(0, 0, 0, "batch", false, false, false, 0x80013700));
  EXPECT_EQ(s.server.transfers.at(0).message_format, 0x80013700U);
  const BytesView part = as_bytes("x");
  s.server.engine->send(s.server.order.at(1), as_bytes("t"), 0x80013700, true, std::span(&part, 1));
  s.listen();
  EXPECT_EQ(s.names, "transfer");
  EXPECT_EQ(s.numbers(0).at(3), 0x80013700U);
}

TEST(Engine, SplitsMessagesToThePeersFramesAndStopsAtItsWindow) {
  Script s;
  s.start(512, 3);
  s.say(s.f.attach(0, 0, true, "q").flow(0, 0, 3, 0, 0, 0, 5));
  const std::string large(3000, 'x');
  const BytesView parts[] = {as_bytes(large).first(1), as_bytes(large).subspan(1)};
  const LinkId link = s.server.order.at(0);
  s.server.engine->send(link, as_bytes("t"), 0, false, parts);
  s.listen();
  EXPECT_EQ(s.names, "transfer transfer transfer");
  EXPECT_FALSE(s.server.engine->can_send(link));
  std::string got;
  for (const auto& answer : s.answers) got += as_text(answer.payload);
  s.say(s.f.flow(0, 3, 100, 0));
  for (const auto& answer : s.answers) got += as_text(answer.payload);
  EXPECT_EQ(got, large);
  EXPECT_EQ(s.numbers(s.answers.size() - 1).at(5), 0U) << "more is false on the last";
  EXPECT_EQ(s.numbers(0).at(5), 1U);
  EXPECT_TRUE(s.server.engine->can_send(link));
  EXPECT_EQ(s.server.credits.back().credit, 4U) << "the handler hears that it may go on";
}

TEST(Engine, AppliesARangeOverManyLinksAndIgnoresWhatIsSettled) {
  Script s;
  s.start();
  s.say(s.f.attach(0, 0, true, "a")
            .attach(0, 1, true, "b")
            .flow(0, 0, 100, 0, 0, 0, 9)
            .flow(0, 0, 100, 0, 1, 0, 9));
  const BytesView part = as_bytes("x");
  for (std::size_t i = 0; i < 6; ++i) {
    s.server.engine->send(s.server.order.at(i % 2), as_bytes("t"), 0, i == 3, std::span(&part, 1));
  }
  s.listen();
  s.say(s.f.disposition(0, true, 0, 5, false, descriptor::accepted));
  ASSERT_EQ(s.server.told.size(), 5U) << "one was sent settled";
  EXPECT_EQ(s.names, "disposition disposition");
  EXPECT_EQ(s.numbers(0).at(1), 0U);
  EXPECT_EQ(s.numbers(0).at(2), 2U);
  EXPECT_EQ(s.numbers(1).at(1), 4U);
  EXPECT_EQ(s.numbers(1).at(2), 5U);
  s.say(s.f.disposition(0, true, 0, 5, true, descriptor::released));
  EXPECT_EQ(s.server.told.size(), 5U);
  EXPECT_EQ(s.names, "");
}

TEST(Engine, TakesADeliveryForSettledWhenAnyOfItsFramesSaysSo) {
  Script s;
  s.server.top_up = false;
  s.start();
  s.say(s.f.attach(0, 0, false, "q"));
  s.say(s.f.transfer(0, 0, 0, "a", true, true).transfer(0, 0, {}, "b").transfer(0, 0, 1, "c", false, true));
  s.say(s.f.transfer(0, 0, {}, "d", true));
  EXPECT_EQ(s.names, "");
  ASSERT_EQ(s.server.transfers.size(), 2U);
  EXPECT_TRUE(s.server.transfers[0].settled);
  EXPECT_TRUE(s.server.transfers[1].settled);
}

TEST(Engine, DropsWhatALinkLeavesBehindOnDetach) {
  Script s;
  s.server.accept_transfers = false;
  s.start();
  s.say(s.f.attach(0, 0, false, "q")
            .transfer(0, 0, 0, "x")
            .transfer(0, 0, 1, "half", false, true)
            .detach(0, 0));
  EXPECT_EQ(s.names, "attach flow detach");
  s.server.engine->settle_incoming(s.server.transfers.at(0).delivery, outcome_of(Outcome::Type::accepted));
  EXPECT_EQ(s.listen().names, "");
  s.say(s.f.attach(0, 0, false, "q").transfer(0, 0, 2, "y"));
  EXPECT_EQ(s.server.transfers.size(), 2U);
  EXPECT_NE(s.server.order[0], s.server.order[1]) << "a link id never comes back";
}

TEST(Engine, IgnoresWhatIsUnderWayOnALinkItDetached) {
  Script s;
  s.start();
  s.say(s.f.attach(0, 0, false, "q").attach(0, 1, false, "q").transfer(0, 0, 0, "half", false, true));
  s.server.engine->detach(s.server.order.at(0), {"amqp:link:detach-forced", "enough"});
  EXPECT_EQ(s.listen().names, "detach");
  EXPECT_EQ(s.error(kDetachError), "amqp:link:detach-forced");
  s.say(s.f.transfer(0, 0, {}, "other half").transfer(0, 0, 1, "new").transfer(0, 1, 2, "good").detach(0, 0));
  EXPECT_EQ(s.names, "disposition flow");
  EXPECT_EQ(s.server.transfers.size(), 1U);
  EXPECT_TRUE(s.server.detached.empty());
}

TEST(Engine, EchoesTheSessionFilterInTheFormOfTheClient) {
  for (const bool is_described : {false, true}) {
    for (const bool named : {false, true}) {
      Script s;
      AttachRequest seen;
      s.server.answer_attach = [&](LinkId link, const AttachRequest& request) {
        seen = request;
        AttachReply reply;
        reply.session_id = "assigned";
        reply.session_locked_until_ticks = 638'000'000'000'000'000;
        s.server.engine->accept(link, reply);
      };
      s.start();
      s.f.frame(0, descriptor::attach, [&](ValueWriter& w) {
        w.string("r");
        w.uint(0);
        w.boolean(true);
        w.ubyte(0);
        w.ubyte(1);
        w.descriptor(descriptor::source);
        const auto list = w.list();
        w.string("orders");
        for (int i = 0; i < 6; ++i) w.null();
        const auto map = w.map();
        w.symbol("other");
        w.uint(5);
        w.symbol("com.microsoft:session-filter");
        if (is_described) w.descriptor(descriptor::session_filter);
        named ? w.string("wanted") : w.null();
        w.close(map, 4);
        w.close(list, 8);
        w.null();
        for (int i = 0; i < 6; ++i) w.null();
        const auto properties = w.map();
        w.symbol("com.microsoft:timeout");
        w.uint(59000);
        w.close(properties, 2);
        return 14U;
      });
      s.say(s.f);
      EXPECT_EQ(seen.session_filter,
                named ? AttachRequest::SessionFilter::named : AttachRequest::SessionFilter::next_available);
      EXPECT_EQ(seen.session_id, named ? "wanted" : "");
      EXPECT_EQ(seen.timeout_ms, 59000U);
      AttachFrame answer;
      std::string problem;
      ASSERT_TRUE(decode(s.answers.at(0).fields, answer, problem)) << problem;
      EXPECT_EQ(answer.receiver_settle_mode, ReceiverSettleMode::second);
      EXPECT_EQ(answer.sender_settle_mode, SenderSettleMode::unsettled);
      EXPECT_EQ(answer.initial_delivery_count, 0U);
      EXPECT_EQ(answer.max_message_size, 1U << 20);
      Fields source(described(answer.source)->value);
      EXPECT_EQ(source.string(), "orders");
      source.skip(6);
      ValueReader filter = ValueReader::inside(source.of(Kind::map));
      filter.next();
      EXPECT_EQ(filter.next().number, 5U);
      filter.next();
      Value value = filter.next();
      EXPECT_EQ(value.kind == Kind::described, is_described);
      if (is_described) {
        EXPECT_EQ(described(value)->code, descriptor::session_filter);
        value = described(value)->value;
      }
      EXPECT_EQ(value.text(), "assigned");
      EXPECT_NE(as_text(answer.properties.encoded).find("com.microsoft:locked-until-utc"), std::string::npos);
    }
  }
}

TEST(Engine, TakesSymbolicDescriptors) {
  Script s;
  s.say(s.f.header());
  Buffer body;
  ValueWriter w(body);
  body.push_back(std::byte{0});
  w.symbol("amqp:open:list");
  const auto list = w.list();
  w.string("symbolic");
  w.close(list, 1);
  Buffer frame(8);
  write_frame_header(frame.data(), static_cast<std::uint32_t>(8 + body.size()), FrameType::amqp, 0);
  frame.insert(frame.end(), body.begin(), body.end());
  s.server.engine->input(frame, s.now);
  EXPECT_EQ(s.server.container, "symbolic");
}

TEST(Engine, KeepsSilentConnectionsAliveAndEndsDeadOnes) {
  Script s;
  s.say(s.f.header().open(65536, 2000));
  auto next = s.server.engine->tick(s.now);
  ASSERT_TRUE(next);
  EXPECT_EQ((*next - s.now).milliseconds(), 1000);
  s.now = *next;
  next = s.server.engine->tick(s.now);
  EXPECT_EQ(s.listen().names, "empty");
  EXPECT_EQ((*next - s.now).milliseconds(), 1000);
  s.now = s.now + milliseconds(500);
  s.say(s.f.begin(0));
  next = s.server.engine->tick(s.now);
  EXPECT_EQ(s.listen().names, "") << "begin was a sign of life";
  EXPECT_EQ((*next - s.now).milliseconds(), 1000);

  const Instant silent = s.now + seconds(240);
  for (; s.now < silent; s.now = s.now + milliseconds(1000)) {
    s.server.engine->tick(s.now);
    s.listen();
    ASSERT_EQ(s.server.closed_calls, 0) << (silent - s.now).seconds();
  }
  s.now = silent;
  s.server.engine->tick(s.now);
  s.listen();
  EXPECT_EQ(s.names, "close");
  EXPECT_EQ(s.error(0), "amqp:resource-limit-exceeded");
  EXPECT_EQ(s.server.closed_calls, 1);
  EXPECT_FALSE(s.server.engine->finished());
  s.server.engine->tick(s.now + seconds(5));
  EXPECT_TRUE(s.server.engine->finished());
}

TEST(Engine, EndsAPeerThatNeverOpens) {
  Script s;
  s.say(s.f.header(3));
  const auto next = s.server.engine->tick(s.now);
  ASSERT_TRUE(next);
  EXPECT_EQ((*next - s.now).milliseconds(), 20'000);
  s.server.engine->tick(*next);
  EXPECT_TRUE(s.server.engine->finished());
  EXPECT_EQ(s.server.closed_calls, 1);
}

TEST(Engine, BoundsWhatOneConnectionMakesItHold) {
  EngineOptions options;
  options.limits.partial_bytes_max = 50'000;
  options.limits.links_max = 8;
  options.limits.output_bytes_max = 10'000;
  options.limits.output_bytes_hard = 100'000;
  options.limits.unsettled_max = 3;
  {
    Script s(options);
    s.start();
    for (std::uint32_t i = 0; i < 6; ++i)
      s.f.attach(0, i, false, "q").transfer(0, i, i, std::string(9000, 'x'), false, true);
    s.say(s.f);
    EXPECT_EQ(s.error(0), "amqp:resource-limit-exceeded") << "unfinished messages";
  }
  {
    Script s(options);
    s.start();
    for (std::uint32_t i = 0; i < 9; ++i) s.f.attach(0, i, true, "q");
    s.say(s.f);
    EXPECT_EQ(s.error(kDetachError), "amqp:resource-limit-exceeded") << "the ninth link";
    EXPECT_EQ(s.server.attached.size(), 8U);
    for (std::uint32_t i = 9; i < 17; ++i) s.f.attach(0, i, true, "q");
    s.say(s.f);
    EXPECT_EQ(s.names.substr(s.names.size() - 5), "close") << "a client that does not take no for an answer";
  }
  {
    Script s(options);
    s.start();
    s.say(s.f.attach(0, 0, true, "q").flow(0, 0, 1000, 0, 0, 0, 1000));
    const BytesView part = as_bytes("x");
    const LinkId link = s.server.order.at(0);
    int sent = 0;
    for (; s.server.engine->can_send(link); ++sent)
      s.server.engine->send(link, as_bytes("t"), 0, false, std::span(&part, 1));
    EXPECT_EQ(sent, 3) << "unsettled";
    s.server.credits.clear();
    s.say(s.f.disposition(0, true, 0, 1, true, descriptor::accepted));
    EXPECT_EQ(s.server.credits.size(), 1U) << "the handler hears that it may go on";
    const Buffer large(3000);
    const BytesView big(large);
    s.server.engine->consumed(s.server.engine->output().size());
    for (sent = 0; s.server.engine->can_send(link); ++sent)
      s.server.engine->send(link, as_bytes("t"), 0, true, std::span(&big, 1));
    EXPECT_EQ(sent, 4) << "output";
  }
  {
    Script s(options);
    s.start();
    std::uint64_t most = 0;
    for (int i = 0; i < 20'000 && s.server.closed_calls == 0; ++i) {
      s.f.flow(0, 0, 10, 0, {}, 0, 0, false, true);
      s.server.engine->input(s.f.bytes, s.now);
      s.f.bytes.clear();
      (void)s.server.engine->output();  // never written
      most = std::max(most, s.server.engine->memory_bytes());
    }
    ASSERT_EQ(s.server.closed_calls, 1);
    EXPECT_EQ(s.server.closed->symbol, "amqp:resource-limit-exceeded");
    EXPECT_TRUE(s.server.engine->finished());
    EXPECT_LT(most, 300'000U);
  }
}

TEST(Engine, TellsItsHandlerWhenTheSocketIsGone) {
  Script s;
  s.start();
  s.say(s.f.attach(0, 0, false, "q").attach(0, 1, true, "q"));
  s.server.engine->input_closed(s.now);
  EXPECT_EQ(s.server.detached.size(), 2U);
  EXPECT_EQ(s.server.closed_calls, 1);
  EXPECT_TRUE(s.server.closed);
  EXPECT_TRUE(s.server.engine->finished());
  s.server.engine->input_closed(s.now);
  EXPECT_EQ(s.server.closed_calls, 1);
}

}  // namespace
}  // namespace mainstay::amqp
