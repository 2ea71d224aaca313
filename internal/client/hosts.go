package client

import (
	"bytes"
	"context"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// HostFilter narrows a list of hosts.
type HostFilter struct {
	State, Health      string
	Region, Zone, Rack string
	Name               string
	Labels             []string // "name=value"; a host must have them all
	Limit              int      // at most so many; 0: as the server likes
	Cursor             string
}

func (f HostFilter) query() url.Values {
	q := pageQuery(f.Limit, f.Cursor)
	for _, pair := range [][2]string{
		{"state", f.State}, {"health", f.Health}, {"region", f.Region}, {"zone", f.Zone}, {"rack", f.Rack}, {"name",
			f.Name},
	} {
		set(q, pair[0], pair[1])
	}
	for _, l := range f.Labels {
		q.Add("label", l)
	}
	return q
}

// hostPath names a host, and what is below it.
func hostPath(id string, below ...string) []string { return append([]string{"hosts", id}, below...) }

// Hosts gives one page of hosts.
func (c *Client) Hosts(ctx context.Context, f HostFilter) (Page[Host], error) {
	var out Page[Host]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"hosts"}, query: f.query()}, &out)
	return out, err
}

// Host gives one host by its id.
func (c *Client) Host(ctx context.Context, id string) (Host, error) {
	var out Host
	err := c.do(ctx, call{method: http.MethodGet, path: hostPath(id)}, &out)
	return out, err
}

// FindHost gives a host by its id or its name. Names hold no underscore, which ids do.
func (c *Client) FindHost(ctx context.Context, nameOrID string) (Host, error) {
	if strings.HasPrefix(nameOrID, "hst_") {
		return c.Host(ctx, nameOrID)
	}
	if nameOrID != "" {
		page, err := c.Hosts(ctx, HostFilter{Name: nameOrID})
		if err != nil {
			return Host{}, err
		}
		for _, h := range page.Items {
			if h.Name == nameOrID {
				return c.Host(ctx, h.ID) // which says the job that is at it, too
			}
		}
	}
	return Host{}, &Problem{
		Status: http.StatusNotFound, Code: CodeNotFound, RetryAfter: -1,
		Detail: fmt.Sprintf("there is no host named %q", nameOrID),
	}
}

// ImportOptions say how machines become hosts.
type ImportOptions struct {
	DryRun, SkipInit, Reserved, IgnoreWarnings bool
	Prepare                                    []string
}

func (o ImportOptions) query() url.Values {
	q := url.Values{}
	for name, on := range map[string]bool{
		"dry_run": o.DryRun, "skip_init": o.SkipInit, "reserved": o.Reserved, "ignore_warnings": o.IgnoreWarnings,
	} {
		if on {
			q.Set(name, "true")
		}
	}
	set(q, "prepare", strings.Join(o.Prepare, ","))
	return q
}

// AddHost has one machine imported.
func (c *Client) AddHost(ctx context.Context, idempotencyKey string, in HostRequest, o ImportOptions) (Imported,
	error) {
	var out Imported
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"hosts"}, query: o.query(), body: in,
		idempotencyKey: idempotencyKey}, &out)
	return out, err
}

// ImportHosts has the machines of a file imported, all or none: CSV, a workbook, or a JSON array
// where the name ends in .json.
func (c *Client) ImportHosts(ctx context.Context, idempotencyKey, name string, data []byte,
	o ImportOptions) (Imported, error) {
	in := call{
		method: http.MethodPost, path: []string{"hosts", "import"}, query: o.query(), idempotencyKey: idempotencyKey,
		sent: data, mediaType: "application/json",
	}
	if !strings.EqualFold(path.Ext(name), ".json") {
		// As a form, so that messages name the file.
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		part, err := w.CreateFormFile("file", name)
		if err == nil {
			_, err = part.Write(data)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return Imported{}, fmt.Errorf("write the form: %w", err)
		}
		in.sent, in.mediaType = form.Bytes(), w.FormDataContentType()
	}
	var out Imported
	err := c.do(ctx, in, &out)
	return out, err
}

// HostTemplate gives the empty file to import hosts from: "csv" or "xlsx".
func (c *Client) HostTemplate(ctx context.Context, format string) ([]byte, error) {
	var out []byte
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"hosts", "template." + format}}, &out)
	return out, err
}

// TakeOverHost has a machine imported that has instances of the deployment already.
func (c *Client) TakeOverHost(ctx context.Context, in HostRequest) (HostAccepted, error) {
	var out HostAccepted
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"hosts", "takeover"}, body: in, once: true}, &out)
	return out, err
}

// CordonHost has nothing placed on a host any more, or ends that.
func (c *Client) CordonHost(ctx context.Context, id string, cordoned bool) (Host, error) {
	what := "uncordon"
	if cordoned {
		what = "cordon"
	}
	var out Host
	err := c.do(ctx, call{method: http.MethodPost, path: hostPath(id, what)}, &out)
	return out, err
}

// ReserveHosts reserves hosts, or ends that.
func (c *Client) ReserveHosts(ctx context.Context, ids []string, reserved bool) (Page[Host], error) {
	var out Page[Host]
	err := c.do(ctx, call{
		method: http.MethodPut, path: []string{"hosts", "reserved"}, body: map[string]any{"hosts": ids, "reserved": reserved},
	}, &out)
	return out, err
}

// DrainHost has moved away from a host what can be moved.
func (c *Client) DrainHost(ctx context.Context, id string) (Job, error) {
	return c.hostJob(ctx, call{method: http.MethodPost, path: hostPath(id, "drain")})
}

// InspectHost has a host looked at.
func (c *Client) InspectHost(ctx context.Context, id string) (Job, error) {
	return c.hostJob(ctx, call{method: http.MethodPost, path: hostPath(id, "inspect")})
}

// DeleteHost takes a host out of the pool; by force whatever is on it.
func (c *Client) DeleteHost(ctx context.Context, id string, force bool) (Job, error) {
	in := call{method: http.MethodDelete, path: hostPath(id)}
	if force {
		in.query = url.Values{"force": {"true"}}
	}
	return c.hostJob(ctx, in)
}

func (c *Client) hostJob(ctx context.Context, in call) (Job, error) {
	var out Job
	err := c.do(ctx, in, &out)
	return out, err
}

// ChangeHost changes a host.
func (c *Client) ChangeHost(ctx context.Context, id string, in HostChange) (Host, error) {
	var out Host
	err := c.do(ctx, call{method: http.MethodPatch, path: hostPath(id), body: in}, &out)
	return out, err
}

// HostInstances gives what is on a host, by pages: the cursor is the last id of the page before.
func (c *Client) HostInstances(ctx context.Context, id string, limit int, after string) (Page[OnHost], error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	set(q, "after", after)
	var out struct {
		Items     []OnHost `json:"items"`
		NextAfter string   `json:"next_after"`
	}
	err := c.do(ctx, call{method: http.MethodGet, path: hostPath(id, "instances"), query: q}, &out)
	return Page[OnHost]{Items: out.Items, NextCursor: out.NextAfter}, err
}

// AddDisk adds a disk to a host.
func (c *Client) AddDisk(ctx context.Context, host string, in DiskRequest) (HostDisk, error) {
	var out HostDisk
	err := c.do(ctx, call{method: http.MethodPost, path: hostPath(host, "disks"), body: in, once: true}, &out)
	return out, err
}

// ChangeDisk changes a disk.
func (c *Client) ChangeDisk(ctx context.Context, host, disk string, in DiskChange) (HostDisk, error) {
	var out HostDisk
	err := c.do(ctx, call{method: http.MethodPatch, path: hostPath(host, "disks", disk), body: in}, &out)
	return out, err
}

// RemoveDisk takes a disk from a host that nothing is on.
func (c *Client) RemoveDisk(ctx context.Context, host, disk string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: hostPath(host, "disks", disk)}, nil)
}

// Hierarchy gives the pool as a tree: from the level on (1 regions to 4 hosts), so many levels.
func (c *Client) Hierarchy(ctx context.Context, level, depth int) (Page[Branch], error) {
	q := url.Values{"level": {strconv.Itoa(level)}, "depth": {strconv.Itoa(depth)}}
	var out Page[Branch]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"hosts", "hierarchy"}, query: q}, &out)
	return out, err
}

// Stocks gives what is free, by region, zone, rack or host.
func (c *Client) Stocks(ctx context.Context, by string) (Page[Stock], error) {
	var out Page[Stock]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"hosts", "stocks"},
		query: url.Values{"group_by": {by}}}, &out)
	return out, err
}

// TryPlacement gives the hosts that instances would be on; nothing is placed.
func (c *Client) TryPlacement(ctx context.Context, in TryRequest) (Tried, error) {
	var out Tried
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"hosts", "placement"}, body: in}, &out)
	return out, err
}

// Regions lists the regions with their zones.
func (c *Client) Regions(ctx context.Context) (Page[Region], error) {
	var out Page[Region]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"regions"}}, &out)
	return out, err
}

// Swarms lists the swarms with their nodes.
func (c *Client) Swarms(ctx context.Context) (Page[Swarm], error) {
	var out Page[Swarm]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"swarms"}}, &out)
	return out, err
}

// Swarm gives one swarm with its nodes.
func (c *Client) Swarm(ctx context.Context, name string) (Swarm, error) {
	var out Swarm
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"swarms", name}}, &out)
	return out, err
}

// AddSwarm has the nodes of a swarm become hosts by themselves.
func (c *Client) AddSwarm(ctx context.Context, in SwarmRequest) (Swarm, error) {
	var out Swarm
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"swarms"}, body: in, once: true}, &out)
	return out, err
}

// RemoveSwarm forgets a swarm; its nodes that are hosts stay hosts.
func (c *Client) RemoveSwarm(ctx context.Context, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"swarms", name}}, nil)
}

// AddRegion adds a region with zones, or zones to one.
func (c *Client) AddRegion(ctx context.Context, in Region) (Page[Region], error) {
	var out Page[Region]
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"regions"}, body: in}, &out)
	return out, err
}
