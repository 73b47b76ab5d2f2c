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

Result<std::unique_ptr<coordination::Register>, coordination::RegisterError> open_register(
    const RegisterPlace& place, Clock& clock) {
  if (place.group.empty()) return coordination::RegisterError{"a register needs the name of its group"};
  if (place.etcd) {
    EtcdOptions options = *place.etcd;
    options.key = place.prefix + "/" + place.group + "/region";
    return std::make_unique<coordination::Register>(std::make_shared<EtcdStore>(std::move(options), clock));
  }
  auto opened = coordination::SqliteStore::open(place.file, place.group);
  if (!opened) return opened.error();
  return std::make_unique<coordination::Register>(std::shared_ptr<coordination::Store>(std::move(*opened)));
}

}  // namespace mainstay::etcd
