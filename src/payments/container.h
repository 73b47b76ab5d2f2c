// How a file holds its messages: one, several in a row, RJE, DOS-PCC, XML.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "payments/formats.h"
#include "payments/message.h"

namespace mainstay::payments {

struct Item {
  std::size_t offset = 0;
  std::string_view text;
  std::optional<Defect>
      defect;  ///< the container already knows that this is no message; `at` counts from `offset`
};

struct Items {
  Container container = Container::unknown;
  std::vector<Item> items;  ///< never empty
};

/// Splits without judging the messages: after a defect it goes on at the next separator or basic header.
/// Linear in the size of the file.
Items split_items(std::string_view file, const Limits& limits);

}  // namespace mainstay::payments
