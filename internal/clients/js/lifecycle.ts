// Takes an instance through its life with the types that openapi-typescript generates from
// the served document, by openapi-fetch. It says nothing where all is well.
import createClient from 'openapi-fetch';
import type { components, paths } from './generated/openapi.js';

type JobState = components['schemas']['JobView']['state'];

const url = process.env['BERTH_URL'] ?? '';
const headers = { Authorization: `Bearer ${process.env['BERTH_API_KEY'] ?? ''}` };
const berth = createClient<paths>({ baseUrl: url, headers });

function check(right: boolean, what: string, ...seen: unknown[]): asserts right {
  if (!right) throw new Error(`${what}: ${JSON.stringify(seen)}`);
}

async function wait(id: string, want: JobState): Promise<void> {
  for (;;) {
    const { data, error } = await berth.GET('/api/v1/jobs/{id}', { params: { path: { id }, query: { wait: '30s' } } });
    check(data !== undefined, 'wait', error);
    if (data.state === want) return;
    check(data.state === 'queued' || data.state === 'running', `the job should be ${want}`, data);
  }
}

async function refusals(): Promise<void> {
  const stranger = await createClient<paths>({ baseUrl: url }).GET('/api/v1/engines');
  check(stranger.response.status === 401 && stranger.error?.code === 'unauthorized', 'without a key', stranger.error);
  const wrong = await berth.POST('/api/v1/storage/{engine}/instances', { params: { path: { engine: 'redis' } }, body: { plan: 'gigantic' } });
  check(wrong.response.status === 422 && wrong.error?.errors?.[0]?.field === 'plan', 'a wrong plan', wrong.error);
}

async function life(): Promise<void> {
  const created = await berth.POST('/api/v1/storage/{engine}/instances', {
    params: { path: { engine: 'redis' }, header: { 'Idempotency-Key': 'openapi-typescript' } },
    body: { name: 'typescript', parameters: { maxmemory: '64mb' }, labels: { by: 'openapi-typescript' } },
  });
  check(created.data !== undefined && created.response.status === 202, 'create', created.error);
  const { instance, job } = created.data;
  check(created.response.headers.get('Location')?.endsWith(job.id) ?? false, 'Location', created.response.headers.get('Location'));
  await wait(job.id, 'succeeded');
  const path = { engine: instance.engine, id: instance.id };
  const config = await berth.GET('/api/v1/storage/{engine}/instances/{id}/config', { params: { path } });
  check(config.data !== undefined && config.data.uri.startsWith('redis://') && config.data.port > 0, 'config', config.error);
  const list = await berth.GET('/api/v1/storage/instances', { params: { query: { label: ['by=openapi-typescript'] } } });
  check(list.data?.items.length === 1, 'list', list.data, list.error);
  const deleted = await berth.DELETE('/api/v1/storage/{engine}/instances/{id}', { params: { path } });
  check(deleted.data !== undefined && deleted.response.status === 202, 'delete', deleted.error);
  await wait(deleted.data.job.id, 'succeeded');
  const gone = await berth.GET('/api/v1/storage/{engine}/instances/{id}/config', { params: { path } });
  check(gone.response.status === 410 && gone.error?.code === 'gone', 'config of what is deleted', gone.error);
}

// A MySQL takes longer to be made than asking for its end.
async function canceled(): Promise<void> {
  const created = await berth.POST('/api/v1/storage/{engine}/instances', { params: { path: { engine: 'mysql' } } });
  check(created.data !== undefined, 'create', created.error);
  const { id } = created.data.job;
  const stopped = await berth.POST('/api/v1/jobs/{id}/cancel', { params: { path: { id } } });
  check(stopped.data?.kind === 'instance.create' && stopped.response.status === 202, 'cancel', stopped.data, stopped.error);
  await wait(id, 'canceled');
}

await refusals();
await life();
await canceled();
