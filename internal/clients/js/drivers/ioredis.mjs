import { Redis } from 'ioredis';
import { assert, uri } from './check.mjs';

const redis = new Redis(uri, { enableReadyCheck: true, connectionName: 'berth-test' });

assert.equal(await redis.set('io:text', 'Grüße 😀', 'EX', 60), 'OK');
assert.equal(await redis.get('io:text'), 'Grüße 😀');
const bytes = Buffer.from([0, 255, 13, 10]);
await redis.set('io:bytes', bytes);
assert.deepEqual(await redis.getBuffer('io:bytes'), bytes);

// Pipelines, transactions, and one that somebody else spoils.
const piped = await redis.pipeline().incr('io:n').incrby('io:n', 41).get('io:n').exec();
assert.deepEqual(piped.at(-1), [null, '42']);
await redis.watch('io:n');
const other = redis.duplicate();
await other.incr('io:n');
assert.equal(await redis.multi().set('io:n', 0).exec(), null);
assert.deepEqual(await redis.multi().hset('io:hash', { a: 1, b: 2 }).hgetall('io:hash').exec(), [[null, 2], [null, { a: '1', b: '2' }]]);

// A script of one's own, by EVALSHA.
redis.defineCommand('addUp', { numberOfKeys: 1, lua: 'return redis.call("incrby", KEYS[1], ARGV[1]) * 2' });
assert.equal(await redis.addUp('io:sum', 21), 42);
assert.equal(await redis.addUp('io:sum', 0), 42);

// Publish and subscribe, streams, blocking reads.
const heard = new Promise((resolve) => other.once('message', (channel, text) => resolve(`${channel} ${text}`)));
await other.subscribe('io:news');
await redis.publish('io:news', 'hello');
assert.equal(await heard, 'io:news hello');
await redis.xgroup('CREATE', 'io:stream', 'group', '$', 'MKSTREAM');
const id = await redis.xadd('io:stream', '*', 'k', 'v');
const [[, [[read]]]] = await redis.xreadgroup('GROUP', 'group', 'me', 'COUNT', 1, 'STREAMS', 'io:stream', '>');
assert.equal(read, id);
assert.equal(await redis.xack('io:stream', 'group', id), 1);

// Walking through everything.
await redis.mset(Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`io:many:${n}`, n])));
const seen = new Set();
for await (const keys of redis.scanStream({ match: 'io:many:*', count: 200 })) for (const key of keys) seen.add(key);
assert.equal(seen.size, 1000);

// What ready-made dashboards and libraries ask.
assert.match(await redis.info('server'), /redis_version:/);
assert.deepEqual(await redis.config('GET', 'maxmemory-policy'), ['maxmemory-policy', 'noeviction']);
assert.match(await redis.client('LIST'), /name=berth-test/);
assert.equal((await redis.command('COUNT')) > 200, true);

await other.quit();
await redis.quit();
