#include "etcd/open_register.h"

#include "coordination/sqlite_store.h"

namespace mainstay::etcd {

std::string RegisterPlace::text() const {
  if (!etcd) return "the register " + file;
  std::string members;
  for (const io::HostPort& endpoint : etcd->endpoints)
    members += (members.empty() ? "" : ", ") + endpoint.host + ":" + std::to_string(endpoint.port);
  return "the register in etcd (" + members + ")";
}

namespace {

/// @param name  of the record in a file; @param key  of it in etcd, after the prefix; @param follow_restored
/// as EtcdOptions has it
Result<std::shared_ptr<coordination::Store>, coordination::RegisterError> open_store(
    const RegisterPlace& place, const std::string& name, const std::string& key, bool follow_restored,
    Clock& clock) {
  if (place.group.empty()) return coordination::RegisterError{"a register needs the name of its group"};
  if (place.etcd) {
    EtcdOptions options = *place.etcd;
    options.key = place.prefix + "/" + key;
    options.follow_restored = follow_restored;
    return std::shared_ptr<coordination::Store>(std::make_shared<EtcdStore>(std::move(options), clock));
  }
  auto opened = coordination::SqliteStore::open(place.file, name);
  if (!opened) return opened.error();
  return std::shared_ptr<coordination::Store>(std::move(*opened));
}

}  // namespace

Result<std::unique_ptr<coordination::Register>, coordination::RegisterError> open_register(
    const RegisterPlace& place, Clock& clock) {
  // Who reads it compares with nothing: a pipeline would take an older term for the one that is.
  auto store = open_store(place, place.group, place.group + "/region", false, clock);
  if (!store) return store.error();
  return std::make_unique<coordination::Register>(std::move(*store));
}

Result<std::unique_ptr<coordination::GroupRegister>, coordination::RegisterError> open_group_register(
    const RegisterPlace& place, const std::string& region, Clock& clock) {
  if (region.empty()) return coordination::RegisterError{"a group's register needs the name of its region"};
  const std::string name = place.group + "/config/" + region;
  // A node refuses what is older than it has seen, and raises an alarm.
  auto store = open_store(place, name, name, true, clock);
  if (!store) return store.error();
  return std::make_unique<coordination::GroupRegister>(std::move(*store), place.group + " in " + region);
}

}  // namespace mainstay::etcd
