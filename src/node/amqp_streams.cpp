#include "node/amqp_streams.h"

namespace mainstay::node {

io::StreamId AmqpStreams::on_open(const std::string& remote, bool /*outgoing*/) {
  if (node_.frontend_->connections() >= node_.options_.connections_max) {
    node_.log(LogLevel::warning, "connection from " + remote +
                                     " refused: " + std::to_string(node_.options_.connections_max) +
                                     " are open (connections_max under [amqp])");
    return 0;
  }
  return node_.frontend_->open(node_.clock_.now());
}

void AmqpStreams::on_bytes(io::StreamId stream, BytesView bytes) {
  TurnMeter::Laps laps(node_.turns_, node_.clock_);
  node_.frontend_->input(stream, bytes, laps.from(), node_.clock_.wall());
  laps.did(Work::input);
  node_.schedule_pump();
}

BytesView AmqpStreams::pending(io::StreamId stream) {
  return node_.frontend_->output(stream);
}

void AmqpStreams::on_written(io::StreamId stream, std::size_t bytes) {
  node_.frontend_->consumed(stream, bytes, node_.clock_.now(), node_.clock_.wall());
}

bool AmqpStreams::wants_close(io::StreamId stream) {
  return node_.frontend_->finished(stream);
}

void AmqpStreams::on_end(io::StreamId stream) {
  node_.frontend_->input_closed(stream, node_.clock_.now(), node_.clock_.wall());
  node_.schedule_pump();
}

}  // namespace mainstay::node
