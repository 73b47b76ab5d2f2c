// Proton's messages and data as values: for what the drills make and read with a codec that is not the
// broker's.
#pragma once

#include <proton/codec.h>
#include <proton/message.h>

#include <memory>
#include <string>

namespace mainstay::drills {

using ProtonMessage = std::unique_ptr<pn_message_t, decltype(&pn_message_free)>;
inline ProtonMessage new_proton_message() {
  return {pn_message(), &pn_message_free};
}

inline pn_bytes_t bytes_of(const std::string& text) {
  return pn_bytes(text.size(), text.data());
}
inline std::string text_of(pn_bytes_t bytes) {
  return bytes.start == nullptr ? std::string() : std::string(bytes.start, bytes.size);
}

/// Calls `each(key)` with `map` standing on each value of the map it stands on.
template <typename Each>
void for_each_entry_here(pn_data_t* map, Each&& each) {
  if (pn_data_type(map) != PN_MAP) return;
  const std::size_t entries = pn_data_get_map(map) / 2;
  pn_data_enter(map);
  for (std::size_t i = 0; i < entries; ++i) {
    if (!pn_data_next(map)) break;
    const std::string key =
        text_of(pn_data_type(map) == PN_SYMBOL ? pn_data_get_symbol(map) : pn_data_get_string(map));
    if (!pn_data_next(map)) break;
    each(key);
  }
  pn_data_exit(map);
}
/// The same of data that is one map.
template <typename Each>
void for_each_entry(pn_data_t* map, Each&& each) {
  pn_data_rewind(map);
  if (pn_data_next(map)) for_each_entry_here(map, each);
}

}  // namespace mainstay::drills
