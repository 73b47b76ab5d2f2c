// Result<T, E>: a value or an expected failure. E is a small struct or enum of the room that reports it.
// One alias, so that moving to std::expected stays a one-line change.
#pragma once

#include <boost/assert/source_location.hpp>
#include <boost/system/result.hpp>
#include <string>

namespace mainstay {

template <class T, class E>
using Result = boost::system::result<T, E>;

/// A failure told in one sentence: what happened to what, and what the reader can do about it.
/// For edges (configuration, command line, set-up) where no caller acts on a code.
struct Failure {
  std::string what;
};

[[noreturn]] void throw_exception_from_error(const Failure& failure, const boost::source_location& where);

}  // namespace mainstay
