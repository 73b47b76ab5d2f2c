#!/usr/bin/env node
// rhea with its reconnecting over several endpoints: rhea_load.js send|receive ENDPOINT,… USER PASSWORD QUEUE.
// The same words and lines as proton_load.py.
'use strict';
const readline = require('readline');
const path = require('path');
const rhea = require(path.join(__dirname, '..', 'interop', 'node_modules', 'rhea'));

const [what, endpoints, username, password, queue] = process.argv.slice(2);
const list = endpoints.split(',').map((each) => {
  const colon = each.lastIndexOf(':');
  return { host: each.slice(0, colon), port: Number(each.slice(colon + 1)) };
});
const out = (line) => console.log(JSON.stringify(line));
const pending = new Map(); // id → message, in order, without outcome
let unsent = [];
const sent = new Map(); // delivery → id, on this connection
let ended = false;
let sender = null;

// rhea takes the next endpoint each time it asks; its own counter counts TCP connections only.
let turn = 0;
const connection_details = () => list[turn++ % list.length];

const container = rhea.create_container();
const connection = container.connect({
  connection_details, username, password,
  reconnect: true, initial_reconnect_delay: 20, max_reconnect_delay: 1000,
  idle_time_out: 2000, // both ways; without it a frozen broker is never noticed
});

// rhea waits for ever for a peer that takes the TCP connection and does not answer.
let open_timer = null;
const expect_open = () => {
  clearTimeout(open_timer);
  open_timer = setTimeout(() => { if (!connection.is_remote_open()) connection.socket.destroy(new Error('no answer')); expect_open(); }, 2000);
};
expect_open();

const flush = () => {
  while (unsent.length > 0 && sender && sender.sendable()) {
    const id = unsent.shift();
    if (!pending.has(id)) continue;
    sent.set(sender.send(pending.get(id)), id);
  }
  end_if_done();
};
const end_if_done = () => {
  if (ended && (what === 'receive' || pending.size === 0)) {
    clearTimeout(open_timer);
    connection.close();
    setTimeout(() => process.exit(0), 300);
  }
};
const forget = () => { sent.clear(); unsent = []; };

container.on('connection_error', (context) => {
  const error = context.error || context.connection.error || {};
  console.error(`rhea: connection: ${error}`);
  if (error.condition === 'amqp:unauthorized-access') { // rhea does not try again by itself either
    out({ outcome: 'over', condition: error.condition });
    process.exit(2);
  }
});
container.on('connection_close', () => {});
container.on('error', (error) => console.error(`rhea: ${error}`));
container.on('disconnected', forget);
if (what === 'send') {
  sender = connection.open_sender({ target: { address: queue }, autosettle: true });
  // Sent again with the same ids, in order, before anything new.
  sender.on('sender_open', () => { sent.clear(); unsent = [...pending.keys()]; flush(); });
  sender.on('sendable', flush);
  const lost = () => { console.error(`rhea: link: ${sender.error}`); connection.socket.destroy(new Error('link lost')); };
  sender.on('sender_error', lost);
  sender.on('sender_close', () => {});
  container.on('accepted', (context) => {
    const id = sent.get(context.delivery);
    sent.delete(context.delivery);
    if (id !== undefined && pending.delete(id)) out({ id, outcome: 'confirmed' });
    end_if_done();
  });
  container.on('rejected', (context) => {
    const id = sent.get(context.delivery);
    sent.delete(context.delivery);
    const error = context.delivery.remote_state.error;
    if (error && error.condition === 'com.microsoft:server-busy') return; // goes again by another link
    if (id !== undefined && pending.delete(id)) out({ id, outcome: 'rejected', condition: error && error.condition });
    end_if_done();
  });
} else {
  const receiver = connection.open_receiver({ source: { address: queue }, credit_window: 100, autoaccept: false });
  receiver.on('message', (context) => {
    out({ id: context.message.message_id, session: context.message.group_id, body: String(context.message.body) });
    context.delivery.accept();
  });
  receiver.on('receiver_error', () => connection.socket.destroy(new Error('link lost')));
  receiver.on('receiver_close', () => {});
}

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', (line) => {
  if (what !== 'send') return;
  const [id, session, ...body] = line.split('\t');
  pending.set(id, { message_id: id, group_id: session || undefined, body: body.join('\t') });
  unsent.push(id);
  flush();
});
lines.on('close', () => { ended = true; end_if_done(); });
process.on('SIGTERM', () => process.exit(0));
