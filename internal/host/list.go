package host

import (
	"context"

	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

// Hosts returns a page of hosts, newest first, and the cursor of the next page.
func (s *Service) Hosts(ctx context.Context, p tenant.Principal, f Filter, list page.Page) ([]View, string, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return nil, "", err
	}
	return page.Fetch(ctx, page.List{Prefix: Prefix, Filter: f}, list, func(ctx context.Context, list page.Page) ([]View, error) {
		all, err := s.selected(ctx, f)
		if err != nil {
			return nil, err
		}
		from := 0
		for list.Before != "" && from < len(all) && string(all[from].ID) >= list.Before {
			from++
		}
		return all[from:min(len(all), from+list.Limit)], nil
	}, func(v View) string { return string(v.ID) })
}
