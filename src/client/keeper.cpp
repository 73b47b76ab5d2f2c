#include "client/keeper.h"

#include <poll.h>

#include <algorithm>

namespace mainstay::client {

void pause(Duration wait) {
  if (wait.ns > 0) ::poll(nullptr, 0, static_cast<int>(std::max<std::int64_t>(wait.milliseconds(), 1)));
}

ConnectionKeeper::ConnectionKeeper(ClientOptions client, const ReconnectOptions& reconnect, Clock& clock,
                                   Random& random, Tell tell)
    : client_(std::move(client)),
      clock_(clock),
      tell_(std::move(tell)),
      choice_(client_.endpoints.size(), reconnect, random, client_.first_endpoint) {}

std::string ConnectionKeeper::endpoint() const {
  const Endpoint& at = client_.endpoints[choice_.current()];
  return at.host + ":" + std::to_string(at.port);
}

void ConnectionKeeper::poll(Duration wait) {
  if (over_) {
    pause(wait);
    return;
  }
  if (!connection_) {
    const EndpointChoice::Next next = choice_.next(clock_.now());
    if (!next.endpoint) {
      check_over();
      pause(std::min(next.wait, wait));
      return;
    }
    connection_ = Connection::begin(client_, *next.endpoint);
  }
  if (const auto polled = connection_->poll(wait); !polled) {
    failed(polled.error());
    return;
  }
  if (!ready_ && connection_->is_ready()) {
    ready_ = true;
    ++generation_;
  }
}

void ConnectionKeeper::served() {
  choice_.served(clock_.now());
  if (!told_trouble_) return;
  told_trouble_ = false;
  tell_("connected to " + endpoint());
}

void ConnectionKeeper::lose(const ClientError& why) {
  if (connection_) failed(why);
}

void ConnectionKeeper::leave(Duration most) {
  if (!connection_) return;
  connection_->close(most);
  connection_.reset();
  ready_ = false;
  choice_.left();
}

void ConnectionKeeper::failed(const ClientError& why) {
  connection_.reset();
  ready_ = false;
  last_error_ = why;
  ++reconnects_;
  choice_.failed(advice_of(why.condition), clock_.now());
  if ((choice_.tries() & (choice_.tries() - 1)) == 0) {
    told_trouble_ = true;
    tell_(why.condition + ": " + why.description + " (" + name_of(advice_of(why.condition)) + ", try " +
          std::to_string(choice_.tries()) + ")");
  }
  check_over();
}

void ConnectionKeeper::check_over() {
  const EndpointChoice::Over over = choice_.over(clock_.now());
  if (over == EndpointChoice::Over::no) return;
  std::string all;
  for (const Endpoint& at : client_.endpoints)
    all += (all.empty() ? "" : ", ") + at.host + ":" + std::to_string(at.port);
  over_ = last_error_;
  over_->description =
      (over == EndpointChoice::Over::credentials
           ? "user \"" + client_.user + "\" is refused; check user and password. Last: "
       : over == EndpointChoice::Over::request ? "the request is refused again and again. Last: "
                                               : "no endpoint serves. Last: ") +
      last_error_.description + " (endpoints: " + all + ")";
}

}  // namespace mainstay::client
