// What the programs of this folder share. Each does an application's work with one driver,
// knows nothing but the address in CLIENT_URI, and says nothing where all is well.
import assert from 'node:assert/strict';

export { assert };
export const uri = process.env.CLIENT_URI;

// until asks again and again until the answer is true; the test that started the program bounds the time.
export async function until(ask) {
  while (!(await ask())) await new Promise((go) => setTimeout(go, 20));
}
