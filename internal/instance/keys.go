package instance

import (
	"maps"
	"slices"

	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// SealedKind says what a sealed value is; its text is for people.
type SealedKind string

// What is sealed in the database.
const (
	SealedCredentials SealedKind = "credentials"
	SealedWebhook     SealedKind = "webhook secrets"
	SealedDelivery    SealedKind = "callback secrets"
	SealedAnswer      SealedKind = "stored answers"
	SealedKeyCheck    SealedKind = "the check value of the master key"
)

// SealedSample is one of the values of a kind that one key has sealed.
type SealedSample struct {
	Kind   SealedKind
	Tenant tenant.ID // of a stored answer
	ID     string    // of what it belongs to; of a stored answer its idempotency key
	Sealed secret.Sealed
}

func (s SealedSample) context() string {
	switch s.Kind {
	case SealedCredentials:
		return credentialsContext(ID(s.ID))
	case SealedWebhook:
		return webhook.Place(webhook.ID(s.ID))
	case SealedDelivery:
		return webhook.DeliveryPlace(webhook.DeliveryID(s.ID))
	case SealedAnswer:
		return idempotency.Place(s.Tenant, s.ID)
	default:
		return keyCheckContext(s.ID)
	}
}

// MissingKey is a key that something is sealed with, and that the vault does not have.
type MissingKey struct {
	ID    string
	Seals []SealedKind
}

// MissingKeys gives the keys of which no sample can be opened, ordered by their ids.
func MissingKeys(v secret.Vault, samples []SealedSample) []MissingKey {
	seals, opens := map[string][]SealedKind{}, map[string]bool{}
	for _, s := range samples {
		id := s.Sealed.KeyID
		if !slices.Contains(seals[id], s.Kind) {
			seals[id] = append(seals[id], s.Kind)
		}
		if v == nil || opens[id] {
			continue
		}
		_, err := v.Open(s.Sealed, s.context())
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

// keyCheckText is what the check value holds. It is no secret.
const keyCheckText = "berth"

func keyCheckContext(deployment string) string { return "key-check/" + deployment }

// SealKeyCheck gives the value by which a later start knows whether it has the master
// key of this deployment, also while nothing else is sealed.
func SealKeyCheck(v secret.Vault, deployment string) (secret.Sealed, error) {
	return v.Seal([]byte(keyCheckText), keyCheckContext(deployment))
}
