package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

// maxWait bounds a long poll, below the time limits of usual proxies.
const maxWait = 60 * time.Second

// JobPathInput is the part of a path that names a job.
type JobPathInput struct {
	ID string `path:"id" doc:"id of the job"`
}

func (s *server) jobRoutes(h huma.API) {
	op := operations("jobs", basePath+"/jobs")
	huma.Register(h, op("list-jobs", http.MethodGet, "", "List jobs, newest first", tenant.Read, 200), s.listJobs)
	huma.Register(h, op("get-job", http.MethodGet, "/{id}", "Get a job; ?wait=30s waits for it to end", tenant.Read, 200), s.getJob)
	huma.Register(h, op("cancel-job", http.MethodPost, "/{id}/cancel", "Cancel a job that creates an instance, and roll it back (asynchronous)", tenant.Change, 202, 409), s.cancelJob)
}

func (s *server) listJobs(ctx context.Context, in *struct {
	PageInput
	SubjectInput
	Parent string `query:"parent" doc:"return only the jobs that wait below the job with this id"`

	State string `query:"state" enum:"queued,running,succeeded,failed,canceled"`
	Kind  string `query:"kind" enum:"instance.create,instance.delete,instance.restart,instance.stop,instance.start,instance.repair,instance.renew,hosts.import,host.import,host.takeover,host.inspect,host.drain,host.delete"`
},
) (*body[pageView[jobView]], error) {
	jobs, next, err := s.Service.Jobs(ctx, principalOf(ctx), job.Filter{
		Subject: in.subject(), Parent: id.Job(in.Parent), State: job.State(in.State), Kind: job.Kind(in.Kind),
	}, in.page())
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[pageView[jobView]]{viewPage(jobs, next, viewJob)}, nil
}

func (s *server) getJob(ctx context.Context, in *struct {
	JobPathInput
	Wait string `query:"wait" doc:"how long to wait for the job to end, for example 30s; at most 60s" example:"30s"`
},
) (*body[jobView], error) {
	wait := time.Duration(0)
	if in.Wait != "" {
		var err error
		if wait, err = time.ParseDuration(in.Wait); err != nil || wait < 0 {
			return nil, s.fail(&fault.Error{
				Code: fault.CodeInvalid, Message: refused,
				Fields: []fault.FieldError{{Field: "wait", Message: `must be a duration such as "30s" or "500ms"`}},
			})
		}
	}
	waitCtx, cancel := s.untilStop(ctx)
	defer cancel()
	job, err := s.Service.WaitJob(waitCtx, principalOf(ctx), id.Job(in.ID), min(wait, maxWait))
	if err != nil && waitCtx.Err() != nil { // it was told to stop in the middle of a look
		job, err = s.Service.Job(ctx, principalOf(ctx), id.Job(in.ID))
	}
	if err == nil && wait > 0 {
		err = stillRecognized(ctx)
	}
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[jobView]{viewJob(job)}, nil
}

type jobAcceptedOutput struct {
	Location   string `header:"Location" doc:"path of the job"`
	RetryAfter int    `header:"Retry-After" doc:"seconds to wait before reading the job"`
	Body       jobView
}

func (s *server) cancelJob(ctx context.Context, in *JobPathInput) (*jobAcceptedOutput, error) {
	job, err := s.Service.CancelJob(ctx, principalOf(ctx), id.Job(in.ID))
	if err != nil {
		return nil, s.fail(err)
	}
	return &jobAcceptedOutput{Location: jobPath(job.ID), RetryAfter: 1, Body: viewJob(job)}, nil
}
