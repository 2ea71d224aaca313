// Command oapi takes an instance through its life with the client that oapi-codegen
// generates from the served document. It says nothing where all is well.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/clients/generators/oapi/berth"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx, os.Getenv("BERTH_URL"), os.Getenv("BERTH_API_KEY")); err != nil {
		fmt.Fprintln(os.Stderr, "oapi:", err)
		os.Exit(1)
	}
}

// program is one run.
type program struct{ *berth.ClientWithResponses }

func run(ctx context.Context, url, key string) error {
	c, err := berth.NewClientWithResponses(url, berth.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+key)
		return nil
	}))
	if err != nil {
		return err
	}
	p := program{c}
	stranger, err := berth.NewClientWithResponses(url)
	if err != nil {
		return err
	}
	refused, err := stranger.ListEnginesWithResponse(ctx)
	if err != nil || refused.ApplicationproblemJSON401 == nil || refused.ApplicationproblemJSON401.Code != "unauthorized" {
		return fmt.Errorf("without a key: %v, %s", err, refused.Body)
	}
	engines, err := p.ListEnginesWithResponse(ctx)
	if err != nil || engines.JSON200 == nil || len(engines.JSON200.Items) == 0 {
		return fmt.Errorf("list engines: %v, %s", err, engines.Body)
	}
	if err := p.refusals(ctx); err != nil {
		return err
	}
	return errors.Join(p.life(ctx), p.canceled(ctx))
}

// refusals looks whether failures have the types that are documented.
func (p program) refusals(ctx context.Context) error {
	plan := "gigantic"
	invalid, err := p.CreateInstanceWithResponse(ctx, "redis", nil, berth.CreateBody{Plan: &plan})
	if err != nil || invalid.ApplicationproblemJSON422 == nil {
		return fmt.Errorf("a wrong plan: %v, %s", err, invalid.Body)
	}
	fields := invalid.ApplicationproblemJSON422.Errors
	if fields == nil || len(*fields) != 1 || (*fields)[0].Field != "plan" {
		return fmt.Errorf("a wrong plan: %s", invalid.Body)
	}
	missing, err := p.GetJobWithResponse(ctx, "job_none", nil)
	if err != nil || missing.ApplicationproblemJSON404 == nil || missing.ApplicationproblemJSON404.Status != http.StatusNotFound {
		return fmt.Errorf("a job that is not there: %v, %s", err, missing.Body)
	}
	return nil
}

// life is create, wait, config and delete.
func (p program) life(ctx context.Context) error {
	name, parameters, key := "oapi", map[string]any{"maxmemory": "64mb"}, "oapi-codegen"
	asked := berth.CreateBody{Name: &name, Parameters: &parameters, Labels: &map[string]string{"by": "oapi-codegen"}}
	created, err := p.CreateInstanceWithResponse(ctx, "redis", &berth.CreateInstanceParams{IdempotencyKey: &key}, asked)
	if err != nil || created.JSON202 == nil {
		return fmt.Errorf("create: %v, %s", err, created.Body)
	}
	inst, job := created.JSON202.Instance, created.JSON202.Job
	if location := created.HTTPResponse.Header.Get("Location"); !strings.HasSuffix(location, job.Id) {
		return fmt.Errorf("create: Location %q", location)
	}
	if err := p.await(ctx, job.Id, "succeeded"); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	config, err := p.GetConfigWithResponse(ctx, "redis", inst.Id)
	if err != nil || config.JSON200 == nil || !strings.HasPrefix(config.JSON200.Uri, "redis://") || config.JSON200.Port == 0 {
		return fmt.Errorf("config: %v, status %s", err, config.Status())
	}
	list, err := p.ListInstancesWithResponse(ctx, "redis", &berth.ListInstancesParams{Label: &[]string{"by=oapi-codegen"}})
	if err != nil || list.JSON200 == nil || len(list.JSON200.Items) != 1 || list.JSON200.Items[0].CreatedAt.IsZero() {
		return fmt.Errorf("list: %v, %s", err, list.Body)
	}
	deleted, err := p.DeleteInstanceWithResponse(ctx, "redis", inst.Id, nil)
	if err != nil || deleted.JSON202 == nil {
		return fmt.Errorf("delete: %v, %s", err, deleted.Body)
	}
	if err := p.await(ctx, deleted.JSON202.Job.Id, "succeeded"); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	gone, err := p.GetConfigWithResponse(ctx, "redis", inst.Id)
	if err != nil || gone.ApplicationproblemJSON410 == nil {
		return fmt.Errorf("config of what is deleted: %v, status %s", err, gone.Status())
	}
	events, err := p.ListEventsWithResponse(ctx, &berth.ListEventsParams{InstanceId: &inst.Id})
	if err != nil || events.JSON200 == nil || len(events.JSON200.Items) < 3 {
		return fmt.Errorf("events: %v, %s", err, events.Body)
	}
	return nil
}

// canceled stops a create of a MySQL, which takes longer than asking for its end.
func (p program) canceled(ctx context.Context) error {
	created, err := p.CreateInstanceWithResponse(ctx, "mysql", nil, berth.CreateBody{})
	if err != nil || created.JSON202 == nil {
		return fmt.Errorf("create: %v, %s", err, created.Body)
	}
	canceled, err := p.CancelJobWithResponse(ctx, created.JSON202.Job.Id)
	if err != nil || canceled.JSON202 == nil || canceled.JSON202.Kind != "instance.create" {
		return fmt.Errorf("cancel: %v, %s", err, canceled.Body)
	}
	return p.await(ctx, created.JSON202.Job.Id, "canceled")
}

func (p program) await(ctx context.Context, id string, want berth.JobViewState) error {
	wait := "30s"
	for {
		job, err := p.GetJobWithResponse(ctx, id, &berth.GetJobParams{Wait: &wait})
		if err != nil || job.JSON200 == nil {
			return fmt.Errorf("wait: %v, %s", err, job.Body)
		}
		switch job.JSON200.State {
		case "queued", "running":
		case want:
			return nil
		default:
			return fmt.Errorf("the job is %s, want %s: %s", job.JSON200.State, want, job.Body)
		}
	}
}
