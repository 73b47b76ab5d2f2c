// Private to the io room: what Loop is made of.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include "io/loop.h"
#include "io/spin_policy.h"

namespace mainstay::io {

struct Loop::Impl {
  boost::asio::io_context context{1};  // one thread: no locking inside
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{context.get_executor()};
  boost::asio::signal_set signals{context};
  Duration spin{};
  SpinPolicy spin_policy;
};

}  // namespace mainstay::io
