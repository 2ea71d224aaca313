import { DataTypes, Op, Sequelize, UniqueConstraintError } from 'sequelize';
import { assert, uri } from './check.mjs';

const db = new Sequelize(uri, { logging: false });
await db.authenticate();
const Author = db.define('Author', { name: { type: DataTypes.STRING, unique: true, allowNull: false } });
const Book = db.define('Book', { title: DataTypes.STRING, facts: DataTypes.JSON, price: DataTypes.DECIMAL(10, 2), at: DataTypes.DATE(3) });
Author.hasMany(Book, { onDelete: 'CASCADE' });
Book.belongsTo(Author);
await db.sync({ force: true });

const author = await Author.create({ name: 'Ünal 😀', Books: [{ title: 'one', facts: { pages: 7 }, price: '9.90', at: new Date(5) }, { title: 'two' }] }, { include: Book });
await assert.rejects(Author.create({ name: 'Ünal 😀' }), UniqueConstraintError);
const found = await Author.findOne({ where: { name: { [Op.like]: 'Ü%' } }, include: { model: Book, where: { title: 'one' } } });
assert.equal(found.Books[0].facts.pages, 7);
assert.equal(found.Books[0].price, '9.90');
assert.equal(found.Books[0].at.getTime(), 5);

await assert.rejects(db.transaction(async (transaction) => {
  await Book.destroy({ where: {}, transaction });
  throw new Error('taken back');
}), /taken back/);
assert.equal(await Book.count(), 2);
await db.transaction(async (transaction) => {
  await Book.increment({ price: 1 }, { where: { title: 'one' }, transaction });
});
await Book.bulkCreate([{ id: 1, title: 'one again' }], { updateOnDuplicate: ['title'] });
assert.equal((await Book.findByPk(1)).title, 'one again');

// What migrations do.
const change = db.getQueryInterface();
await change.addColumn('Books', 'isbn', { type: DataTypes.STRING(20) });
await change.addIndex('Books', ['isbn']);
assert.ok('isbn' in (await change.describeTable('Books')));
assert.deepEqual((await change.showAllTables()).sort(), ['Authors', 'Books']);
await author.destroy();
assert.equal(await Book.count(), 0);
await db.drop();
await db.close();
