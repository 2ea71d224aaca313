// Package instance owns the data services that tenants ask for: what an engine offers,
// what an instance is and may become, the jobs that make, restart, stop, repair and delete one, its
// credentials, its health, and the pool of warm instances. It must not know HTTP, SQL,
// Redis or Docker, nor how a host is chosen, kept and compared with what is written: that
// is the host room's.
//
// The words:
//
//   - Engine: a kind of data service (mysql, redis), with versions, plans and a schema of
//     parameters.
//   - Plan: named resource limits (cpu, memory, disk) for an engine.
//   - Instance: one server process with its data, of one tenant.
//   - Warm instance: one that runs already and is nobody's, to be given to whoever asks.
//   - Golden data: what the first start of every instance of an engine would make alike,
//     made once per host and image, and copied into each.
//
// The way of a request: Service accepts it and commits instance and job in one
// transaction; a worker claims the job and runs its steps, which Works has, against Ports,
// Runtime and Engine; and the job ends together with the instance's state and its event in
// one transaction. Mender repairs what the host room's sweeps find, and Health marks what
// does not answer.
package instance
