package main

import (
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/worker"
)

// upkeep wires what keeps instances as they should be.
func (n *node) upkeep() worker.Upkeep {
	jobs := n.engine()
	mender := &instance.Mender{
		Store: rooms.Instances(n.rows), Hosts: n.rows, Runtimes: n.hosts, Jobs: jobs, Now: clock.System, Log: n.log, Quarantine: n.cfg.PortQuarantine, DryRun: n.cfg.ReconcileDryRun,
	}
	reconciler := &host.Reconciler{
		Store: rooms.Hosts(n.rows), Runtimes: n.hosts, Residents: mender, Now: clock.System, Log: n.log, Owner: n.owner,
		Every: n.cfg.ReconcileEvery, Grace: n.cfg.ReconcileGrace, DryRun: n.cfg.ReconcileDryRun, Jobs: jobs,
	}
	return worker.Upkeep{
		Reconciler: reconciler,
		Watcher:    &host.Watcher{Store: n.rows, Runtimes: n.hosts, Reconciler: reconciler, Log: n.log},
		Enroller:   n.enroller(jobs),
		Health: &instance.Health{
			Store: rooms.Instances(n.rows), Hosts: n.rows, Vault: n.vault, Authority: n.authority, Catalog: n.catalog, Runtimes: n.hosts, NewID: n.newID, Jobs: jobs, Now: clock.System, Log: n.log,
			Every: n.cfg.ProbeEvery,
		},
		Renewer: &instance.Renewer{Store: rooms.Instances(n.rows), Jobs: jobs, Now: clock.System, Log: n.log, Owner: n.owner},
		Pool: &instance.Pool{
			Store: rooms.Instances(n.rows), Hosts: n.rows, Jobs: jobs, Ports: n.ports, Vault: n.vault, Authority: n.authority, Secrets: secret.Random{}, Catalog: n.catalog, NewID: n.newID,
			Now: clock.System, Log: n.log, Owner: n.owner, Want: n.cfg.Warm, MaxAge: n.cfg.WarmMaxAge,
		},
	}
}

// enroller makes what makes hosts of the nodes of swarms; nil: this process reaches none.
func (n *node) enroller(jobs *job.Engine) *host.Enroller {
	managers, ok := n.runtimes.(host.SwarmManagers)
	if !ok {
		return nil
	}
	return &host.Enroller{
		Service: n.pool(jobs, nil), Managers: managers, Log: n.log, Owner: n.owner, Every: n.cfg.ReconcileEvery, DryRun: n.cfg.ReconcileDryRun,
	}
}
