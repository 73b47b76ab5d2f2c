#include "sim/group_copy.h"

#include <algorithm>
#include <utility>

#include "paging/page_store.h"

namespace mainstay::sim {
namespace {

group::CopyLimits limits() {
  group::CopyLimits limits;
  limits.bytes_per_second = 8 << 10;  // long enough for faults to meet it
  limits.part_bytes = 2 << 10;
  limits.silence_max = seconds(3);
  limits.answer_max = milliseconds(700);
  limits.alive_every = milliseconds(500);
  limits.later = milliseconds(200);
  limits.failed = milliseconds(500);
  limits.unreadable = milliseconds(500);
  limits.unreadable_max = seconds(2);
  return limits;
}

}  // namespace

GroupCopy::GroupCopy(Host host) : host_(std::move(host)), giver_(limits()) {}

void GroupCopy::heard(const group::CopyHeard& heard) {
  const auto packet = group::decode(heard.packet);
  if (!packet) return;
  if (const auto* ask = std::get_if<group::CopyAsk>(&packet->message)) {
    giver_.asked(heard.from, heard.who, *ask, host_.now());
  } else if (taker_) {
    taker_->heard(heard.from, packet->message, host_.now());
  }
  act();
}

void GroupCopy::needed(const group::NeedCopy& need) {
  if (!taker_) {
    host_.world.reached("a full copy was asked for");
    taker_.emplace(limits());
    auto found = replica::CopyBuilder::resume(host_.disk, host_.options, host_.random);
    if (found && *found != nullptr) {
      host_.world.reached("a full copy was gone on with");
      builder_ = std::move(*found);
      taker_->resume(builder_->plan(), builder_->place());
    }
  }
  taker_->leader(need.from, host_.now());
  act();
}

void GroupCopy::line_gone(PeerId peer) {
  if (taker_) taker_->line_gone(peer);
}

void GroupCopy::tick() {
  if (giver_.active() && !giver_.making()) {
    const auto in_sync = host_.replica.member()->status().in_sync;
    if (std::find(in_sync.begin(), in_sync.end(), giver_.node()) != in_sync.end()) giver_.in_sync();
  }
  giver_.tick(host_.now());
  if (taker_ && !host_.replica.member()->wants_copy() && !taker_->busy()) {
    host_.world.reached("a full copy was not needed any more");
    taker_.reset();
    drop(false);
  } else if (taker_) {
    taker_->tick(host_.now());
  }
  act();
}

void GroupCopy::after_disk(std::function<void()> then) {
  host_.later(host_.world.between(microseconds(50), milliseconds(3)), [this, then = std::move(then)] {
    then();
    act();
  });
}

void GroupCopy::act() {
  for (;;) {
    std::vector<group::CopyGiver::Output> giving;
    giver_.outputs(giving);
    std::vector<group::CopyTaker::Output> taking;
    if (taker_) taker_->outputs(taking);
    if (giving.empty() && taking.empty()) break;
    for (auto& output : giving) give(std::move(output));
    for (auto& output : taking) take(std::move(output));
  }
  host_.step();
}

void GroupCopy::give(group::CopyGiver::Output output) {
  const auto send = [&](PeerId to, const group::Message& message) {
    host_.replica.send_copy(to, message, host_.now(), {});
  };
  if (std::holds_alternative<group::CopyGiver::MakeCut>(output)) {
    cut_wanted_ = true;
    host_.later(Duration{}, host_.checkpoint);
  } else if (auto* read = std::get_if<group::CopyGiver::ReadPart>(&output)) {
    after_disk([this, item = read->item, ask = read->ask] {
      // The cut may have been given up meanwhile.
      auto bytes = cut_ ? part(item, ask) : Result<Buffer, Failure>(Failure{"it is gone"});
      if (!bytes && cut_) bytes = part(item, ask);  // a read may fail once
      if (!bytes && cut_ && item.kind == group::CopyKind::records)
        host_.unreadable(Lsn{ask.offset}, ask.bytes);
      giver_.part_read(std::move(bytes), host_.now());
    });
  } else if (const auto* made = std::get_if<group::CopyGiver::SendPlan>(&output)) {
    send(made->to, made->plan);
  } else if (const auto* sent = std::get_if<group::CopyGiver::SendPart>(&output)) {
    send(sent->to, group::CopyPart{sent->ask.cut, sent->ask.item, sent->ask.offset, sent->bytes});
  } else if (const auto* refused = std::get_if<group::CopyGiver::SendRefused>(&output)) {
    send(refused->to, refused->refused);
  } else {
    cut_.reset();
    cut_from_.reset();
    plan_ = {};
  }
}

Result<Buffer, Failure> GroupCopy::part(const group::CopyItem& item, const group::CopyAsk& ask) {
  Buffer bytes;
  if (item.kind == group::CopyKind::root) {
    const BytesView rest = BytesView(cut_->root).subspan(ask.offset);
    return to_buffer(rest.first(std::min<std::size_t>(ask.bytes, rest.size())));
  }
  if (item.kind == group::CopyKind::records) {
    const auto read = host_.journal.read(Lsn{ask.offset}, plan_.end.lsn, ask.bytes, bytes);
    if (!read) return Failure{read.error().what};
    return bytes;
  }
  const auto file = host_.disk.open("pages/" + paging::page_file_name(item.number), OpenMode::read);
  if (!file) return Failure{file.error().what};
  bytes.resize(std::min<std::uint64_t>(ask.bytes, item.bytes - ask.offset));
  const auto got = (*file)->read(ask.offset, bytes);
  if (!got) return Failure{got.error().what};
  if (*got != bytes.size()) host_.world.report.violated("copy: a page file that is held became shorter");
  return bytes;
}

void GroupCopy::cut_begins(const replica::Replica::Checkpoint& made) {
  if (!std::exchange(cut_wanted_, false)) return;
  cut_from_ = std::max(Lsn{1}, std::min(made.needed, made.lsn));
  plan_ = {};
  plan_.end.lsn = made.lsn;
  plan_.before.lsn = Lsn{cut_from_->value - 1};
  plan_.state_hash = made.state_hash;
  plan_.region_term = host_.replica.term();
  plan_.epochs = host_.replica.member()->epochs();
  plan_.epochs.cut(made.lsn);
}

void GroupCopy::cut_failed(const replica::Replica::Checkpoint& made) {
  if (!cut_from_ || cut_ || made.lsn != plan_.end.lsn) return;
  cut_from_.reset();
  giver_.cut_made(Failure{"there is no space for a checkpoint"}, host_.now());
  act();
}

void GroupCopy::cut_stored(const replica::Replica::Checkpoint& made) {
  if (!cut_from_ || cut_ || made.lsn != plan_.end.lsn) return;
  cut_ = made;
  group::CopyPlan plan = plan_;
  plan.cut = host_.random.uuid();
  plan.items.push_back({group::CopyKind::root, 0, made.root.size()});
  for (const auto& file : made.sealed->files())
    plan.items.push_back({group::CopyKind::pages, file.number, file.bytes});
  plan.items.push_back({group::CopyKind::records, 0, 1'000});
  const auto before = host_.journal.hash_at(plan.before.lsn);
  const auto end = host_.journal.hash_at(plan.end.lsn);
  if (!before || !end) {
    cut_.reset();
    cut_from_.reset();
    giver_.cut_made(Failure{"its log cannot be read"}, host_.now());
    return act();
  }
  plan.before.hash = *before;
  plan.end.hash = *end;
  plan_ = plan;
  GroupWorld::Copied& copied = host_.world.copied[plan.end.hash];
  copied.hashes.assign(host_.log.hashes.begin(),
                       host_.log.hashes.begin() + static_cast<std::ptrdiff_t>(plan.end.lsn.value));
  copied.epochs.assign(host_.epochs.begin(),
                       host_.epochs.begin() + static_cast<std::ptrdiff_t>(plan.end.lsn.value));
  host_.world.reached("a full copy began");
  giver_.cut_made(std::move(plan), host_.now());
  act();
}

void GroupCopy::take(group::CopyTaker::Output output) {
  if (const auto* ask = std::get_if<group::CopyTaker::SendAsk>(&output)) {
    host_.replica.send_copy(ask->to, ask->ask, host_.now(), {});
  } else if (auto* prepare = std::get_if<group::CopyTaker::Prepare>(&output)) {
    after_disk([this, plan = std::move(prepare->plan)] {
      builder_.reset();
      auto begun = replica::CopyBuilder::begin(host_.disk, plan, host_.options, host_.random);
      if (!begun) return taker_->prepared(begun.error(), host_.now());
      builder_ = std::move(*begun);
      taker_->prepared(builder_->place(), host_.now());
    });
  } else if (auto* put = std::get_if<group::CopyTaker::Put>(&output)) {
    after_disk([this, at = put->at, bytes = std::move(put->bytes)] {
      taker_->put(builder_->put(at, bytes), host_.now());
    });
  } else if (std::holds_alternative<group::CopyTaker::Finish>(output)) {
    after_disk([this] { taker_->finished(builder_->finish(), host_.now()); });
  } else if (std::holds_alternative<group::CopyTaker::Forget>(output)) {
    host_.world.reached("a full copy was dropped");
    drop(true);
  } else if (!host_.replica.member()->wants_copy()) {
    taker_.reset();
    drop(false);
  } else {
    install_ = true;
    host_.replica.end_for_copy(host_.now(), {});
  }
}

void GroupCopy::drop(bool asked) {
  after_disk([this, asked] {
    builder_.reset();
    (void)replica::forget_copy(host_.disk);
    if (asked && taker_) taker_->forgotten(host_.now());
  });
}

}  // namespace mainstay::sim
