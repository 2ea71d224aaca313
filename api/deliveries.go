package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// DeliveryPath is the part of a path that names a delivery.
type DeliveryPath struct {
	ID string `path:"id" doc:"id of the delivery"`
}

// WebhookDeliveryPath is the part of a path that names a webhook and its delivery.
type WebhookDeliveryPath struct {
	WebhookPath
	DeliveryID string `path:"delivery_id" doc:"id of the delivery"`
}

// DeliveryListInput narrows a list of deliveries.
type DeliveryListInput struct {
	PageInput
	State string `query:"state" enum:"pending,delivered,exhausted,canceled"`
}

// deliveryRoutes has every delivery, and those of a webhook below the webhook. The
// callbacks of jobs are found by their job.
func (s *server) deliveryRoutes(h huma.API) {
	op := operations("webhooks", basePath)
	const again = "Redeliver an event, with the same webhook-id (asynchronous)"
	huma.Register(h, op("list-deliveries", http.MethodGet, "/deliveries", "List deliveries to webhooks and callback URLs, newest first", tenant.Read, 200), s.listDeliveries)
	huma.Register(h, op("get-delivery", http.MethodGet, "/deliveries/{id}", "Get a delivery with its attempts", tenant.Read, 200, 404), s.getDelivery)
	huma.Register(h, op("redeliver", http.MethodPost, "/deliveries/{id}/redeliver", again, tenant.Change, 202, 404, 409, 410, 503), s.redeliver)
	huma.Register(h, op("list-webhook-deliveries", http.MethodGet, "/webhooks/{id}/deliveries", "List deliveries to a webhook, newest first", tenant.Read, 200, 404), s.listWebhookDeliveries)
	huma.Register(h, op("get-webhook-delivery", http.MethodGet, "/webhooks/{id}/deliveries/{delivery_id}", "Get a delivery with its attempts", tenant.Read, 200, 404),
		func(ctx context.Context, in *WebhookDeliveryPath) (*body[deliveryView], error) {
			return s.deliveryAnswer(s.deliveryOf(ctx, in))
		})
	huma.Register(h, op("redeliver-to-webhook", http.MethodPost, "/webhooks/{id}/deliveries/{delivery_id}/redeliver", again, tenant.Change, 202, 404, 409, 410, 503),
		func(ctx context.Context, in *struct {
			WebhookDeliveryPath
			KeyInput
		},
		) (*deliveryOutput, error) {
			if _, err := s.deliveryOf(ctx, &in.WebhookDeliveryPath); err != nil {
				return nil, s.fail(err)
			}
			return s.redeliver(ctx, &redeliverInput{DeliveryPath{ID: in.DeliveryID}, in.KeyInput})
		})
}

// deliveryOf gives a delivery, if it is one of the webhook's.
func (s *server) deliveryOf(ctx context.Context, in *WebhookDeliveryPath) (webhook.Delivery, error) {
	d, err := s.Service.Delivery(ctx, principalOf(ctx), webhook.DeliveryID(in.DeliveryID))
	if err == nil && d.Webhook != in.id() {
		err = fault.Errorf(fault.CodeNotFound, nil, "there is no delivery %s to this webhook", d.ID)
	}
	return d, err
}

func (s *server) listDeliveries(ctx context.Context, in *struct {
	DeliveryListInput
	WebhookID string `query:"webhook_id"`
	SubjectInput
	JobID   string `query:"job_id" doc:"return only deliveries about this job, including those to its callback_url"`
	EventID string `query:"event_id"`
},
) (*body[pageView[deliveryView]], error) {
	return s.deliveryPage(ctx, webhook.DeliveryFilter{
		Webhook: webhook.ID(in.WebhookID), Subject: in.subject(), Job: id.Job(in.JobID), Event: event.ID(in.EventID),
	}, in.DeliveryListInput)
}

func (s *server) listWebhookDeliveries(ctx context.Context, in *struct {
	WebhookPath
	DeliveryListInput
},
) (*body[pageView[deliveryView]], error) {
	if _, err := s.Service.Webhook(ctx, principalOf(ctx), in.id()); err != nil {
		return nil, s.fail(err)
	}
	return s.deliveryPage(ctx, webhook.DeliveryFilter{Webhook: in.id()}, in.DeliveryListInput)
}

func (s *server) deliveryPage(ctx context.Context, filter webhook.DeliveryFilter, in DeliveryListInput) (*body[pageView[deliveryView]], error) {
	filter.State = webhook.DeliveryState(in.State)
	list, next, err := s.Service.Deliveries(ctx, principalOf(ctx), filter, in.page())
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[pageView[deliveryView]]{viewPage(list, next, viewDelivery)}, nil
}

func (s *server) getDelivery(ctx context.Context, in *DeliveryPath) (*body[deliveryView], error) {
	return s.deliveryAnswer(s.Service.Delivery(ctx, principalOf(ctx), webhook.DeliveryID(in.ID)))
}

type redeliverInput struct {
	DeliveryPath
	KeyInput
}

func (s *server) redeliver(ctx context.Context, in *redeliverInput) (*deliveryOutput, error) {
	idem, done, err := s.keyed(ctx, in.IdempotencyKey, "POST /deliveries/"+in.ID+"/redeliver", nil)
	if err != nil {
		return nil, err
	}
	defer done()
	return s.newDelivery(s.Service.RedeliverOnce(ctx, principalOf(ctx), webhook.DeliveryID(in.ID), idem))
}
