package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
)

// attempted is what came of an attempt.
type attempted struct {
	after Delivery
	at    time.Time
	took  time.Duration
	gone  bool          // the receiver wants nothing any more
	asked time.Duration // for which the receiver wants to be left alone
}

func (o attempted) delivered() bool { return o.after.State == DeliveryDelivered }

// hopeless says why the receiver is to be sent nothing any more; empty: it is not.
func (o attempted) hopeless(standing Standing) string {
	switch {
	case o.gone:
		return o.after.LastError
	case standing.hopeless(o.at):
		return clip(fmt.Sprintf("every delivery failed since %s; the last error: %s", standing.FailingSince.Format(time.RFC3339), o.after.LastError), maxAnswerKept)
	default:
		return ""
	}
}

// attempted gives the delivery as it is after the attempt.
func (c *Courier) outcome(p parcel, answer Answer, err error, begun time.Time) attempted {
	now := c.cfg.Now()
	o := attempted{at: now, took: now.Sub(begun), gone: answer.Status == http.StatusGone}
	d := p.before
	d.LastStatus, d.LastError, d.UpdatedAt = answer.Status, "", now
	good := err == nil && answer.Status >= 200 && answer.Status < 300
	switch {
	case err != nil:
		d.LastError = p.scrub(err.Error())
	case !good:
		d.LastError = strings.TrimSpace(fmt.Sprintf("the receiver answered %d %s", answer.Status, http.StatusText(answer.Status)))
	}
	d = d.noted(Attempt{At: begun, Took: o.took, Status: answer.Status, Error: d.LastError, Answer: p.scrub(answer.Body)})
	switch {
	case good:
		o.after = d.ended(DeliveryDelivered)
	case o.gone:
		o.after = d.ended(DeliveryExhausted)
	default:
		o.asked = min(answer.RetryAfter, maxRetryAfter)
		o.after = d.putOff(now, o.asked)
	}
	return o
}

// scrub takes what it was signed with out of a text of the receiver's, and the rest
// to a size that is kept.
func (p parcel) scrub(text string) string {
	for _, s := range p.secrets {
		if !s.Empty() {
			text = strings.ReplaceAll(text, strings.TrimPrefix(s.Reveal(), "whsec_"), secret.Redacted)
		}
	}
	return clip(text, maxAnswerKept)
}

// settle writes the attempted, and what it says of the receiver, which it gives. A
// webhook whose receiver is gone, or hopeless, is disabled in the same transaction. A
// conflict means that the delivery was ended or begun anew meanwhile.
func (c *Courier) settle(ctx context.Context, p parcel, o attempted, known Standing) (Standing, error) {
	ctx = context.WithoutCancel(ctx)
	var standing Standing
	err := c.cfg.Store.Tx(ctx, func(tx Tx) (err error) {
		if standing, err = standingAfter(tx, known, o); err != nil {
			return err
		}
		if reason := o.hopeless(standing); p.hook != nil && reason != "" {
			err = c.disable(tx, o.after, p.before, reason)
		} else {
			err = tx.UpdateDelivery(o.after, p.before)
		}
		switch {
		case err != nil || standing == known:
			return err
		case standing.well():
			return tx.DeleteStanding(standing.Receiver)
		default:
			return tx.PutStanding(standing)
		}
	})
	if errors.Is(err, fault.ErrConflict) {
		return known, nil
	}
	return standing, err
}

// standingAfter gives how the receiver is after the attempt. Of one that was well and
// is, there is nothing to read or write.
func standingAfter(tx Tx, known Standing, o attempted) (Standing, error) {
	if known.UpdatedAt.IsZero() && known.after(o).well() {
		return known, nil
	}
	now, err := standingOf(known.Receiver)(tx.Standing(known.Receiver)) // others may have written meanwhile
	if err != nil {
		return known, err
	}
	if next := now.after(o); !next.well() {
		return next, nil
	}
	return Standing{Receiver: known.Receiver}, nil
}

// standingOf gives an empty standing for a receiver that has none.
func standingOf(receiver string) func(Standing, error) (Standing, error) {
	return func(s Standing, err error) (Standing, error) {
		if errors.Is(err, fault.ErrNotFound) {
			return Standing{Receiver: receiver}, nil
		}
		return s, err
	}
}

// handBack gives up an attempt that was cut short.
func (c *Courier) handBack(ctx context.Context, p parcel, standing Standing) error {
	ctx = context.WithoutCancel(ctx)
	err := c.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := tx.UpdateDelivery(p.before.handedBack(c.cfg.Now()), p.before); err != nil || !standing.failing() {
			return err
		}
		return tx.PutStanding(standing) // it no longer rests for this attempt's sake
	})
	if errors.Is(err, fault.ErrConflict) {
		return nil
	}
	return err
}

// disable ends the delivery, and with it all others to its webhook.
func (c *Courier) disable(tx Tx, after, before Delivery, reason string) error {
	hook, err := tx.Webhook(after.Webhook)
	switch {
	case errors.Is(err, fault.ErrNotFound) || err == nil && !hook.Enabled:
		return tx.UpdateDelivery(after, before)
	case err != nil:
		return err
	case hook.URL != after.URL: // that was the old address; the new one is asked at once
		return tx.UpdateDelivery(before.handedBack(after.UpdatedAt), before)
	}
	hook.Enabled, hook.Reason, hook.UpdatedAt = false, reason, after.UpdatedAt
	if err := tx.UpdateWebhook(hook); err != nil {
		return err
	}
	if err := tx.UpdateDelivery(after, before); err != nil {
		return err
	}
	if err := tx.EndDeliveries(hook.ID, "the webhook was disabled: "+hook.Reason, after.UpdatedAt); err != nil {
		return err
	}
	return c.cfg.Events.Announce(tx, event.Announcement{Event: event.Event{
		Tenant: hook.Tenant, Type: EventDisabled, Message: fmt.Sprintf("webhook %s is disabled: %s", hook.ID, hook.Reason), At: after.UpdatedAt,
	}})
}
