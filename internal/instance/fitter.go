package instance

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Fitter fits hosts out for instances. It implements host.Fitter.
type Fitter struct {
	Catalog Catalog
	Secrets secret.Generator
	Now     clock.Clock
	Log     *slog.Logger
}

var _ host.Fitter = (*Fitter)(nil)

const (
	// proofEngine is what a host is proven with: it starts in a moment, and takes little.
	proofEngine = "redis"
	// proofTries limits how many ports are tried that the host refuses.
	proofTries = 10
	proofLimit = time.Minute // for a server that runs to be usable
)

// Install implements host.Fitter. Golden data that cannot be made is done without, as always.
func (f *Fitter) Install(ctx context.Context, h host.Host, r host.Runtime, report func(string)) error {
	for _, name := range f.Catalog.Names() {
		engine, err := f.Catalog.Find(name)
		if err != nil {
			return err
		}
		info := engine.Describe()
		version, _ := info.Version("")
		image, err := r.EnsureImage(ctx, version.Images, func(text string) { report(name + ": " + text) })
		if err != nil {
			return err
		}
		plan, _ := info.Plan("")
		golden, ok := engine.Golden(Instance{Spec: Spec{Engine: name, Version: version.Name, Plan: plan.Name, Resources: plan.Resources, Parameters: engine.Complete(nil, plan.Resources)}})
		if !ok {
			continue
		}
		golden.Image = image
		if _, err := r.EnsureGolden(ctx, golden, report); err != nil && ctx.Err() == nil {
			f.Log.WarnContext(ctx, "golden data could not be created; instances initialise their own data", "host", h.Name, "engine", name, "error", err)
		}
	}
	report(fmt.Sprintf("the images of %d engines are there", len(f.Catalog.Names())))
	return nil
}

// Prove implements host.Fitter.
func (f *Fitter) Prove(ctx context.Context, h host.Host, r host.Runtime, unit host.UnitID, fence int64, report func(string)) (shown host.Enforcement, err error) {
	engine, err := f.Catalog.Find(proofEngine)
	if err != nil {
		return "", err
	}
	info := engine.Describe()
	version, _ := info.Version("")
	plan, _ := info.Plan("")
	inst := Instance{
		ID: ID(unit), Name: "proof", State: StateProvisioning, Status: Status{Host: h.ID, Address: h.Advertise},
		Spec: Spec{Engine: proofEngine, Version: version.Name, Plan: plan.Name, Resources: plan.Resources, Parameters: engine.Complete(nil, plan.Resources), Ports: 1},
	}
	inst.Tenant = tenant.Default // so that it gets what a tenant would
	creds := engine.NewCredentials(inst, f.Secrets)
	image, err := r.EnsureImage(ctx, version.Images, report)
	if err != nil {
		return "", err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), proofLimit)
		defer cancel()
		if gone := r.Remove(ctx, unit, fence, true); gone != nil && err == nil {
			err = gone
		}
	}()
	if err := f.startProof(ctx, h, r, engine, &inst, creds, fence, image); err != nil {
		return "", err
	}
	there, err := r.Inspect(ctx, unit)
	if err != nil {
		return "", err
	}
	begun := f.Now()
	if err := f.usable(ctx, engine, inst, creds); err != nil {
		return "", fault.Errorf(fault.CodeProbeFailed, err, "a Redis runs on %s, and is not reached at %s:%d from here: check the address that tenants are to use, and the firewall: %s",
			h.Name, inst.Status.Address, inst.Status.Port, fault.Explain(err))
	}
	report(fmt.Sprintf("a Redis was used at %s:%d after %s", inst.Status.Address, inst.Status.Port, f.Now().Sub(begun).Round(time.Millisecond)))
	return there.Enforcement, nil
}

// startProof starts the server on a port of the host's range that is free there.
func (f *Fitter) startProof(ctx context.Context, h host.Host, r host.Runtime, engine Engine, inst *Instance, creds Credentials, fence int64, image string) error {
	for try := 1; ; try++ {
		inst.Status.Port = h.PortLow + rand.IntN(h.PortHigh-h.PortLow+1) //nolint:gosec // any that is free will do
		load, err := engine.Workload(*inst, creds)
		if err != nil {
			return err
		}
		load.Fence, load.Image, load.Bind, load.Ports[0].Host = fence, image, h.Bind, inst.Status.Port
		load.UserOwnsData = false
		if err := r.Create(ctx, load); err != nil {
			return err
		}
		_, err = r.Start(ctx, load)
		if fault.CodeOf(err) != fault.CodePortRefused || err == nil || try == proofTries {
			return err
		}
	}
}

// usable waits until the server can be used by the address that tenants would use.
func (f *Fitter) usable(ctx context.Context, engine Engine, inst Instance, creds Credentials) error {
	ctx, cancel := context.WithTimeout(ctx, proofLimit)
	defer cancel()
	for begun := f.Now(); ; {
		probe, done := context.WithTimeout(ctx, probeTimeout)
		err := engine.Probe(probe, inst, creds)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(probePause(f.Now().Sub(begun))):
		}
	}
}
