#include "cli/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace mainstay::cli {

node::LogSink stderr_log(const std::string& level, const std::string& name) {
  auto logger = std::make_shared<spdlog::logger>(name, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %-7l %n %v", spdlog::pattern_time_type::utc);
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::info);
  return [logger](node::LogLevel at, const std::string& text) {
    switch (at) {
      case node::LogLevel::debug:
        return logger->debug(text);
      case node::LogLevel::info:
        return logger->info(text);
      case node::LogLevel::warning:
        return logger->warn(text);
      case node::LogLevel::error:
        return logger->error(text);
    }
  };
}

}  // namespace mainstay::cli
