import mysql from 'mysql2/promise';
import { assert, uri } from './check.mjs';

const db = await mysql.createConnection(uri);
await db.query('CREATE TABLE m2 (id INT AUTO_INCREMENT PRIMARY KEY, words VARCHAR(100), doc JSON, at DATETIME(3), raw_bytes BLOB)');
const bytes = Buffer.from([0, 255, 39, 92]);
const [inserted] = await db.execute('INSERT INTO m2 (words, doc, at, raw_bytes) VALUES (?, ?, ?, ?)', ['Grüße 😀', JSON.stringify({ a: [1] }), new Date(0), bytes]);
assert.equal(inserted.insertId, 1);
const [[row]] = await db.execute('SELECT * FROM m2 WHERE id = ?', [1]);
assert.equal(row.words, 'Grüße 😀');
assert.deepEqual(row.doc, { a: [1] });
assert.equal(row.at.getTime(), 0);
assert.deepEqual(row.raw_bytes, bytes);

// Transactions: one is taken back, one is kept.
await db.beginTransaction();
await db.query('DELETE FROM m2');
await db.rollback();
await db.beginTransaction();
await db.query('INSERT INTO m2 (words) VALUES ?', [Array.from({ length: 1000 }, (_, n) => [`row ${n}`])]);
await db.commit();
assert.equal((await db.query('SELECT COUNT(*) AS n FROM m2'))[0][0].n, 1001);

// A routine, an error with its code, a stream, a change of the user's session.
await db.query('CREATE PROCEDURE m2_twice(IN x INT) SELECT x * 2 AS twice');
assert.equal((await db.query('CALL m2_twice(21)'))[0][0][0].twice, 42);
await assert.rejects(db.query('SELECT * FROM nothing'), { errno: 1146, code: 'ER_NO_SUCH_TABLE' });
let streamed = 0;
for await (const _ of db.connection.query('SELECT * FROM m2').stream()) streamed++;
assert.equal(streamed, 1001);
await db.ping();
await db.end();

// A pool, by the same address.
const pool = mysql.createPool(uri);
const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => pool.query('SELECT ? + 1 AS n, SLEEP(0.01)', [n])));
assert.deepEqual(answers.map(([[r]]) => r.n), Array.from({ length: 20 }, (_, n) => n + 1));
await pool.query('DROP PROCEDURE m2_twice');
await pool.query('DROP TABLE m2');
await pool.end();
