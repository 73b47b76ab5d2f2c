// Assertions on our own promises. Always on: a build without them is not a build of Mainstay.
// What a peer, client, disk or operator can cause is an error value (result.h), never an assertion.
#pragma once

namespace mainstay {

/// Writes condition, reason and place to standard error and aborts. Never returns, never throws.
[[noreturn]] void assertion_failed(const char* condition, const char* why, const char* file,
                                   int line) noexcept;

}  // namespace mainstay

#define MS_ASSERT(condition, why) \
  ((condition) ? void(0) : ::mainstay::assertion_failed(#condition, why, __FILE__, __LINE__))
