package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// WebhookPath is the part of a path that names a webhook.
type WebhookPath struct {
	ID string `path:"id" doc:"id of the webhook"`
}

func (p WebhookPath) id() webhook.ID { return webhook.ID(p.ID) }

func (s *server) webhookRoutes(h huma.API) {
	op := func(id, method, path, summary string, right tenant.Right, status int, errors ...int) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: method, Path: basePath + "/webhooks" + path, Summary: summary, Tags: []string{"webhooks"}, Errors: errors,
			DefaultStatus: status, MaxBodyBytes: hugeBody, Metadata: needs(right),
		}
	}
	huma.Register(h, op("create-webhook", http.MethodPost, "", "Create a webhook; its secret is returned only here", tenant.Manage, 201, 410, 413, 422, 503), s.createWebhook)
	huma.Register(h, op("list-webhooks", http.MethodGet, "", "List webhooks, newest first", tenant.Read, 200), s.listWebhooks)
	huma.Register(h, op("get-webhook", http.MethodGet, "/{id}", "Get a webhook", tenant.Read, 200, 404), s.getWebhook)
	huma.Register(h, op("change-webhook", http.MethodPatch, "/{id}", "Update a webhook; disabling it cancels its pending deliveries", tenant.Manage, 200, 404, 409, 413, 422, 503), s.changeWebhook)
	huma.Register(h, op("delete-webhook", http.MethodDelete, "/{id}", "Delete a webhook and cancel its pending deliveries", tenant.Manage, 200, 404, 503), s.deleteWebhook)
	huma.Register(h, op("rotate-webhook", http.MethodPost, "/{id}/rotate", "Rotate a webhook's secret; the old one keeps signing during the overlap", tenant.Manage, 200, 404, 409, 410, 422, 503), s.rotateWebhook)
	huma.Register(h, op("ping-webhook", http.MethodPost, "/{id}/ping", "Send a test event (webhook.ping) to a webhook", tenant.Manage, 202, 404, 409, 410, 503), s.pingWebhook)
}

type webhookView struct {
	ID             webhook.ID `json:"id"`
	URL            string     `json:"url"`
	Events         []string   `json:"events" nullable:"false" doc:"event types, or prefixes such as instance.*; empty selects all"`
	Description    string     `json:"description"`
	Enabled        bool       `json:"enabled"`
	DisabledReason string     `json:"disabled_reason,omitempty" doc:"why Berth disabled the webhook"`
	Secret         string     `json:"secret,omitempty" doc:"secret that signs deliveries; returned only by create and rotate"`
	PreviousUntil  stamp      `json:"previous_secret_until,omitempty" doc:"when the last replaced secret stops signing; with several, each has its own end"`
	CreatedAt      stamp      `json:"created_at"`
	UpdatedAt      stamp      `json:"updated_at"`
}

func viewWebhook(h webhook.Webhook) webhookView {
	v := webhookView{
		ID: h.ID, URL: h.URL, Events: h.Events, Description: h.Description, Enabled: h.Enabled, DisabledReason: h.Reason,
		PreviousUntil: at(h.PreviousUntil), CreatedAt: at(h.CreatedAt), UpdatedAt: at(h.UpdatedAt),
	}
	if v.Events == nil {
		v.Events = []string{}
	}
	return v
}

// createWebhookBody and changeWebhookBody differ only in what must be there.
type createWebhookBody struct {
	URL         *string   `json:"url" nullable:"false" doc:"http or https URL that receives a signed POST for every event"`
	Events      *[]string `json:"events,omitempty" nullable:"false" doc:"event types, or prefixes such as instance.*; absent or empty selects all"`
	Description *string   `json:"description,omitempty"`
	Enabled     *bool     `json:"enabled,omitempty"`
}

type changeWebhookBody struct {
	URL         *string   `json:"url,omitempty"`
	Events      *[]string `json:"events,omitempty" nullable:"false"`
	Description *string   `json:"description,omitempty"`
	Enabled     *bool     `json:"enabled,omitempty"`
}

type createWebhookOutput struct {
	Location string `header:"Location" doc:"path of the webhook"`
	Replayed string `header:"Idempotency-Replayed" doc:"true if an earlier request with this Idempotency-Key created it; the response shows its current state"`
	Body     webhookView
}

func (s *server) createWebhook(ctx context.Context, in *struct {
	KeyInput
	Body createWebhookBody
},
) (*createWebhookOutput, error) {
	idem, done, err := s.keyedBody(ctx, in.IdempotencyKey, "POST /webhooks", in.Body)
	if err != nil {
		return nil, err
	}
	defer done()
	h, secret, again, err := s.Service.CreateWebhookOnce(ctx, principalOf(ctx), webhook.Request(in.Body), idem)
	if err != nil {
		return nil, s.fail(err)
	}
	v := viewWebhook(h)
	v.Secret = secret.Reveal()
	return &createWebhookOutput{Location: basePath + "/webhooks/" + string(h.ID), Replayed: replayed(again), Body: v}, nil
}

func (s *server) listWebhooks(ctx context.Context, in *PageInput) (*body[pageView[webhookView]], error) {
	list, next, err := s.Service.Webhooks(ctx, principalOf(ctx), in.page())
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[pageView[webhookView]]{viewPage(list, next, viewWebhook)}, nil
}

// webhookAnswer encodes what a use case gave.
func (s *server) webhookAnswer(h webhook.Webhook, err error) (*body[webhookView], error) {
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[webhookView]{viewWebhook(h)}, nil
}

func (s *server) getWebhook(ctx context.Context, in *WebhookPath) (*body[webhookView], error) {
	return s.webhookAnswer(s.Service.Webhook(ctx, principalOf(ctx), in.id()))
}

func (s *server) changeWebhook(ctx context.Context, in *struct {
	WebhookPath
	Body changeWebhookBody
},
) (*body[webhookView], error) {
	return s.webhookAnswer(s.Service.ChangeWebhook(ctx, principalOf(ctx), in.id(), webhook.Request(in.Body)))
}

func (s *server) deleteWebhook(ctx context.Context, in *WebhookPath) (*body[webhookView], error) {
	return s.webhookAnswer(s.Service.DeleteWebhook(ctx, principalOf(ctx), in.id()))
}

type rotateBody struct {
	Overlap string `json:"overlap,omitempty" doc:"how long the old secret keeps signing, from 0s to 168h; default: 24h" example:"24h"`
}

type rotateWebhookOutput struct {
	Replayed string `header:"Idempotency-Replayed" doc:"true if an earlier request with this Idempotency-Key rotated the secret; the response has that secret"`
	Body     webhookView
}

func (s *server) rotateWebhook(ctx context.Context, in *struct {
	WebhookPath
	KeyInput
	Body *rotateBody
},
) (*rotateWebhookOutput, error) {
	overlap := webhook.DefaultSecretOverlap
	if in.Body != nil && in.Body.Overlap != "" {
		var err error
		if overlap, err = time.ParseDuration(in.Body.Overlap); err != nil {
			return nil, s.fail(&fault.Error{
				Code: fault.CodeInvalid, Message: refused,
				Fields: []fault.FieldError{{Field: "overlap", Message: `must be a duration such as "24h"`}},
			})
		}
	}
	idem, done, err := s.keyedBody(ctx, in.IdempotencyKey, "POST /webhooks/"+in.ID+"/rotate", overlap.String())
	if err != nil {
		return nil, err
	}
	defer done()
	h, secret, again, err := s.Service.RotateWebhookOnce(ctx, principalOf(ctx), in.id(), overlap, idem)
	if err != nil {
		return nil, s.fail(err)
	}
	v := viewWebhook(h)
	v.Secret = secret.Reveal()
	return &rotateWebhookOutput{Replayed: replayed(again), Body: v}, nil
}

func (s *server) pingWebhook(ctx context.Context, in *struct {
	WebhookPath
	KeyInput
},
) (*deliveryOutput, error) {
	idem, done, err := s.keyed(ctx, in.IdempotencyKey, "POST /webhooks/"+in.ID+"/ping", nil)
	if err != nil {
		return nil, err
	}
	defer done()
	return s.newDelivery(s.Service.PingWebhookOnce(ctx, principalOf(ctx), in.id(), idem))
}

type attemptView struct {
	At       stamp  `json:"at"`
	Millis   int64  `json:"duration_ms"`
	Status   int    `json:"status,omitempty" doc:"HTTP status of the response; absent if there was none"`
	Error    string `json:"error,omitempty"`
	Response string `json:"response,omitempty" doc:"beginning of the response body"`
}

type deliveryView struct {
	ID            webhook.DeliveryID    `json:"id"`
	WebhookID     webhook.ID            `json:"webhook_id,omitempty" doc:"absent for a delivery to a callback_url"`
	EventID       event.ID              `json:"event_id" doc:"sent as the webhook-id header"`
	EventType     string                `json:"event_type,omitempty"`
	InstanceID    instance.ID           `json:"instance_id,omitempty"`
	JobID         id.Job                `json:"job_id,omitempty"`
	URL           string                `json:"url"`
	State         webhook.DeliveryState `json:"state" enum:"pending,delivered,exhausted,canceled"`
	Attempt       int                   `json:"attempt" doc:"number of attempts made"`
	LastStatus    int                   `json:"last_status,omitempty"`
	LastError     string                `json:"last_error,omitempty"`
	NextAttemptAt stamp                 `json:"next_attempt_at,omitempty"`
	CreatedAt     stamp                 `json:"created_at"`
	UpdatedAt     stamp                 `json:"updated_at"`
	Attempts      []attemptView         `json:"attempts,omitempty" doc:"the last ten attempts, oldest first"`
	Payload       any                   `json:"payload,omitempty" doc:"body that is sent; absent in lists"`
}

func viewDelivery(d webhook.Delivery) deliveryView {
	v := deliveryView{
		ID: d.ID, WebhookID: d.Webhook, EventID: d.Event, EventType: d.EventType, InstanceID: instance.ID(d.Subject), JobID: d.Job, URL: d.URL, State: d.State,
		Attempt: d.Attempt, LastStatus: d.LastStatus, LastError: d.LastError, CreatedAt: at(d.CreatedAt), UpdatedAt: at(d.UpdatedAt),
		Attempts: make([]attemptView, len(d.Attempts)),
	}
	if d.State == webhook.DeliveryPending {
		v.NextAttemptAt = at(d.DueAt)
	}
	for i, a := range d.Attempts {
		v.Attempts[i] = attemptView{At: at(a.At), Millis: a.Took.Milliseconds(), Status: a.Status, Error: a.Error, Response: a.Answer}
	}
	return v
}

type deliveryOutput struct {
	Replayed string `header:"Idempotency-Replayed" doc:"true if an earlier request with this Idempotency-Key created it; the response shows its current state"`
	Body     deliveryView
}

// newDelivery encodes what a use case made.
func (s *server) newDelivery(d webhook.Delivery, again bool, err error) (*deliveryOutput, error) {
	answer, err := s.deliveryAnswer(d, err)
	if err != nil {
		return nil, err
	}
	return &deliveryOutput{Replayed: replayed(again), Body: answer.Body}, nil
}

// deliveryAnswer encodes what a use case gave, with the whole body that is sent.
func (s *server) deliveryAnswer(d webhook.Delivery, err error) (*body[deliveryView], error) {
	if err != nil {
		return nil, s.fail(err)
	}
	v := viewDelivery(d)
	v.Payload = json.RawMessage(d.Body)
	return &body[deliveryView]{v}, nil
}
