// Lints OpenAPI documents with Redocly's recommended rules; a warning counts as an error.
// Usage: node lint.mjs FILE…
import { lint, loadConfig } from '@redocly/openapi-core';
import { fileURLToPath } from 'node:url';

const config = await loadConfig({ configPath: fileURLToPath(new URL('redocly.yaml', import.meta.url)) });
let found = 0;
for (const ref of process.argv.slice(2)) {
  for (const problem of await lint({ ref, config })) {
    found++;
    console.error(`${ref} ${problem.location[0]?.pointer}: ${problem.severity} ${problem.ruleId}: ${problem.message}`);
  }
}
if (found > 0 || process.argv.length < 3) {
  console.error(`${found} problems in ${process.argv.length - 2} documents`);
  process.exitCode = 1;
}
