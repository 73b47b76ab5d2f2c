#include "coordination/faulty_calls.h"

#include <memory>
#include <utility>

namespace mainstay::coordination {

template <class Answer>
void FaultyCalls::call(const CallFate& fate, std::function<Answer()> act, Answer without_answer,
                       std::function<void(Answer)> done) {
  // Moved out by whoever comes first, the answer or the end of patience.
  const auto waiting = std::make_shared<std::function<void(Answer)>>(std::move(done));
  const auto tell = [waiting](Answer answer) {
    if (!*waiting) return;
    const auto told = std::exchange(*waiting, nullptr);
    told(std::move(answer));
  };
  if (fate.arrives) {
    later_(fate.there, [later = later_, act = std::move(act), tell, fate] {
      Answer answer = act();
      if (fate.answered) later(fate.back, [tell, answer = std::move(answer)] { tell(answer); });
    });
  }
  later_(fate.patience, [tell, without_answer = std::move(without_answer)] { tell(without_answer); });
}

void FaultyCalls::read(const Seen& seen, const CallFate& fate,
                       std::function<void(Result<GroupState, GroupError>)> done) {
  using Answer = Result<GroupState, GroupError>;
  call<Answer>(
      fate, [&of = register_, seen] { return of.read(seen); },
      GroupError{GroupProblem::unavailable, "the register did not answer in time"}, std::move(done));
}

void FaultyCalls::compare_and_swap(const GroupState& expected, const GroupRecord& next, const Seen& seen,
                                   const CallFate& fate,
                                   std::function<void(Result<GroupSwap, GroupError>)> done) {
  using Answer = Result<GroupSwap, GroupError>;
  call<Answer>(
      fate, [&of = register_, expected, next, seen] { return of.compare_and_swap(expected, next, seen); },
      GroupSwap{CasOutcome::unknown, {}}, std::move(done));
}

}  // namespace mainstay::coordination
