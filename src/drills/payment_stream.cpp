#include "drills/payment_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/assert.h"
#include "drills/tsv.h"

namespace mainstay::drills {
namespace {

using payments::Template;

/// Lives of payments, as template names: each step only needs its template to exist.
const std::vector<std::vector<std::string_view>>& lives() {
  static const std::vector<std::vector<std::string_view>> all{
      {"mt103", "mt202_cov", "mt199"},
      {"mt103", "mt202_cov", "pacs.002.001.10", "pacs.004.001.09"},
      {"mt103_stp", "mt205_cov"},
      {"mt103_stp"},
      {"mt103_remit", "mt199", "mt192", "mt196"},
      {"mt202", "mt299"},
      {"mt205"},
      {"pacs.008.001.08", "pacs.002.001.10"},
      {"pacs.008.001.08", "pacs.009.001.08_cov", "pacs.002.001.10"},
      {"pacs.008.001.08_stp", "pacs.028.001.03", "pacs.002.001.10"},
      {"pacs.008.001.08", "pacs.009.001.08_cov", "camt.056.001.08", "camt.029.001.09", "pacs.004.001.09"},
      {"pacs.009.001.08", "pacs.002.001.10"},
  };
  return all;
}

/// Answers go back from the receiver to the sender.
bool is_answer(const Template& of) {
  constexpr std::array<std::string_view, 7> answers{"199",      "196",      "299",     "pacs.002",
                                                    "pacs.004", "camt.029", "pain.002"};
  const std::string type = of.type();
  return std::ranges::any_of(answers, [&](std::string_view answer) { return type.starts_with(answer); });
}

bool is_statement(const Template& of) {
  constexpr std::array<std::string_view, 7> types{"940",      "941",      "942",     "950",
                                                  "camt.052", "camt.053", "camt.054"};
  const std::string type = of.type();
  return std::ranges::any_of(types, [&](std::string_view each) { return type.starts_with(each); });
}

bool fits(const Template& of, PaymentStream::Want want) {
  return of.is_mx() == (want == PaymentStream::Want::mx);
}

std::string with_comma(std::uint64_t cents) {
  return fmt::format("{},{:02}", cents / 100, cents % 100);
}

constexpr std::size_t open_payments_max = 250;

}  // namespace

Result<std::vector<Template>, Failure> load_templates(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<fs::path> paths;
  fs::directory_iterator at(directory, error);
  for (; !error && at != fs::directory_iterator(); at.increment(error))
    if (const auto extension = at->path().extension(); extension == ".fin" || extension == ".xml")
      paths.push_back(at->path());
  if (error) return Failure{"cannot read the message templates in " + directory + ": " + error.message()};
  if (paths.empty()) return Failure{"no message templates (*.fin, *.xml) in " + directory};
  std::ranges::sort(paths);
  std::vector<Template> templates;
  for (const fs::path& path : paths) {
    const auto text = read_text_file(path.string());
    if (!text) return text.error();
    auto parsed = Template::parse(path.stem().string(), *text);
    if (!parsed) return parsed.error();
    templates.push_back(std::move(*parsed));
  }
  return templates;
}

Result<PaymentStream, Failure> PaymentStream::make(const std::vector<Template>& templates, Random& random) {
  PaymentStream stream(random);
  std::map<std::string_view, const Template*> by_name;
  for (const Template& each : templates) {
    by_name.emplace(each.name(), &each);
    const Want kind = each.is_mx() ? Want::mx : Want::mt;
    if (is_statement(each))
      stream.statements_[kind].push_back(&each);
    else if (!each.uses("UETR"))
      stream.others_[kind].push_back(&each);
  }
  for (const auto& life : lives()) {
    std::vector<const Template*> steps;
    for (const std::string_view name : life)
      if (const auto found = by_name.find(name); found != by_name.end()) steps.push_back(found->second);
    if (steps.size() == life.size()) stream.chains_.push_back(std::move(steps));
  }
  for (const Want want : {Want::mt, Want::mx}) {
    const bool starts =
        std::ranges::any_of(stream.chains_, [&](const auto& steps) { return fits(*steps.front(), want); });
    if (stream.statements_[want].empty() || stream.others_[want].empty() || !starts)
      return Failure{"the message templates lack statements, payments or other messages in MT or in MX"};
  }
  return stream;
}

Draft PaymentStream::next(Want want) {
  const std::uint64_t draw = random_->below(100);
  if (draw < 60) return next_of_payment(want);
  return draw < 82 ? next_statement(want) : next_other(want);
}

PaymentStream::Payment& PaymentStream::open_payment(Want want) {
  std::vector<const std::vector<const Template*>*> possible;
  for (const auto& steps : chains_)
    if (fits(*steps.front(), want)) possible.push_back(&steps);
  Payment& payment = open_.emplace_back();
  payment.steps = *possible[random_->below(possible.size())];
  payment.uetr = random_->uuid().text();
  payment.debtor = population_.draw_account(*random_);
  payment.creditor = population_.draw_account(*random_);
  payment.cents = random_->between(100, random_->chance(1, 20) ? 500'000'000 : 900'000);
  payment.remittance = PaymentPopulation::draw_remittance(*random_);
  payment.end_to_end =
      random_->chance(1, 3) ? "NOTPROVIDED" : fmt::format("E2E-{}", random_->between(1, 999'999'999));
  return payment;
}

Draft PaymentStream::next_of_payment(Want want) {
  std::vector<std::size_t> waiting;
  for (std::size_t i = 0; i < open_.size(); ++i)
    if (fits(*open_[i].steps[open_[i].at], want)) waiting.push_back(i);
  const bool start = waiting.empty() || (open_.size() < open_payments_max && random_->chance(2, 5));
  std::size_t index = open_.size();
  if (start)
    open_payment(want);
  else
    index = waiting[random_->below(waiting.size())];

  Payment& payment = open_[index];
  const Template& step = *payment.steps[payment.at];
  const Account& debtor = population_.accounts()[payment.debtor];
  const Account& creditor = population_.accounts()[payment.creditor];
  // Both may bank at the same house; a message needs two parties all the same.
  const std::size_t creditor_bank =
      creditor.bank == debtor.bank ? (creditor.bank + 1) % population_.banks().size() : creditor.bank;
  Draft draft{&step, is_answer(step) ? values(creditor_bank, debtor.bank, debtor, creditor, payment.cents)
                                     : values(debtor.bank, creditor_bank, debtor, creditor, payment.cents)};
  draft.values["UETR"] = payment.uetr;
  draft.values["REMITTANCE"] = payment.remittance;
  draft.values["E2E"] = payment.end_to_end;
  if (payment.at == 0) {
    payment.first_reference = draft.values["REF"];
    payment.first_message_id = draft.values["MSGID"];
  }
  draft.values["RELATED_REF"] = payment.first_reference;
  draft.values["ORIGINAL_MSGID"] = payment.first_message_id;
  if (++payment.at == payment.steps.size()) {
    std::swap(open_[index], open_.back());
    open_.pop_back();
  }
  return draft;
}

Draft PaymentStream::next_statement(Want want) {
  const auto& possible = statements_[want];
  Account& account = population_.accounts()[population_.draw_account(*random_)];
  const Account& other = population_.accounts()[population_.draw_account(*random_)];
  Draft draft{possible[random_->below(possible.size())],
              values(account.bank, (account.bank + 5) % population_.banks().size(), account, other,
                     random_->between(100, 9'000'000))};
  draft.values["ACCOUNT"] = account.number;
  draft.values["IBAN"] = account.iban;
  draft.values["STATEMENT_NO"] = std::to_string(++account.statements % 100'000);
  return draft;
}

Draft PaymentStream::next_other(Want want) {
  const auto& possible = others_[want];
  const std::size_t sender = population_.draw_bank(*random_);
  const std::size_t shift = 1 + population_.draw_bank(*random_) % (population_.banks().size() - 1);
  const Account& debtor = population_.accounts()[population_.draw_account(*random_)];
  const Account& creditor = population_.accounts()[population_.draw_account(*random_)];
  return {possible[random_->below(possible.size())],
          values(sender, (sender + shift) % population_.banks().size(), debtor, creditor,
                 random_->between(100, 90'000'000))};
}

Draft PaymentStream::altered(const Draft& draft) {
  Draft other = draft;
  const std::uint64_t cents = random_->between(100, 900'000'000);
  other.values["AMOUNT_MT"] = with_comma(cents);
  other.values["AMOUNT_MX"] = fmt::format("{}.{:02}", cents / 100, cents % 100);
  return other;
}

Template::Values PaymentStream::values(std::size_t sender_bank, std::size_t receiver_bank,
                                       const Account& debtor, const Account& creditor, std::uint64_t cents) {
  const std::uint64_t number = ++made_;
  const Bank& sender = population_.banks()[sender_bank];
  const Bank& receiver = population_.banks()[receiver_bank];
  // A business day of its own per 50,000 messages, from 08:00 on, one message per half second.
  const std::uint64_t day = 5 + number / 50'000 % 20, second = 8 * 3600 + number % 50'000 / 2;
  const unsigned hour = static_cast<unsigned>(second / 3600),
                 minute = static_cast<unsigned>(second / 60 % 60);
  return {{"REF", fmt::format("MS{:012}", number)},
          {"TXREF", fmt::format("TX{:012}", number)},
          {"RELATED_REF", fmt::format("MS{:012}", number > 1 ? number - 1 : 1)},
          {"MSGID", fmt::format("MAIN-202601{:02}-{:012}", day, number)},
          {"ORIGINAL_MSGID", fmt::format("MAIN-202601{:02}-{:012}", day, number > 1 ? number - 1 : 1)},
          {"E2E", "NOTPROVIDED"},
          {"SENDER_LT", sender.lt('A')},
          {"RECEIVER_LT", receiver.lt('X')},
          {"SENDER_BIC", sender.bic11},
          {"RECEIVER_BIC", receiver.bic11},
          {"ACCOUNT", debtor.number},
          {"IBAN", creditor.iban},
          {"CCY", debtor.currency},
          {"AMOUNT_MT", with_comma(cents)},
          {"AMOUNT_MX", fmt::format("{}.{:02}", cents / 100, cents % 100)},
          {"DATE6", fmt::format("2601{:02}", day)},
          {"DATE8", fmt::format("202601{:02}", day)},
          {"DATE", fmt::format("2026-01-{:02}", day)},
          {"TIME4", fmt::format("{:02}{:02}", hour, minute)},
          {"DATETIME", fmt::format("2026-01-{:02}T{:02}:{:02}:{:02}+01:00", day, hour, minute, second % 60)},
          {"SESSION", fmt::format("{:04}", 1 + number / 999'999)},
          {"SEQUENCE", fmt::format("{:06}", number % 999'999)},
          {"STATEMENT_NO", std::to_string(1 + number % 99'999)},
          {"PAGE", "1"},
          {"DEBTOR", debtor.owner},
          {"CREDITOR", creditor.owner},
          {"REMITTANCE", PaymentPopulation::draw_remittance(*random_)},
          {"UETR", random_->uuid().text()}};
}

}  // namespace mainstay::drills
