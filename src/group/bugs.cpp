// On its own in this file: a program that brings its own resurrected() links that one instead.
#include "group/bugs.h"

namespace mainstay::group {

bool resurrected(Bug) {
  return false;
}

}  // namespace mainstay::group
