// Which addresses belong to a private network, and which anybody may reach.
#pragma once

#include <string>
#include <string_view>

namespace mainstay::config {

/// What a numeric address is when it is no private one ("a public address", "every address of the machine");
/// empty when it is private, link-local or loopback (RFC 1918, 1122, 3927, 6598; RFC 4291, 4193), and for
/// host names, which are not looked up.
[[nodiscard]] std::string_view exposed(const std::string& host);

}  // namespace mainstay::config
