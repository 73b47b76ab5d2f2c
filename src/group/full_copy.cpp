#include "group/full_copy.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace mainstay::group {

CopyPlace begin_of(const CopyPlan& plan, std::uint32_t item) {
  if (item >= plan.items.size()) return {static_cast<std::uint32_t>(plan.items.size()), 0};
  const bool records = plan.items[item].kind == CopyKind::records;
  return {item, records ? plan.before.lsn.next().value : 0};
}

bool is_behind(const CopyPlan& plan, const CopyPlace& place) {
  if (place.item >= plan.items.size()) return true;
  const CopyItem& item = plan.items[place.item];
  return item.kind == CopyKind::records ? place.offset > plan.end.lsn.value : place.offset >= item.bytes;
}

CopyPlace settled(const CopyPlan& plan, CopyPlace place) {
  while (place.item < plan.items.size() && is_behind(plan, place)) place = begin_of(plan, place.item + 1);
  return place;
}

std::uint64_t bytes_before(const CopyPlan& plan, const CopyPlace& place) {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < plan.items.size() && i < place.item; ++i) sum += plan.items[i].bytes;
  if (place.item >= plan.items.size()) return sum;
  const CopyItem& item = plan.items[place.item];
  if (item.kind != CopyKind::records) return sum + std::min(place.offset, item.bytes);
  const double all = static_cast<double>(plan.end.lsn.value - plan.before.lsn.value);
  const double done =
      static_cast<double>(place.offset - std::min(place.offset, plan.before.lsn.next().value));
  return sum + static_cast<std::uint64_t>(static_cast<double>(item.bytes) * std::min(1.0, done / all));
}

// --- the leader's half

const std::string& CopyGiver::node() const {
  MS_ASSERT(taker_, "somebody gets the copy");
  return taker_->node;
}

std::optional<Lsn> CopyGiver::keeps() const {
  if (!plan_) return std::nullopt;
  return plan_->before.lsn.next();
}

std::uint64_t CopyGiver::bytes_done() const {
  return plan_ ? bytes_before(*plan_, place_) : 0;
}

void CopyGiver::refuse(PeerId to, CopyRefusal code, const std::string& why) {
  out_.emplace_back(SendRefused{to, {code, why}});
}

void CopyGiver::asked(PeerId from, const MemberId& who, const CopyAsk& ask, Instant now) {
  if (taker_ && taker_->node != who.node) {
    return refuse(from, CopyRefusal::later, "node " + taker_->node + " gets a copy: one after the other");
  }
  if (ask.cut.is_nil()) {
    if (!making_ && now < not_before_) return refuse(from, CopyRefusal::later, unreadable_);
    if (plan_) end("node " + who.node + " begins anew");
    taker_ = who;
    peer_ = from;
    heard_ = now;
    if (!std::exchange(making_, true)) out_.emplace_back(MakeCut{who.node});
    return;
  }
  if (!plan_ || ask.cut != plan_->cut) {
    return refuse(from, CopyRefusal::gone, "that copy is no longer kept here");
  }
  taker_ = who;
  peer_ = from;
  heard_ = now;
  if (ask.bytes == 0) return;
  const CopyPlace place{ask.item, ask.offset};
  if (ask.item >= plan_->items.size() || is_behind(*plan_, place) ||
      place.offset < begin_of(*plan_, ask.item).offset) {
    return refuse(from, CopyRefusal::gone, "there is no such part");
  }
  place_ = place;
  waiting_ = ask;
  waiting_->bytes = std::min(ask.bytes, limits_.part_bytes);
  read_when_due(now);
}

void CopyGiver::read_when_due(Instant now) {
  if (!waiting_ || reading_ || now < free_at_) return;
  reading_ = std::exchange(waiting_, std::nullopt);
  reading_is_of_old_cut_ = false;
  out_.emplace_back(ReadPart{plan_->items[reading_->item], *reading_});
}

void CopyGiver::cut_made(Result<CopyPlan, Failure> plan, Instant now) {
  MS_ASSERT(making_ && taker_ && !plan_, "a cut is made when it was asked for");
  making_ = false;
  if (!plan) {
    refuse(peer_, CopyRefusal::later, plan.error().what);
    taker_.reset();
    return;
  }
  plan_ = std::move(*plan);
  place_ = {};
  heard_ = now;
  out_.emplace_back(SendPlan{peer_, *plan_});
}

void CopyGiver::part_read(Result<Buffer, Failure> bytes, Instant now) {
  MS_ASSERT(reading_, "a part is read when it was asked for");
  const CopyAsk ask = *std::exchange(reading_, std::nullopt);
  if (!reading_is_of_old_cut_) {
    if (!bytes) {
      // Another cut would most likely have the same part in it.
      unreadable_ = "the leader's copy of its log cannot be read: " + bytes.error().what;
      not_before_ = now + unreadable_wait_.next();
      refuse(peer_, CopyRefusal::gone, bytes.error().what);
      end("it cannot be read: " + bytes.error().what);
      return;
    }
    const auto pause =
        static_cast<double>(bytes->size()) * 1e9 / static_cast<double>(limits_.bytes_per_second);
    free_at_ = std::max(free_at_, now) + Duration{static_cast<std::int64_t>(pause)};
    out_.emplace_back(SendPart{peer_, ask, std::move(*bytes)});
  }
  read_when_due(now);
}

void CopyGiver::end(const std::string& why) {
  if (!taker_ || making_) return;
  waiting_.reset();
  reading_is_of_old_cut_ = true;
  plan_.reset();
  taker_.reset();
  out_.emplace_back(Ended{why});
}

void CopyGiver::log_grew(std::uint64_t bytes) {
  constexpr unsigned kDoublingsMax = 16;
  const unsigned doublings = std::min(outgrown_, kDoublingsMax);
  if (!plan_ || bytes >> doublings <= limits_.keep_log_bytes) return;
  ++outgrown_;
  end("the log that is kept for it has grown by more than " +
      (doublings == 0 ? std::string() : std::to_string(1U << doublings) + " times ") +
      "keep_log_bytes; the next one may let it grow by twice as much");
}

void CopyGiver::in_sync() {
  outgrown_ = 0;
  if (taker_) end("node " + taker_->node + " is in sync");
}

void CopyGiver::tick(Instant now) {
  if (plan_ && now - heard_ > limits_.silence_max) {
    return end("node " + taker_->node + " has not asked for anything for " +
               std::to_string(limits_.silence_max.milliseconds() / 1000) + " s");
  }
  read_when_due(now);
}

void CopyGiver::outputs(std::vector<Output>& into) {
  for (Output& each : out_) into.push_back(std::move(each));
  out_.clear();
}

// --- the follower's half

void CopyTaker::resume(CopyPlan plan, CopyPlace place) {
  place_ = settled(plan, place);
  plan_ = std::move(plan);
}

const char* CopyTaker::phase() const {
  if (done_) return "installing";
  if (finishing_) return "verifying";
  if (!problem_.empty() && !plan_) return "waiting";
  return plan_ ? "copying" : "asking";
}

void CopyTaker::leader(PeerId peer, Instant now) {
  peer_ = peer;
  asked_.reset();
  go_on(now);
}

void CopyTaker::line_gone(PeerId peer) {
  if (peer != peer_) return;
  peer_ = 0;
  asked_.reset();
}

void CopyTaker::go_on(Instant now) {
  if (busy_ || done_ || peer_ == 0 || now < not_before_ || asked_) return;
  if (plan_ && place_.item >= plan_->items.size()) {
    busy_ = finishing_ = true;
    out_.emplace_back(Finish{});
    return;
  }
  asked_ = plan_ ? CopyAsk{plan_->cut, place_.item, place_.offset, limits_.part_bytes} : CopyAsk{};
  asked_at_ = alive_at_ = now;
  out_.emplace_back(SendAsk{peer_, *asked_});
}

void CopyTaker::heard(PeerId from, const Message& message, Instant now) {
  if (from != peer_ || !asked_ || busy_ || done_) return;
  if (const auto* plan = std::get_if<CopyPlan>(&message)) {
    if (plan_ || !asked_->cut.is_nil()) return;
    asked_.reset();
    busy_ = true;
    problem_.clear();
    plan_ = *plan;
    place_ = begin_of(*plan_, 0);
    out_.emplace_back(Prepare{*plan});
  } else if (const auto* part = std::get_if<CopyPart>(&message)) {
    if (part->cut != asked_->cut || part->item != asked_->item || part->offset != asked_->offset) return;
    asked_.reset();
    if (part->bytes.empty()) return fail("the leader sent nothing of what was asked for", now);
    busy_ = true;
    out_.emplace_back(Put{{part->item, part->offset}, to_buffer(part->bytes)});
  } else if (const auto* refused = std::get_if<CopyRefused>(&message)) {
    asked_.reset();
    problem_ = refused->what;
    if (refused->code == CopyRefusal::gone && plan_) {
      fail("the leader does not go on with it: " + refused->what, now);
      not_before_ = now;  // nothing is wrong: begin anew at once
    } else {
      not_before_ = now + limits_.later;
    }
  }
}

void CopyTaker::fail(const std::string& why, Instant now) {
  problem_ = why;
  plan_.reset();
  place_ = {};
  finishing_ = false;
  asked_.reset();
  busy_ = true;
  not_before_ = now + limits_.failed;
  out_.emplace_back(Forget{why});
}

void CopyTaker::prepared(Result<CopyPlace, Failure> place, Instant now) {
  put(std::move(place), now);
}

void CopyTaker::put(Result<CopyPlace, Failure> place, Instant now) {
  MS_ASSERT(busy_, "something was to be written");
  busy_ = false;
  if (!place) return fail(place.error().what, now);
  place_ = *place;
  go_on(now);
}

void CopyTaker::finished(Result<void, Failure> done, Instant now) {
  MS_ASSERT(busy_ && finishing_, "the copy was to be finished");
  busy_ = finishing_ = false;
  if (!done) {
    fail(done.error().what, now);
    // What is not whole may not be whole there either.
    not_before_ = now + bad_wait_.next();
    return;
  }
  done_ = true;
  out_.emplace_back(Install{});
}

void CopyTaker::forgotten(Instant now) {
  MS_ASSERT(busy_, "the copy was to be forgotten");
  busy_ = false;
  go_on(now);
}

void CopyTaker::tick(Instant now) {
  if (asked_ && now - asked_at_ > limits_.answer_max) asked_.reset();
  if (busy_ && plan_ && peer_ != 0 && now - alive_at_ >= limits_.alive_every) {
    alive_at_ = now;
    out_.emplace_back(SendAsk{peer_, CopyAsk{plan_->cut, 0, 0, 0}});
  }
  go_on(now);
}

void CopyTaker::outputs(std::vector<Output>& into) {
  for (Output& each : out_) into.push_back(std::move(each));
  out_.clear();
}

}  // namespace mainstay::group
