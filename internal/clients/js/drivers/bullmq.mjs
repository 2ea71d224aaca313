import { FlowProducer, Queue, QueueEvents, UnrecoverableError, Worker } from 'bullmq';
import { assert, until, uri } from './check.mjs';

const connection = { url: uri, maxRetriesPerRequest: null };
const queue = new Queue('work', { connection });
const events = new QueueEvents('work', { connection });
const errors = [];
let tries = 0;
const worker = new Worker(
  'work',
  async (job) => {
    if (job.name === 'flaky' && ++tries < 3) throw new Error('not yet');
    if (job.name === 'hopeless') throw new UnrecoverableError('never');
    await job.updateProgress(50);
    if (job.name === 'parent') return Object.values(await job.getChildrenValues()).reduce((a, b) => a + b, 0);
    return (job.data.n ?? 0) * 2;
  },
  { connection, concurrency: 5 },
);
for (const part of [queue, events, worker]) part.on('error', (err) => errors.push(err));
await Promise.all([queue.waitUntilReady(), events.waitUntilReady(), worker.waitUntilReady()]);

// Many at once, later ones, ones that fail at first, ones that wait for others.
const jobs = await queue.addBulk(Array.from({ length: 100 }, (_, n) => ({ name: 'double', data: { n } })));
const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events)));
assert.deepEqual(results, Array.from({ length: 100 }, (_, n) => n * 2));
const later = await queue.add('double', { n: 4 }, { delay: 200, priority: 3 });
assert.equal(await later.waitUntilFinished(events), 8);
const flaky = await queue.add('flaky', { n: 1 }, { attempts: 3, backoff: { type: 'exponential', delay: 20 } });
assert.equal(await flaky.waitUntilFinished(events), 2);
const hopeless = await queue.add('hopeless', {}, { attempts: 5 });
await assert.rejects(hopeless.waitUntilFinished(events), /never/);
const flow = new FlowProducer({ connection });
flow.on('error', (err) => errors.push(err));
const children = [1, 2, 3].map((n) => ({ name: 'double', queueName: 'work', data: { n } }));
const tree = await flow.add({ name: 'parent', queueName: 'work', children });
assert.equal(await tree.job.waitUntilFinished(events), 12);

// Repetitions, counts, an end.
let ticks = 0;
worker.on('completed', (job) => { if (job.name === 'tick') ticks++; });
await queue.upsertJobScheduler('clock', { every: 100 }, { name: 'tick' });
await until(() => ticks >= 3);
await queue.removeJobScheduler('clock');
await queue.pause();
await queue.add('double', { n: 1 });
assert.equal((await queue.getJobCounts('failed')).failed, 1);
assert.equal((await queue.getWorkers()).length, 1); // by CLIENT LIST
await queue.clean(0, 1000, 'failed');
await worker.close();
await queue.obliterate({ force: true });
await Promise.all([flow.close(), events.close(), queue.close()]);
assert.deepEqual(errors, []);
