#include "sim/group_bugs.h"

namespace mainstay {
namespace {

thread_local sim::AnyBug wanted;

}  // namespace

// These take the place of the product's, which say no to everything.
bool group::resurrected(Bug bug) {
  return bug == wanted.group;
}
bool journal::resurrected(Bug bug) {
  return bug == wanted.journal;
}
bool broker::resurrected(Bug bug) {
  return bug == wanted.broker;
}

bool sim::resurrected(StandInBug bug) {
  return bug == wanted.stand_in;
}
sim::Resurrect::Resurrect(const AnyBug& bug) {
  wanted = bug;
}
sim::Resurrect::~Resurrect() {
  wanted = {};
}

}  // namespace mainstay
