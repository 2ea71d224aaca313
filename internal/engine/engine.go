// Package engine holds the kinds of data services that Berth offers: for
// each one its versions, plans and parameters, the files and the command it runs
// with, the proof that it can be used, and how to connect.
//
// Nothing here knows of containers, storage or jobs, and all but Probe, Look, Adopt
// and NewKeys is pure. To add an engine: write one file with a type that implements instance.Engine,
// and name it in Catalog.
package engine

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
)

// Config says where the images come from. A template may hold "{version}"
// ("registry.example/mysql:{version}"); without it, it is used as it is. An empty
// one means the public image, and Berth's stand-in for it.
type Config struct {
	MySQLImage string
	RedisImage string
	// NoGolden has every instance initialise its data by itself.
	NoGolden bool
}

// Catalog is the list of all engines.
func Catalog(c Config) instance.Catalog {
	return instance.Catalog{
		newMySQL(c.MySQLImage, c.NoGolden),
		newRedis(c.RedisImage),
	}
}

const (
	kiB = int64(1) << 10
	miB = int64(1) << 20
	giB = int64(1) << 30
)

// serverUser is who the servers run as: the uid that the public images of MySQL and
// Redis give theirs.
const serverUser = "999:999"

// passwordLength gives 190 bits of [A-Za-z0-9].
const passwordLength = 32

// versions gives the named versions with their images, the preferred first.
func versions(engine, imageTemplate string, names ...string) []instance.Version {
	list := make([]instance.Version, len(names))
	for i, name := range names {
		images := public(engine, name)
		if imageTemplate != "" {
			images = []string{strings.ReplaceAll(imageTemplate, "{version}", name)}
		}
		list[i] = instance.Version{Name: name, Images: images}
	}
	return list
}

// public are the images that everybody gets: the makers' own, and Berth's stand-in for it.
func public(engine, version string) []string {
	return []string{engine + ":" + version, "berth/" + engine + ":" + version}
}

// workload gives what is the same for every engine.
func workload(info instance.EngineInfo, inst instance.Instance) (host.Workload, error) {
	version, ok := info.Version(inst.Spec.Version)
	if !ok {
		return host.Workload{}, fault.Errorf(fault.CodeInvalid, nil, "%s has no version %q", info.Name, inst.Spec.Version)
	}
	return host.Workload{
		Unit: host.UnitID(inst.ID), Tenant: inst.Tenant, Engine: info.Name, Fence: inst.Fence,
		Image: version.Images[0], User: serverUser, Resources: inst.Spec.Resources,
		UserOwnsData: slices.Equal(version.Images, public(info.Name, version.Name)), // serverUser is who does there
	}, nil
}

// overlay gives the defaults with what was given in their place.
func overlay(defaults, given instance.Parameters) instance.Parameters {
	for name, value := range given {
		defaults[name] = value
	}
	return defaults
}

// withDefaults gives the parameters with what the smallest plan gets.
func withDefaults(list []instance.Parameter, values instance.Parameters) []instance.Parameter {
	for i := range list {
		list[i].Default = values[list[i].Name]
	}
	return list
}

// memory writes an amount of memory for people.
func memory(n int64) string {
	if n%giB == 0 {
		return fmt.Sprintf("%d GiB", n/giB)
	}
	return fmt.Sprintf("%d MiB", n/miB)
}

// hostPort is where tenants connect to.
func hostPort(inst instance.Instance) string {
	return net.JoinHostPort(inst.Status.Address, strconv.Itoa(inst.Status.Port))
}

// plain is what passwords and names must consist of where they are written into a
// file that a server reads: nothing that could end a quotation.
var plain = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

func checkPlain(what, value string) error {
	if !plain.MatchString(value) {
		return fault.Errorf(fault.CodeInternal, nil, "the %s has characters other than A-Z, a-z, 0-9 and _", what)
	}
	return nil
}

// parse compiles a template that is part of the program.
func parse(name, text string) *template.Template {
	return template.Must(template.New(name).Option("missingkey=error").Funcs(template.FuncMap{
		"size": size,
		"onoff": func(on bool) string {
			if on {
				return "ON"
			}
			return "OFF"
		},
	}).Parse(text))
}

func render(t *template.Template, data any) (string, error) {
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return "", fmt.Errorf("render %s: %w", t.Name(), err)
	}
	return b.String(), nil
}

// size writes bytes as people write them, without losing any: 128M, 1G, 1000.
func size(n int64) string {
	switch {
	case n > 0 && n%giB == 0:
		return strconv.FormatInt(n/giB, 10) + "G"
	case n > 0 && n%miB == 0:
		return strconv.FormatInt(n/miB, 10) + "M"
	case n > 0 && n%kiB == 0:
		return strconv.FormatInt(n/kiB, 10) + "K"
	default:
		return strconv.FormatInt(n, 10)
	}
}

// warmName is the user, and the database, of a server that was started for nobody.
const warmName = "berth_warm"

func warm(inst instance.Instance) bool { return inst.Stock() }

func clamp(n, low, high int64) int64 { return max(low, min(n, high)) }
