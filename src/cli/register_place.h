// The configuration's words about the register as the etcd room's.
#pragma once

#include "config/register_place.h"
#include "etcd/open_register.h"

namespace mainstay::cli {

inline etcd::RegisterPlace register_place(const config::RegisterPlace& from) {
  etcd::RegisterPlace to;
  to.file = from.file;
  to.prefix = from.prefix;
  to.group = from.group;
  if (from.etcd.empty()) return to;
  etcd::EtcdOptions& voters = to.etcd.emplace();
  for (const config::Endpoint& member : from.etcd) voters.endpoints.push_back({member.host, member.port});
  voters.user = from.user;
  voters.password = from.password;
  if (from.tls) voters.tls = io::TlsFiles{from.ca_file, from.certificate_file, from.key_file};
  voters.most = milliseconds(from.timeout_ms);
  return to;
}

}  // namespace mainstay::cli
