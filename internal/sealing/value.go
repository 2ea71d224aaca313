package sealing

import (
	"maps"
	"slices"

	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// Kind says what a sealed value is; its text is for people.
type Kind string

// What is sealed in the database.
const (
	Credentials Kind = "credentials"
	Webhook     Kind = "webhook secrets"
	OldWebhook  Kind = "rotated webhook secrets"
	Callback    Kind = "callback secrets"
	HostSecret  Kind = "secrets of hosts"
	Answer      Kind = "stored answers"
	Authority   Kind = "the key of the certificate authority"
	Check       Kind = "the check value of the master key"
)

// Kinds returns the kinds of which there are many values. There is one check value.
func Kinds() []Kind {
	return []Kind{Credentials, Webhook, OldWebhook, Callback, Authority, HostSecret, Answer}
}

// Value is one sealed value.
type Value struct {
	Kind   Kind
	Tenant tenant.ID // of a stored answer
	ID     string    // of what it belongs to; of a stored answer its idempotency key
	Sealed secret.Sealed
}

// place is the context that the value is sealed with.
func (v Value) place() string {
	switch v.Kind {
	case Credentials:
		return instance.CredentialsPlace(instance.ID(v.ID))
	case Webhook, OldWebhook:
		return webhook.Place(webhook.ID(v.ID))
	case Callback:
		return webhook.DeliveryPlace(webhook.DeliveryID(v.ID))
	case Authority:
		return authority.Place(v.ID)
	case HostSecret:
		return host.SecretPlaceOf(v.ID)
	case Answer:
		return idempotency.Place(v.Tenant, v.ID)
	default:
		return "key-check/" + v.ID
	}
}

// MissingKey is a master key that something is sealed with, and that the vault does not have.
type MissingKey struct {
	ID    string
	Seals []Kind
}

// MissingKeys gives the master keys of which no value can be opened, ordered by their ids.
func MissingKeys(v secret.Vault, values []Value) []MissingKey {
	seals, opens := map[string][]Kind{}, map[string]bool{}
	for _, s := range values {
		id := secret.MasterKeyOf(s.Sealed.KeyID)
		if !slices.Contains(seals[id], s.Kind) {
			seals[id] = append(seals[id], s.Kind)
		}
		if v == nil || opens[id] {
			continue
		}
		_, err := v.Open(s.Sealed, s.place())
		opens[id] = err == nil
	}
	var missing []MissingKey
	for _, id := range slices.Sorted(maps.Keys(seals)) {
		if !opens[id] {
			missing = append(missing, MissingKey{ID: id, Seals: seals[id]})
		}
	}
	return missing
}

// checkText is what the check value holds. It is no secret.
const checkText = "berth"

// SealCheck gives the check value of a deployment: by it every process knows how values are
// sealed now, and whether it has the master key, also while nothing else is sealed.
func SealCheck(v secret.Vault, deployment string) (secret.Sealed, error) {
	return v.Seal([]byte(checkText), Value{Kind: Check, ID: deployment}.place())
}
