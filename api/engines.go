package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/tenant"
)

type versionView struct {
	Name    string   `json:"name"`
	Default bool     `json:"default"`
	Modules []string `json:"modules,omitempty" doc:"modules bundled with the public image; loaded if the image has them"`
}

type planView struct {
	Name        string        `json:"name"`
	Description string        `json:"description"`
	Default     bool          `json:"default"`
	Resources   resourcesView `json:"resources"`
}

type limitsView struct {
	Min resourcesView `json:"min"`
	Max resourcesView `json:"max"`
}

type engineView struct {
	Name           string         `json:"name"`
	Title          string         `json:"title"`
	Description    string         `json:"description"`
	Versions       []versionView  `json:"versions"`
	Plans          []planView     `json:"plans"`
	ResourceLimits limitsView     `json:"resource_limits" doc:"limits of explicitly requested resources"`
	Parameters     map[string]any `json:"parameters" doc:"JSON Schema of the parameters"`
}

func viewEngine(e instance.Engine) engineView {
	info := e.Describe()
	v := engineView{
		Name: info.Name, Title: info.Title, Description: info.Description, Parameters: info.ParametersSchema(),
		ResourceLimits: limitsView{Min: viewResources(info.Limits.Min), Max: viewResources(info.Limits.Max)},
	}
	for i, version := range info.Versions {
		v.Versions = append(v.Versions, versionView{Name: version.Name, Default: i == 0, Modules: version.Modules})
	}
	for i, p := range info.Plans {
		v.Plans = append(v.Plans, planView{Name: p.Name, Description: p.Description, Default: i == 0, Resources: viewResources(p.Resources)})
	}
	return v
}

type body[T any] struct{ Body T }

func (s *server) engineRoutes(h huma.API) {
	huma.Register(h, huma.Operation{
		OperationID: "list-engines", Method: http.MethodGet, Path: basePath + "/engines", Tags: []string{"engines"},
		Summary: "List engines with their versions, plans and parameters", Metadata: needs(tenant.Identify),
	}, func(context.Context, *struct{}) (*body[pageView[engineView]], error) {
		return &body[pageView[engineView]]{viewPage(s.Service.Catalog(), "", viewEngine)}, nil
	})
}
