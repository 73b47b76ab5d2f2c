// Strict reading of what the register and its reports hold as JSON. Private to the room.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "base/ids.h"

namespace mainstay::coordination {

/// Reads an object whose keys must be exactly the ones that are asked for. Throws what is wrong; who decodes
/// ends it.
class Fields {
 public:
  Fields(const boost::json::value& value, const char* of, std::size_t count) : of_(of) {
    if (!value.is_object()) throw std::runtime_error(std::string(of) + " is no object");
    object_ = &value.get_object();
    if (object_->size() > count) throw std::runtime_error(std::string(of) + " has a key that is not known");
  }
  const boost::json::value& at(const char* key) const {
    const boost::json::value* found = object_->if_contains(key);
    if (found == nullptr) throw problem(key, "is missing");
    return *found;
  }
  std::string text(const char* key) const {
    const boost::json::value& value = at(key);
    if (!value.is_string()) throw problem(key, "is no text");
    return std::string(value.get_string());
  }
  std::uint64_t number(const char* key) const {
    const boost::json::value& value = at(key);
    if (value.is_uint64()) return value.get_uint64();
    if (value.is_int64() && value.get_int64() >= 0) return static_cast<std::uint64_t>(value.get_int64());
    throw problem(key, "is no whole number from 0 to 18446744073709551615");
  }
  std::int64_t signed_number(const char* key) const {
    const boost::json::value& value = at(key);
    if (!value.is_int64()) throw problem(key, "is no whole number of 64 bits");
    return value.get_int64();
  }
  Uuid uuid(const char* key) const {
    const auto id = parse_uuid(text(key));
    if (!id) throw problem(key, "is no UUID");
    return *id;
  }
  std::runtime_error problem(const char* key, const std::string& what) const {
    return std::runtime_error("\"" + std::string(key) + "\" of " + of_ + " " + what);
  }

 private:
  const boost::json::object* object_;
  const char* of_;
};

}  // namespace mainstay::coordination
