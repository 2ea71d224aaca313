package host

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

// Place is a region, or a zone of one.
type Place struct {
	Region    string
	Zone      string // empty: it is the region itself
	Name      string // for people
	CreatedAt time.Time
}

// AddPlace adds a region with zones, or zones to one. What is there already stays.
func (s *Service) AddPlace(ctx context.Context, p tenant.Principal, region, name string, zones []string) ([]Place, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return nil, err
	}
	if wrong := checkPlaces(region, zones); wrong != nil {
		return nil, fault.Invalid(wrong)
	}
	err = s.cfg.Store.Tx(ctx, func(tx Tx) error {
		now := s.cfg.Now()
		if err := tx.PutPlace(Place{Region: region, Name: name, CreatedAt: now}); err != nil {
			return err
		}
		for _, zone := range zones {
			if err := tx.PutPlace(Place{Region: region, Zone: zone, CreatedAt: now}); err != nil {
				return err
			}
		}
		return s.note(tx, p, tenant.Deed{Action: tenant.ActRegionAdd, Tenant: tenant.Pool, On: region, Detail: "region " + region + ", zones " + strings.Join(zones, ", ")})
	})
	if err != nil {
		return nil, err
	}
	all, err := s.cfg.Store.Places(ctx)
	return slices.DeleteFunc(all, func(p Place) bool { return p.Region != region }), err
}

func checkPlaces(region string, zones []string) []fault.FieldError {
	var wrong []fault.FieldError
	if !placePattern.MatchString(region) {
		wrong = append(wrong, fault.FieldError{Field: "region", Message: placeMessage})
	}
	if len(zones) > maxZones {
		wrong = append(wrong, fault.FieldError{Field: "zones", Message: "must be at most 100"})
	}
	for _, zone := range zones {
		if !placePattern.MatchString(zone) {
			wrong = append(wrong, fault.FieldError{Field: "zones", Message: placeMessage})
			break
		}
	}
	return wrong
}

const (
	maxZones     = 100
	placeMessage = "must be 1 to 63 characters of A-Z, a-z, 0-9, ., _ and -"
)

// Places gives the regions and their zones, in their order.
func (s *Service) Places(ctx context.Context, p tenant.Principal) ([]Place, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return nil, err
	}
	return s.cfg.Store.Places(ctx)
}
