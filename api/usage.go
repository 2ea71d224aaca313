package api

import (
	"context"
	"encoding/json"
	"math"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

func (s *server) quotaRoutes(h huma.API) {
	op := operations("quotas", basePath)
	huma.Register(h, op("get-usage", http.MethodGet, "/usage", "Get what the tenant uses of its quota", tenant.Manage, 200, 404), s.getUsage)
	huma.Register(h, op("get-quota", http.MethodGet, "/tenants/{id}/quota", "Get the limits that were set for a tenant", tenant.Manage, 200, 404), s.getQuota)
	huma.Register(h, op("set-quota", http.MethodPut, "/tenants/{id}/quota", "Set the limits of a tenant", tenant.Operate, 200, 404, 422, 503), s.setQuota)
}

type usageView struct {
	TenantID    tenant.ID `json:"tenant_id"`
	Instances   countUse  `json:"instances"`
	CPU         coresUse  `json:"cpu"`
	Memory      countUse  `json:"memory" doc:"bytes"`
	Disk        countUse  `json:"disk" doc:"bytes"`
	Ports       countUse  `json:"ports"`
	JobsPerHour countUse  `json:"jobs_per_hour" doc:"creates that were accepted in the last hour"`
}

type countUse struct {
	Used  int64  `json:"used"`
	Limit *int64 `json:"limit,omitempty" doc:"absent: there is none"`
}

type coresUse struct {
	Used  float64  `json:"used" doc:"cores"`
	Limit *float64 `json:"limit,omitempty" doc:"absent: there is none"`
}

func viewUsage(u tenant.Usage) usageView {
	count := func(m tenant.Measure) countUse {
		use := countUse{Used: u.Held[m]}
		if limit, ok := u.Limits[m]; ok {
			use.Limit = &limit
		}
		return use
	}
	cpu := coresUse{Used: cores(u.Held[tenant.CPU])}
	if limit, ok := u.Limits[tenant.CPU]; ok {
		limit := cores(limit)
		cpu.Limit = &limit
	}
	return usageView{
		TenantID: u.Tenant, Instances: count(tenant.Instances), CPU: cpu, Memory: count(tenant.Memory), Disk: count(tenant.Disk),
		Ports: count(tenant.Ports), JobsPerHour: count(tenant.JobsPerHour),
	}
}

func cores(millis int64) float64 { return float64(millis) / 1000 }

func (s *server) getUsage(ctx context.Context, _ *struct{}) (*body[usageView], error) {
	u, err := s.Quotas.Usage(ctx, principalOf(ctx))
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[usageView]{viewUsage(u)}, nil
}

// limitBytes is a number of bytes as bytesValue takes it, or -1.
type limitBytes struct{ bytesValue }

// UnmarshalJSON implements json.Unmarshaler.
func (b *limitBytes) UnmarshalJSON(data []byte) error {
	if string(data) == "-1" {
		b.n = tenant.Unlimited
		return nil
	}
	return b.bytesValue.UnmarshalJSON(data)
}

// MarshalJSON implements json.Marshaler.
func (b limitBytes) MarshalJSON() ([]byte, error) { return json.Marshal(b.n) }

// Schema implements huma.SchemaProvider.
func (limitBytes) Schema(r huma.Registry) *huma.Schema {
	s := bytesValue{}.Schema(r)
	lowest := float64(tenant.Unlimited)
	s.OneOf[0].Minimum, s.Description = &lowest, s.Description+"; -1: no limit; absent: the default"
	return s
}

// quotaBody has the limits that a tenant has of its own.
type quotaBody struct {
	Instances   *int64      `json:"instances,omitempty" doc:"instances; -1: no limit; absent: the default"`
	CPU         *float64    `json:"cpu,omitempty" doc:"cores; -1: no limit; absent: the default"`
	Memory      *limitBytes `json:"memory,omitempty"`
	Disk        *limitBytes `json:"disk,omitempty"`
	Ports       *int64      `json:"ports,omitempty" doc:"published ports; -1: no limit; absent: the default"`
	JobsPerHour *int64      `json:"jobs_per_hour,omitempty" doc:"creates accepted within an hour; -1: no limit; absent: the default"`
}

func (b quotaBody) limits() tenant.Amounts {
	limits := tenant.Amounts{}
	for m, limit := range map[tenant.Measure]*int64{tenant.Instances: b.Instances, tenant.Ports: b.Ports, tenant.JobsPerHour: b.JobsPerHour} {
		if limit != nil {
			limits[m] = *limit
		}
	}
	for m, limit := range map[tenant.Measure]*limitBytes{tenant.Memory: b.Memory, tenant.Disk: b.Disk} {
		if limit != nil {
			limits[m] = limit.n
		}
	}
	switch {
	case b.CPU == nil:
	case *b.CPU == tenant.Unlimited:
		limits[tenant.CPU] = tenant.Unlimited
	case *b.CPU < 0:
		limits[tenant.CPU] = math.MinInt64
	default:
		limits[tenant.CPU] = int64(math.Round(min(*b.CPU, 1e15) * 1000))
	}
	return limits
}

func viewQuota(own tenant.Amounts) quotaBody {
	count := func(m tenant.Measure) *int64 {
		if limit, ok := own[m]; ok {
			return &limit
		}
		return nil
	}
	size := func(m tenant.Measure) *limitBytes {
		if limit, ok := own[m]; ok {
			return &limitBytes{bytesValue{limit}}
		}
		return nil
	}
	v := quotaBody{
		Instances: count(tenant.Instances), Memory: size(tenant.Memory), Disk: size(tenant.Disk), Ports: count(tenant.Ports), JobsPerHour: count(tenant.JobsPerHour),
	}
	if limit, ok := own[tenant.CPU]; ok {
		n := cores(limit)
		if limit == tenant.Unlimited {
			n = tenant.Unlimited
		}
		v.CPU = &n
	}
	return v
}

func (s *server) quotaAnswer(q tenant.Quota, err error) (*body[quotaBody], error) {
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[quotaBody]{viewQuota(q.Own)}, nil
}

func (s *server) getQuota(ctx context.Context, in *TenantPath) (*body[quotaBody], error) {
	return s.quotaAnswer(s.Quotas.Quota(ctx, principalOf(ctx), in.id()))
}

func (s *server) setQuota(ctx context.Context, in *struct {
	TenantPath
	Body quotaBody
},
) (*body[quotaBody], error) {
	return s.quotaAnswer(s.Quotas.SetQuota(ctx, principalOf(ctx), in.id(), in.Body.limits()))
}

// problemQuota is the limit that a request would exceed.
type problemQuota struct {
	Name  string  `json:"name" doc:"what is limited, for example instances"`
	Limit float64 `json:"limit" doc:"cores or bytes where it is cpu, memory or disk"`
	Used  float64 `json:"used"`
	Asked float64 `json:"asked" doc:"what the request takes"`
}

func viewProblemQuota(q *fault.Quota) *problemQuota {
	if q == nil {
		return nil
	}
	unit := 1.0
	if q.Name == string(tenant.CPU) {
		unit = 1000
	}
	return &problemQuota{Name: q.Name, Limit: float64(q.Limit) / unit, Used: float64(q.Used) / unit, Asked: float64(q.Asked) / unit}
}
