#include "sim/group_bugs.h"

namespace mainstay {
namespace {

thread_local group::Bug wanted = group::Bug::none;

}  // namespace

// Takes the place of the product's, which says no to everything.
bool group::resurrected(Bug bug) {
  return bug == wanted;
}

sim::Resurrect::Resurrect(group::Bug bug) {
  wanted = bug;
}
sim::Resurrect::~Resurrect() {
  wanted = group::Bug::none;
}

}  // namespace mainstay
