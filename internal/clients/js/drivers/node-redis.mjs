import { createClient, defineScript } from 'redis';
import { assert, uri } from './check.mjs';

for (const RESP of [2, 3]) {
  const client = createClient({
    url: uri,
    RESP,
    name: `berth-${RESP}`,
    scripts: {
      double: defineScript({
        NUMBER_OF_KEYS: 1,
        SCRIPT: 'return redis.call("GET", KEYS[1]) * 2',
        parseCommand: (parser, key) => parser.pushKey(key),
        transformReply: (reply) => reply,
      }),
    },
  });
  const errors = [];
  client.on('error', (err) => errors.push(err));
  await client.connect(); // with HELLO, CLIENT SETNAME and CLIENT SETINFO

  assert.equal(await client.set('nr:n', '21'), 'OK');
  assert.equal(await client.double('nr:n'), 42);
  assert.deepEqual(await client.multi().incr('nr:n').get('nr:n').exec(), [22, '22']);
  await client.hSet('nr:hash', { a: '1', b: '2' });
  assert.equal((await client.hGetAll('nr:hash')).b, '2');
  await client.zAdd('nr:scores', [{ score: 1, value: 'a' }, { score: 2.5, value: 'b' }]);
  assert.deepEqual(await client.zRangeWithScores('nr:scores', 0, -1), [{ score: 1, value: 'a' }, { score: 2.5, value: 'b' }]);

  const subscriber = client.duplicate();
  subscriber.on('error', (err) => errors.push(err));
  await subscriber.connect();
  const heard = new Promise((resolve) => subscriber.subscribe('nr:news', resolve));
  let reached = 0;
  while (reached === 0) reached = await client.publish('nr:news', 'hello'); // the subscription may be on its way
  assert.equal(await heard, 'hello');

  let keys = 0;
  for await (const found of client.scanIterator({ MATCH: 'nr:*' })) keys += [].concat(found).length;
  assert.equal(keys, 3);
  await client.functionLoad(`#!lua name=lib${RESP}\nredis.register_function('f${RESP}', function(keys, args) return args[1] end)`, { REPLACE: true });
  assert.equal(await client.sendCommand(['FCALL', `f${RESP}`, '0', 'x']), 'x');
  await client.del(['nr:n', 'nr:hash', 'nr:scores']);

  await subscriber.close();
  await client.close();
  assert.deepEqual(errors, []);
}

// A cache in the client, which the server keeps true.
const cached = createClient({ url: uri, RESP: 3, clientSideCache: { maxEntries: 100 } });
await cached.connect();
const writer = await createClient({ url: uri }).connect();
await writer.set('nr:cached', 'old');
assert.equal(await cached.get('nr:cached'), 'old');
await writer.set('nr:cached', 'new');
while ((await cached.get('nr:cached')) !== 'new') await new Promise(setImmediate);
await cached.close();
await writer.close();
