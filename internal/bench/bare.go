package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// bare makes the server that Berth would make, by bare calls and without Berth's queue,
// journal and fences: the same image, limits, files, ports and proof, in a network of the
// same kind.
type bare struct {
	*bench
	engine  instance.Engine
	image   string
	id      string // of its names
	network string

	mu sync.Mutex
	// initialised are the volumes with data, and who may use it.
	initialised map[int]instance.Credentials
}

func (b *bench) newBare(ctx context.Context, e instance.Engine) (*bare, error) {
	version, _ := e.Describe().Version("")
	image, err := b.docker.present(ctx, version.Images)
	if err != nil {
		return nil, err
	}
	r := &bare{bench: b, engine: e, image: image, id: runID(), initialised: map[int]instance.Credentials{}}
	r.network = fmt.Sprintf("berth-bench-%s-%s", b.id, r.id)
	return r, b.createNetwork(ctx, r.network)
}

// instance gives what is to be made, at a port that is free now.
func (r *bare) instance(ctx context.Context) (instance.Instance, error) {
	info := r.engine.Describe()
	plan, _ := info.Plan("")
	version, _ := info.Version("")
	port, err := freePort(ctx)
	tlsPort := 0
	if r.engine.Ports(false) > 1 && err == nil {
		tlsPort, err = freePort(ctx)
	}
	return instance.Instance{
		ID: "ins_BENCH", Tenant: tenant.Default, Spec: instance.Spec{Engine: info.Name, Version: version.Name, Plan: plan.Name, Resources: plan.Resources, Parameters: r.engine.Complete(nil, plan.Resources)}, Name: "bench",
		Status: instance.Status{Address: "127.0.0.1", Port: port, TLSPort: tlsPort},
	}, err
}

func (r *bare) name(kind string, i int) string {
	return fmt.Sprintf("berth-bench-%s-%s-%s-%d", r.bench.id, r.id, kind, i)
}

// start gives how long the server takes from the first call to the proof, on a fresh volume
// or on one that it was started on before.
func (r *bare) start(ctx context.Context, name string, creds instance.Credentials, fresh bool) (time.Duration, error) {
	inst, err := r.instance(ctx)
	if err != nil {
		return 0, err
	}
	load, err := r.engine.Workload(inst, creds)
	if err != nil {
		return 0, err
	}
	load.Image = r.image
	begun := time.Now()
	if fresh {
		if err := r.createVolume(ctx, name); err != nil {
			return 0, err
		}
	}
	if !fresh {
		load.Files = nil // they are in the volume
	}
	if err := r.startWorkload(ctx, name, r.network, []int{inst.Status.Port, inst.Status.TLSPort}, load); err != nil {
		return 0, err
	}
	return r.proven(ctx, inst, creds, begun)
}

func (r *bare) proven(ctx context.Context, inst instance.Instance, creds instance.Credentials, begun time.Time) (time.Duration, error) {
	err := until(ctx, 3*time.Minute, 10*time.Millisecond, func() error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return r.engine.Probe(ctx, inst, creds)
	})
	return time.Since(begun), err
}

func (r *bare) credentials() instance.Credentials {
	return r.engine.NewCredentials(instance.Instance{Name: "bench", Tenant: tenant.Default}, secret.Random{})
}

// onEmpty starts it on a fresh volume.
func (r *bare) onEmpty(ctx context.Context, i int) (usable, removed time.Duration, err error) {
	name := r.name("empty", i)
	if usable, err = r.start(ctx, name, r.credentials(), true); err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	err = errors.Join(r.docker.delete(ctx, "/containers/"+name+"?force=true&v=true"), r.docker.delete(ctx, "/volumes/"+name))
	return usable, time.Since(begun), err
}

// onInitialised starts it on a volume that it was started on before, and ended in peace.
func (r *bare) onInitialised(ctx context.Context, i int) (usable, removed time.Duration, err error) {
	name := r.name("data", i)
	creds, err := r.initialise(ctx, i)
	if err != nil {
		return 0, 0, err
	}
	if usable, err = r.start(ctx, name, creds, false); err != nil {
		return 0, 0, err
	}
	return usable, 0, r.endInPeace(ctx, name)
}

// initialise makes the data directory once; it is not measured.
func (r *bare) initialise(ctx context.Context, i int) (instance.Credentials, error) {
	r.mu.Lock()
	creds, there := r.initialised[i]
	r.mu.Unlock()
	if there {
		return creds, nil
	}
	creds = r.credentials()
	if _, err := r.start(ctx, r.name("data", i), creds, true); err != nil {
		return creds, err
	}
	r.mu.Lock()
	r.initialised[i] = creds
	r.mu.Unlock()
	return creds, r.endInPeace(ctx, r.name("data", i))
}

func (r *bare) endInPeace(ctx context.Context, name string) error {
	if err := r.docker.post(ctx, "/containers/"+name+"/stop?t=60", nil); err != nil {
		return err
	}
	return r.docker.delete(ctx, "/containers/"+name+"?v=true")
}

// byEntrypoint starts the image as its makers mean it, which initialises every time.
func (r *bare) byEntrypoint(ctx context.Context, i int) (usable, removed time.Duration, err error) {
	inst, err := r.instance(ctx)
	if err != nil {
		return 0, 0, err
	}
	creds, name := r.credentials(), r.name("entrypoint", i)
	begun := time.Now()
	err = r.startImage(ctx, name, r.image, "3306/tcp", inst.Status.Port, []string{
		"MYSQL_ROOT_PASSWORD=" + creds.AdminPassword.Reveal(), "MYSQL_DATABASE=" + creds.Database,
		"MYSQL_USER=" + creds.Username, "MYSQL_PASSWORD=" + creds.Password.Reveal(),
	})
	if err != nil {
		return 0, 0, err
	}
	if usable, err = r.proven(ctx, inst, creds, begun); err != nil {
		return 0, 0, err
	}
	begun = time.Now()
	err = r.docker.delete(ctx, "/containers/"+name+"?force=true&v=true")
	return usable, time.Since(begun), err
}
