import createKnex from 'knex';
import { assert, uri } from './check.mjs';

const knex = createKnex({ client: 'mysql2', connection: uri, pool: { min: 0, max: 5 } });

// Migrations with a lock, there and back.
const steps = {
  first: {
    up: (k) => k.schema.createTable('kx_users', (t) => { t.increments(); t.string('name').unique(); t.json('facts'); t.timestamps(true, true); }),
    down: (k) => k.schema.dropTable('kx_users'),
  },
  second: {
    up: (k) => k.schema.createTable('kx_orders', (t) => {
      t.increments();
      t.integer('user_id').unsigned().references('id').inTable('kx_users').onDelete('CASCADE');
      t.decimal('total', 10, 2);
    }),
    down: (k) => k.schema.dropTable('kx_orders'),
  },
};
const migrationSource = { getMigrations: async () => Object.keys(steps), getMigrationName: (name) => name, getMigration: async (name) => steps[name] };
const [, ran] = await knex.migrate.latest({ migrationSource });
assert.deepEqual(ran, ['first', 'second']);

await knex.batchInsert('kx_users', Array.from({ length: 500 }, (_, n) => ({ name: `user ${n} 😀`, facts: JSON.stringify({ n }) })), 100);
await knex(knex.raw('?? (??, ??)', ['kx_orders', 'user_id', 'total'])).insert(knex('kx_users').select({ user_id: 'id', total: knex.raw('id * 1.5') }));
const [{ sum }] = await knex('kx_orders').join('kx_users', 'kx_users.id', 'user_id').where('name', 'like', 'user 1%').sum({ sum: 'total' });
assert.ok(Number(sum) > 0);
await knex('kx_users').insert({ name: 'user 1 😀', facts: '{"n": -1}' }).onConflict('name').merge(['facts']);
assert.equal((await knex('kx_users').where({ name: 'user 1 😀' }).first()).facts.n, -1);
await assert.rejects(knex.transaction(async (trx) => {
  await trx('kx_users').del();
  throw new Error('taken back');
}), /taken back/);
assert.equal((await knex('kx_users').count({ n: '*' }))[0].n, 500);
let streamed = 0;
for await (const _ of knex('kx_users').select().stream()) streamed++;
assert.equal(streamed, 500);
await knex('kx_users').where('id', '<=', 100).del();
assert.equal((await knex('kx_orders').count({ n: '*' }))[0].n, 400);

await knex.migrate.rollback({ migrationSource }, true);
assert.equal(await knex.schema.hasTable('kx_users'), false);
await knex.schema.dropTable('knex_migrations').dropTable('knex_migrations_lock');
await knex.destroy();
