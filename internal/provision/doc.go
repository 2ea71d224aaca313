// Package provision is the domain of Berth: what exists, what may happen to it,
// and in which order. It owns the words, the rules and the interfaces that the
// rest of the program implements; it imports the standard library only and knows
// nothing of HTTP, SQL, Redis or Docker.
//
// The words:
//
//   - Engine: a kind of data service that can be provisioned (mysql, redis), with
//     versions, plans and a parameter schema.
//   - Plan: named resource limits (cpu, memory, disk) for an engine.
//   - Instance: one provisioned data service of one tenant.
//   - Job: one asynchronous operation on one instance (instance.create,
//     instance.delete) with a journal of Steps.
//   - Host: a Docker engine that instances are placed on; the local one is simply
//     the first.
//   - Golden data: what the first start of every instance of an engine would make
//     alike, made once per host and image, and copied into each.
//   - Allocation: what an instance holds on a host: ports, cpu, memory, disk.
//   - Event: an immutable fact ("instance running", "job failed"), numbered, never
//     edited.
//   - Delivery: one attempt chain to tell one address about one event.
//   - Receiver: who gets deliveries: a webhook, or the host that a tenant's callbacks
//     go to. Its Standing says what is known of one that fails or is slow.
//   - Tenant: whose instances they are.
//
// The way of a request: Service accepts it and commits instance and job in one
// transaction; the Queue is then woken; a Runner claims the job with a lease and a
// fencing token, runs its steps against Ports, Runtime and Engine, journals each,
// and ends the job together with the instance's state, its event and its callback
// in one transaction. The Relay wakes whatever is due and has no live task, so the
// database alone is the truth and the queue may lose everything. The Sequencer
// gives committed events their numbers, and Service.Follow hands them to whoever
// listens.
package provision
