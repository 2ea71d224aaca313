// Command ogen takes an instance through its life with the client that ogen generates
// from the served document. It says nothing where all is well.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-faster/jx"

	"github.com/berth-project/berth/internal/clients/generators/ogen/berth"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx, os.Getenv("BERTH_URL"), os.Getenv("BERTH_API_KEY")); err != nil {
		fmt.Fprintln(os.Stderr, "ogen:", err)
		os.Exit(1)
	}
}

// key is an API key as the client asks for it.
type key string

// APIKey implements berth.SecuritySource.
func (k key) APIKey(context.Context, berth.OperationName) (berth.APIKey, error) {
	return berth.APIKey{Token: string(k)}, nil
}

// program is one run.
type program struct{ *berth.Client }

func run(ctx context.Context, url, apiKey string) error {
	stranger, err := berth.NewClient(url, key("wrong"))
	if err != nil {
		return err
	}
	refused, err := stranger.ListEngines(ctx)
	if h, ok := refused.(*berth.UnauthorizedHeaders); !ok || h.Response.Code != "unauthorized" || h.WWWAuthenticate.Value == "" {
		return fmt.Errorf("with a wrong key: %v, %+v", err, refused)
	}
	c, err := berth.NewClient(url, key(apiKey))
	if err != nil {
		return err
	}
	p := program{c}
	engines, err := p.ListEngines(ctx)
	if page, ok := engines.(*berth.PageViewEngineView); !ok || len(page.Items) == 0 {
		return fmt.Errorf("list engines: %v, %+v", err, engines)
	}
	if err := p.refusals(ctx); err != nil {
		return err
	}
	return errors.Join(p.life(ctx), p.canceled(ctx))
}

// refusals looks whether failures have the types that are documented.
func (p program) refusals(ctx context.Context) error {
	invalid, err := p.CreateInstance(ctx, berth.NewOptCreateBody(berth.CreateBody{Plan: berth.NewOptString("gigantic")}), berth.CreateInstanceParams{Engine: "redis"})
	if r, ok := invalid.(*berth.CreateInstanceUnprocessableEntity); !ok || len(r.Errors) != 1 || r.Errors[0].Field != "plan" {
		return fmt.Errorf("a wrong plan: %v, %+v", err, invalid)
	}
	missing, err := p.GetJob(ctx, berth.GetJobParams{ID: "job_none"})
	if r, ok := missing.(*berth.GetJobNotFound); !ok || r.Code != "not_found" {
		return fmt.Errorf("a job that is not there: %v, %+v", err, missing)
	}
	return nil
}

// life is create, wait, config and delete.
func (p program) life(ctx context.Context) error {
	asked := berth.CreateBody{
		Name:       berth.NewOptString("ogen"),
		Parameters: berth.NewOptCreateBodyParameters(berth.CreateBodyParameters{"maxmemory": jx.Raw(`"64mb"`)}),
		Labels:     berth.NewOptCreateBodyLabels(berth.CreateBodyLabels{"by": "ogen"}),
	}
	created, err := p.CreateInstance(ctx, berth.NewOptCreateBody(asked), berth.CreateInstanceParams{Engine: "redis", IdempotencyKey: berth.NewOptString("ogen")})
	accepted, ok := created.(*berth.AcceptedViewHeaders)
	if !ok || !strings.HasSuffix(accepted.Location.Value, accepted.Response.Job.ID) || accepted.RetryAfter.Value < 1 {
		return fmt.Errorf("create: %v, %+v", err, created)
	}
	id := accepted.Response.Instance.ID
	if err := p.await(ctx, accepted.Response.Job.ID, berth.JobViewStateSucceeded); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	config, err := p.GetConfig(ctx, berth.GetConfigParams{Engine: "redis", ID: id})
	if c, ok := config.(*berth.ConfigView); !ok || !strings.HasPrefix(c.URI, "redis://") || c.Port == 0 {
		return fmt.Errorf("config: %v, %T", err, config)
	}
	list, err := p.ListInstances(ctx, berth.ListInstancesParams{Engine: "redis", Label: []string{"by=ogen"}})
	if page, ok := list.(*berth.PageViewInstanceView); !ok || len(page.Items) != 1 || page.Items[0].CreatedAt.IsZero() {
		return fmt.Errorf("list: %v, %+v", err, list)
	}
	removed, err := p.DeleteInstance(ctx, berth.DeleteInstanceParams{Engine: "redis", ID: id})
	if accepted, ok = removed.(*berth.AcceptedViewHeaders); !ok {
		return fmt.Errorf("delete: %v, %+v", err, removed)
	}
	if err := p.await(ctx, accepted.Response.Job.ID, berth.JobViewStateSucceeded); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	gone, err := p.GetConfig(ctx, berth.GetConfigParams{Engine: "redis", ID: id})
	if r, ok := gone.(*berth.GetConfigGone); !ok || r.Code != "gone" {
		return fmt.Errorf("config of what is deleted: %v, %T", err, gone)
	}
	return nil
}

// canceled stops a create of a MySQL, which takes longer than asking for its end.
func (p program) canceled(ctx context.Context) error {
	created, err := p.CreateInstance(ctx, berth.OptCreateBody{}, berth.CreateInstanceParams{Engine: "mysql"})
	accepted, ok := created.(*berth.AcceptedViewHeaders)
	if !ok {
		return fmt.Errorf("create: %v, %+v", err, created)
	}
	canceled, err := p.CancelJob(ctx, berth.CancelJobParams{ID: accepted.Response.Job.ID})
	if job, ok := canceled.(*berth.JobViewHeaders); !ok || job.Response.Kind != berth.JobViewKindInstanceCreate {
		return fmt.Errorf("cancel: %v, %+v", err, canceled)
	}
	return p.await(ctx, accepted.Response.Job.ID, berth.JobViewStateCanceled)
}

func (p program) await(ctx context.Context, id string, want berth.JobViewState) error {
	for {
		got, err := p.GetJob(ctx, berth.GetJobParams{ID: id, Wait: berth.NewOptString("30s")})
		job, ok := got.(*berth.JobView)
		if !ok {
			return fmt.Errorf("wait: %v, %+v", err, got)
		}
		switch job.State {
		case berth.JobViewStateQueued, berth.JobViewStateRunning:
		case want:
			return nil
		default:
			return fmt.Errorf("the job is %s, want %s: %+v", job.State, want, job)
		}
	}
}
