#!/usr/bin/env node
// rhea, the AMQP 1.0 client under the JavaScript Service Bus SDK, against a broker:
// rhea_client.js HOST PORT USER PASSWORD. The broker has the queues of tests/process/broker.py, empty.
'use strict';
const rhea = require('rhea');

const [host, port, user, password] = process.argv.slice(2);
const LIMIT = 1 << 20;
const ok = (what) => console.log(`ok - ${what}`);
class Failed extends Error {}
function expect(condition, what, found) {
  if (!condition) throw new Failed(`expected ${what}` + (found === undefined ? '' : `, found ${show(found)}`));
}
const show = (value) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? String(v) : v));

// The first of `events` on `emitter`, as [event name, context]; a failed check after 20 s.
function first(emitter, ...events) {
  return new Promise((resolve, reject) => {
    const undo = [];
    const timer = setTimeout(() => {
      undo.forEach((f) => f());
      reject(new Failed(`expected one of ${events.join(', ')} within 20 s`));
    }, 20000);
    for (const event of events) {
      const heard = (context) => {
        clearTimeout(timer);
        undo.forEach((f) => f());
        resolve([event, context]);
      };
      emitter.once(event, heard);
      undo.push(() => emitter.removeListener(event, heard));
    }
  });
}
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function connect(options = {}) {
  const container = rhea.create_container();
  // A broker that refuses may close while rhea still writes: that is a 'disconnected', not a line on the console.
  container.on('disconnected', () => {});
  const connection = container.connect({
    host, port: Number(port), username: user, password, reconnect: false, ...options,
  });
  connection.on('error', () => {});
  const [event, context] = await first(connection, 'connection_open', 'connection_error', 'disconnected');
  if (event !== 'connection_open') {
    const error = new Error(`${event}: ${context.error || connection.error || ''}`);
    error.refused = true;
    throw error;
  }
  return connection;
}

async function close(endpoint, event) {
  const closed = first(endpoint, event);
  endpoint.close();
  await closed;
}

async function open_sender(parent, address, options = {}) {
  const sender = parent.open_sender({ target: { address }, ...options });
  const [event] = await first(sender, 'sendable', 'sender_error', 'sender_close');
  expect(event === 'sendable', `a sender on ${address}`, sender.error);
  return sender;
}

// A receiver that settles nothing by itself and keeps what arrives.
async function open_receiver(parent, address, options = {}) {
  const receiver = parent.open_receiver({
    source: { address, ...(options.source || {}) }, credit_window: 0, autoaccept: false, autosettle: false,
    ...(options.attach || {}),
  });
  receiver.inbox = [];
  receiver.waiting = null;
  receiver.on('message', (context) => {
    receiver.inbox.push(context);
    if (receiver.waiting) receiver.waiting();
  });
  const [event] = await first(receiver, 'receiver_open', 'receiver_error', 'receiver_close');
  if (event === 'receiver_open' && receiver.remote.attach.source === null) await first(receiver, 'receiver_error', 'receiver_close');
  return receiver;
}

async function take(receiver, count, credit = count) {
  if (credit > 0) receiver.add_credit(credit);
  const until = Date.now() + 20000;
  while (receiver.inbox.length < count) {
    expect(Date.now() < until, `${count} messages within 20 s`, receiver.inbox.length);
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, 100);
      receiver.waiting = () => { clearTimeout(timer); resolve(); };
    });
    receiver.waiting = null;
  }
  return receiver.inbox.splice(0, count);
}

async function drain(receiver) {
  const drained = first(receiver, 'receiver_drained');
  receiver.drain = true;
  receiver.add_credit(1);
  await drained;
  receiver.drain = false;
  return receiver.inbox.length;
}

// The broker's answer: 'accepted', 'rejected', 'released' or 'modified'.
function outcome(sender, delivery) {
  return new Promise((resolve, reject) => {
    const names = ['accepted', 'rejected', 'released', 'modified'];
    const timer = setTimeout(() => reject(new Failed('expected an outcome within 20 s')), 20000);
    const heard = {};
    for (const name of names) {
      heard[name] = (context) => {
        if (context.delivery !== delivery) return;
        clearTimeout(timer);
        names.forEach((n) => sender.removeListener(n, heard[n]));
        resolve({ name, error: delivery.remote_state && delivery.remote_state.error });
      };
      sender.on(name, heard[name]);
    }
  });
}

async function send_accepted(sender, message) {
  if (!sender.sendable()) await first(sender, 'sendable');
  const told = await outcome(sender, sender.send(message));
  expect(told.name === 'accepted', `${message.message_id} accepted`, told);
}

// ---------------------------------------------------------------- checks

async function identity() {
  await close(await connect(), 'connection_close');
  ok('a connection with PLAIN and the right password opens');
  for (const [who, options] of [['a wrong password', { password: 'wrong' }],
    ['ANONYMOUS', { username: 'anonymous', password: undefined }],
    ['a client without a SASL layer', { username: undefined, password: undefined }]]) {
    let refused = null;
    try {
      const connection = await connect(options);
      // Without SASL an open may be answered before the close that refuses it.
      for (let n = 0; n < 30 && connection.is_open(); ++n) await pause(100);
      refused = !connection.is_open();
    } catch (error) {
      refused = error.refused === true;
    }
    expect(refused, `${who} to be refused`);
    ok(`${who} is refused`);
  }
}

async function addresses(connection) {
  const sender = connection.open_sender({ target: { address: 'no-such-queue' } });
  await first(sender, 'sender_error', 'sender_close');
  expect(sender.error && sender.error.condition === 'amqp:not-found', 'amqp:not-found', sender.error);
  const receiver = connection.open_receiver({ source: { address: 'no-such-queue' } });
  await first(receiver, 'receiver_error', 'receiver_close');
  expect(receiver.error && receiver.error.condition === 'amqp:not-found', 'amqp:not-found', receiver.error);
  expect(connection.is_open(), 'the connection to stay open');
  ok('an unknown queue is amqp:not-found; the connection stays');
}

async function outcomes(connection) {
  const sender = await open_sender(connection, 'plain');
  const receiver = await open_receiver(connection, 'plain', { attach: { rcv_settle_mode: 1 } });
  expect(receiver.remote.attach.rcv_settle_mode === 1, 'rcv-settle-mode second echoed', receiver.remote.attach.rcv_settle_mode);
  for (let n = 0; n < 100; ++n) {
    await send_accepted(sender, { message_id: `r${n}`, body: `body ${n}`, application_properties: { n } });
  }
  ok('100 messages are accepted one by one');
  const taken = await take(receiver, 100);
  expect(taken.every((c, n) => c.message.message_id === `r${n}` && c.message.body === `body ${n}`), 'the 100 messages in order',
    taken.slice(0, 5).map((c) => c.message.message_id));
  expect(taken.every((c) => c.delivery.tag.length === 16), 'delivery tags of 16 bytes');
  expect(taken.every((c) => (c.message.delivery_count || 0) === 0), 'delivery-count 0');
  ok('they arrive in order with 16-byte delivery tags');

  // Settle mode second: each disposition is answered with a settled one of the same type.
  const settled = (context, tell) => {
    const heard = first(receiver, 'settled');
    tell(context.delivery);
    return heard;
  };
  await settled(taken[0], (d) => d.update(false, rhea.message.released().described()));
  await settled(taken[1], (d) => d.update(false, rhea.message.modified({ delivery_failed: true }).described()));
  await settled(taken[2], (d) => d.update(false, rhea.message.rejected({
    error: { condition: 'com.microsoft:dead-letter', info: { DeadLetterReason: 'because', DeadLetterErrorDescription: 'of this' } },
  }).described()));
  for (const context of taken.slice(3)) context.delivery.update(false, rhea.message.accepted().described());
  const until = Date.now() + 20000;
  while (taken.slice(3).some((c) => !c.delivery.remote_settled) && Date.now() < until) await pause(20);
  expect(taken.every((c) => c.delivery.remote_settled), 'every disposition answered with a settled one');
  ok('release, modify, reject and accept are answered, settled');

  const again = await take(receiver, 2);
  expect(again[0].message.message_id === 'r0' && (again[0].message.delivery_count || 0) === 0, 'r0 with count 0', again[0].message);
  expect(again[1].message.message_id === 'r1' && again[1].message.delivery_count === 1, 'r1 with count 1', again[1].message);
  for (const context of again) context.delivery.accept();
  const dead = await open_receiver(connection, 'plain/$deadletterqueue');
  const [letter] = await take(dead, 1);
  expect(letter.message.message_id === 'r2', 'r2 in the dead-letter queue', letter.message.message_id);
  const properties = letter.message.application_properties;
  expect(properties.DeadLetterReason === 'because' && properties.DeadLetterErrorDescription === 'of this' && properties.n === 2,
    'reason and description beside the message\'s own properties', properties);
  letter.delivery.accept();
  ok('released and modified messages return in place; a rejected one is in the dead-letter queue with its reason');
  await pause(50);
  expect((await drain(receiver)) === 0, 'nothing left in the queue');
  expect((await drain(dead)) === 0, 'nothing left in the dead-letter queue');
  ok('drains are answered');
  for (const [link, event] of [[sender, 'sender_close'], [receiver, 'receiver_close'], [dead, 'receiver_close']]) await close(link, event);
}

async function sizes(connection) {
  const sender = await open_sender(connection, 'plain');
  const receiver = await open_receiver(connection, 'plain');
  expect(Number(sender.max_message_size || sender.remote.attach.max_message_size) === LIMIT, `max-message-size ${LIMIT}`);
  const body = Buffer.alloc(LIMIT - 4096, 0x61);
  await send_accepted(sender, { message_id: 'large', body: rhea.message.data_section(body) });
  const [large] = await take(receiver, 1);
  expect(Buffer.compare(large.message.body.content, body) === 0, 'the large body unchanged');
  large.delivery.accept();
  const told = await outcome(sender, sender.send({ message_id: 'over', body: rhea.message.data_section(Buffer.alloc(LIMIT + 1)) }));
  expect(told.name === 'rejected' && told.error.condition === 'amqp:link:message-size-exceeded', 'amqp:link:message-size-exceeded', told);
  await send_accepted(sender, { message_id: 'after', body: 'x' });
  const [after] = await take(receiver, 1);
  after.delivery.accept();
  ok('a message near the limit passes in frames; one over it is rejected and the link works on');
  await close(sender, 'sender_close');
  await close(receiver, 'receiver_close');
}

async function many_links(connection) {
  // Service Bus SDKs open a session per link.
  const links = [];
  for (let n = 0; n < 200; ++n) {
    const session = connection.create_session();
    session.open();
    links.push([session, await open_sender(session, 'plain')]);
  }
  await Promise.all(links.map(([, sender], n) => send_accepted(sender, { message_id: `l${n}`, body: 'x' })));
  ok('200 sessions with a sender each work at once');
  const receivers = [];
  for (let n = 0; n < 4; ++n) receivers.push(await open_receiver(connection, 'plain'));
  const shares = await Promise.all(receivers.map((receiver) => take(receiver, 50)));
  const ids = shares.flat().map((context) => context.message.message_id);
  expect(new Set(ids).size === 200, '200 different messages over 4 receivers', new Set(ids).size);
  shares.flat().forEach((context) => context.delivery.accept());
  ok('4 receivers on one queue share its messages, each message once');
  for (const [session] of links.slice(0, 100)) await close(session, 'session_close');
  const session = connection.create_session();
  session.open();
  await send_accepted(await open_sender(session, 'plain'), { message_id: 'reused', body: 'x' });
  const [reused] = await take(receivers[0], 1);
  reused.delivery.accept();
  ok('sessions end and their channels are used again');
  await pause(50);
}

async function sessions(connection) {
  const filter = (value) => ({ source: { filter: { 'com.microsoft:session-filter': value } } });
  const sender = await open_sender(connection, 'sessions');
  for (let n = 0; n < 4; ++n) await send_accepted(sender, { message_id: `x${n}`, group_id: 'rhea-x', body: 'x' });
  const receiver = await open_receiver(connection, 'sessions', filter('rhea-x'));
  const echoed = receiver.remote.attach.source.filter;
  expect(echoed && echoed['com.microsoft:session-filter'] === 'rhea-x', 'the session echoed in the filter', echoed);
  const ticks = receiver.remote.attach.properties['com.microsoft:locked-until-utc'];
  expect(ticks !== undefined, 'link property com.microsoft:locked-until-utc');
  const taken = await take(receiver, 4);
  expect(taken.every((c, n) => c.message.message_id === `x${n}`), 'the session in order', taken.map((c) => c.message.message_id));
  taken.forEach((c) => c.delivery.accept());
  await pause(50);
  await close(receiver, 'receiver_close');
  ok('a session is received in order');
}

// A request/response pair to an entity's management node, as the SDK opens it: both links on one session.
class Management {
  static async open(connection, entity) {
    const node = new Management();
    node.session = connection.create_session();
    node.session.open();
    const address = `${entity}/$management`;
    node.name = rhea.generate_uuid();
    node.requests = await open_sender(node.session, address);
    node.responses = await open_receiver(node.session, address, { attach: { name: node.name, target: { address: node.name } } });
    expect(node.responses.is_open(), `a receiver on ${address}`, node.responses.error);
    node.asked = 0;
    return node;
  }

  // { status, condition, body }
  async ask(operation, body) {
    const id = `request-${++this.asked}`;
    await send_accepted(this.requests, {
      message_id: id, reply_to: this.name, body, application_properties: { operation: `com.microsoft:${operation}` },
    });
    const [context] = await take(this.responses, 1);
    const { message } = context;
    expect(message.correlation_id === id, 'the request\'s id as correlation-id', message.correlation_id);
    const { statusCode, errorCondition } = message.application_properties;
    return { status: statusCode, condition: errorCondition, body: message.body };
  }

  async close() {
    await close(this.requests, 'sender_close');
    await close(this.responses, 'receiver_close');
    await close(this.session, 'session_close');
  }
}

const UUID = 0x98;
const LONG = 0x81;
const array = (code, ...values) => rhea.types.wrap_array(values, code);
// The delivery-tag as the uuid by which requests name the lock: its first three groups turned round.
function token(delivery) {
  const id = Buffer.from(delivery.tag);
  id.subarray(0, 4).reverse();
  id.subarray(4, 6).reverse();
  id.subarray(6, 8).reverse();
  return id;
}
const expect_answer = (answer, status, condition) => expect(answer.status === status && answer.condition === condition,
  `${status} ${condition || ''}`, answer);

async function management(connection) {
  const sender = await open_sender(connection, 'plain');
  const receiver = await open_receiver(connection, 'plain');
  const node = await Management.open(connection, 'plain');
  expect_answer(await node.ask('no-such-operation', {}), 501, 'amqp:not-implemented');
  expect_answer(await node.ask('peek-message', {}), 400, 'com.microsoft:argument-error');
  ok('the management node answers what it does not know and what is malformed');

  for (const id of ['kept', 'deferred']) await send_accepted(sender, { message_id: id, body: id });
  const [kept, deferred] = await take(receiver, 2);
  const until = kept.message.message_annotations['x-opt-locked-until'];
  const renewed = await node.ask('renew-lock', { 'lock-tokens': array(UUID, token(kept.delivery)) });
  expect_answer(renewed, 200);
  expect(renewed.body.expirations.length === 1 && renewed.body.expirations[0] >= until, 'a lock that ends later', renewed.body);
  expect_answer(await node.ask('renew-lock', { 'lock-tokens': array(UUID, Buffer.alloc(16, 7)) }), 410, 'com.microsoft:message-lock-lost');
  ok('a lock is renewed by its token; one that is not there is lost');

  deferred.delivery.modified({ undeliverable_here: true });
  const number = deferred.message.message_annotations['x-opt-sequence-number'];
  const peek = (from) => node.ask('peek-message', { 'from-sequence-number': rhea.types.wrap_long(from), 'message-count': rhea.types.wrap_int(10) });
  const decoded = (items) => items.map((item) => rhea.message.decode(item.message));
  let seen = await peek(1);
  expect_answer(seen, 200);
  expect(seen.body.messages.every((item) => item['lock-token'] === undefined), 'no lock tokens', seen.body.messages);
  const ids = decoded(seen.body.messages).map((m) => [m.message_id, m.message_annotations['x-opt-message-state'] || 0]);
  expect(show(ids) === show([['kept', 0], ['deferred', 1]]), 'the locked message and the deferred one', ids);
  ok('peeking shows what is locked and what is deferred, and locks nothing');

  const ask = { 'sequence-numbers': array(LONG, number), 'receiver-settle-mode': rhea.types.wrap_uint(1) };
  const fetched = await node.ask('receive-by-sequence-number', ask);
  expect_answer(fetched, 200);
  const [message] = decoded(fetched.body.messages);
  expect(message.message_id === 'deferred' && message.body === 'deferred' && message.delivery_count === 1, 'the deferred message', message);
  expect(message.message_annotations['x-opt-locked-until'] !== undefined, 'its lock\'s end', message.message_annotations);
  const lock = array(UUID, fetched.body.messages[0]['lock-token']);
  expect_answer(await node.ask('renew-lock', { 'lock-tokens': lock }), 200);
  expect_answer(await node.ask('update-disposition', { 'disposition-status': 'completed', 'lock-tokens': lock }), 200);
  expect_answer(await node.ask('receive-by-sequence-number', ask), 404, 'com.microsoft:message-not-found');
  kept.delivery.accept();
  ok('a deferred message is received by its sequence number, renewed and completed');

  const schedule = (id, in_ms) => node.ask('schedule-message', {
    messages: [{
      'message-id': id,
      message: rhea.types.wrap_binary(rhea.message.encode({
        message_id: id, body: id,
        message_annotations: { 'x-opt-scheduled-enqueue-time': rhea.types.wrap_timestamp(Date.now() + in_ms) },
      })),
    }],
  });
  const later = await schedule('never', 3600000);
  expect_answer(later, 200);
  expect(later.body['sequence-numbers'].length === 1, 'its sequence number', later.body);
  seen = await peek(1);
  expect(seen.body.messages.length === 1, 'the scheduled message', seen.body.messages.length);
  expect(decoded(seen.body.messages)[0].message_annotations['x-opt-message-state'] === 2, 'x-opt-message-state 2');
  const cancel = { 'sequence-numbers': array(LONG, later.body['sequence-numbers'][0]) };
  expect_answer(await node.ask('cancel-scheduled-message', cancel), 200);
  expect_answer(await node.ask('cancel-scheduled-message', cancel), 404, 'com.microsoft:message-not-found');
  expect_answer(await peek(1), 204);
  ok('a scheduled message is seen and can be cancelled, once');

  expect_answer(await schedule('soon', 1500), 200);
  receiver.add_credit(1);
  await pause(300);
  expect(receiver.inbox.length === 0, 'nothing before its time', receiver.inbox.length);
  const [came] = await take(receiver, 1, 0);
  expect(came.message.message_id === 'soon' && came.message.body === 'soon', 'the scheduled message', came.message);
  came.delivery.accept();
  await pause(50);
  expect((await drain(receiver)) === 0, 'nothing left in the queue');
  ok('a scheduled message comes at its time');
  await node.close();
  await close(sender, 'sender_close');
  await close(receiver, 'receiver_close');
}

async function idle_time_out() {
  // The client announces 2 s: the broker must send something within that, or rhea gives up.
  const connection = await connect({ idle_time_out: 2000 });
  const ended = first(connection, 'disconnected', 'connection_error', 'connection_close').then(([event]) => event, () => 'nothing');
  const result = await Promise.race([ended, pause(7000).then(() => 'alive')]);
  expect(result === 'alive', 'a quiet connection to live on while the broker sends empty frames', result);
  await close(connection, 'connection_close');
  ok('a client with an idle time-out of 2 s stays connected without traffic');
}

async function main() {
  await identity();
  const connection = await connect();
  for (const part of [addresses, outcomes, sizes, many_links, sessions, management]) await part(connection);
  await close(connection, 'connection_close');
  await idle_time_out();
}

main().then(() => process.exit(0), (error) => {
  console.log(`not ok - ${error instanceof Failed ? error.message : error.stack}`);
  process.exit(1);
});
