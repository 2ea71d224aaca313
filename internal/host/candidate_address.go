package host

import (
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// sshPort is where SSH listens when nothing else is said.
const sshPort = "22"

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

var domainLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$`)

// validAddress reports whether an address is an IP address that one machine can have, or a
// host name.
func validAddress(address string) bool {
	if ip, err := netip.ParseAddr(address); err == nil {
		return ip.Zone() == "" && !ip.IsUnspecified() && !ip.IsMulticast() && ip != broadcast
	}
	return validHostName(address)
}

// validHostName reports whether a text is a host name (RFC 1123). Its last label is not a
// number: 10.0.0.256 and 0x7f.1 are mistyped addresses, and resolvers take some for addresses.
func validHostName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if !domainLabel.MatchString(label) {
			return false
		}
	}
	last := strings.ToLower(labels[len(labels)-1])
	if digits, hex := strings.CutPrefix(last, "0x"); hex && strings.Trim(digits, "0123456789abcdef") == "" {
		return false
	}
	return len(name) <= 253 && strings.Trim(last, "0123456789") != ""
}

// validPort reports whether a text is a port as people write it: 1 to 65535.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && port[0] != '0'
}

// defaultEndpoint is the endpoint of a candidate that declares none.
func (c Candidate) defaultEndpoint() string { return SSHEndpoint(c.User, c.Address, sshPort) }

// SSHEndpoint gives the endpoint of an engine that is reached by SSH.
func SSHEndpoint(user, address, port string) string {
	u := url.URL{Scheme: "ssh", Host: net.JoinHostPort(address, port)}
	if user != "" {
		u.User = url.User(user)
	}
	return u.String()
}

// SplitAddress splits what is written as one: "10.0.0.7:2222", "db.example:2222" or
// "[fd00::7]:2222". The port is empty where there is none. It reports whether the port can be one.
func SplitAddress(text string) (address, port string, ok bool) {
	bracketed := strings.HasPrefix(text, "[")
	if inner, whole := strings.CutSuffix(text, "]"); bracketed && whole {
		return inner[1:], "", true
	}
	if !bracketed && strings.Count(text, ":") != 1 {
		return text, "", true // a name, an address of IPv4, or one of IPv6 without a port
	}
	address, port, err := net.SplitHostPort(text)
	return address, port, err == nil && validPort(port)
}

var nodePattern = regexp.MustCompile(`^[a-z0-9]{1,64}$`)

// validNode reports whether a text names the managers of a swarm, and one of its nodes.
func validNode(text string) bool {
	query, err := parseSwarm(text)
	return err == nil && nodePattern.MatchString(query.Get("node"))
}

// checkEndpoint adds what is wrong with the endpoint, and whether nobody is named to log in.
func (c Candidate) checkEndpoint(f *findings) {
	if c.Endpoint == "" {
		f.require(c.User != "", "user", "is required: Berth logs in by SSH where no endpoint is given")
		return
	}
	if rest, swarm := strings.CutPrefix(c.Endpoint, swarmScheme); swarm {
		f.require(len(c.Endpoint) <= maxEndpoint && validNode(rest), "endpoint", "must be swarm://MANAGER:PORT,MANAGER:PORT?node=ID[&data=/PATH]")
		return
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || len(c.Endpoint) > maxEndpoint {
		f.add("endpoint", "must be ssh://USER@HOST:PORT, tcp://HOST:PORT, unix:///PATH or swarm://HOST:PORT")
		return
	}
	if _, has := u.User.Password(); has {
		f.add("endpoint", "must not hold a password")
		return
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(c.Endpoint, "#") || u.Opaque != "" {
		f.add("endpoint", "must not have a query or a fragment")
		return
	}
	switch u.Scheme {
	case "ssh":
		c.checkSSH(f, u)
	case "tcp":
		f.require(u.User == nil && u.Path == "" && validAddress(u.Hostname()) && validPort(u.Port()), "endpoint", "must be tcp://HOST:PORT")
	case "unix":
		f.require(u.User == nil && u.Host == "" && path.IsAbs(u.Path) && path.Clean(u.Path) == u.Path &&
			u.Path != "/" && validLine(u.Path),
			"endpoint", "must be unix:///PATH with a clean path")
	default:
		f.add("endpoint", "must begin with ssh://, tcp://, unix:// or swarm://")
	}
}

func (c Candidate) checkSSH(f *findings, u *url.URL) {
	noPort := u.Port() == "" && !strings.HasSuffix(u.Host, ":")
	f.require(u.Path == "" && validAddress(u.Hostname()) && (noPort || validPort(u.Port())), "endpoint",
		"must be ssh://USER@HOST:PORT")
	named := u.User.Username()
	switch {
	case named == "" && c.User == "":
		f.add("user", "is required: neither it nor the endpoint says who logs in by SSH")
	case named == "" || c.User == named:
	case c.User != "":
		f.add("endpoint", "names another user than user does")
	default:
		f.require(userPattern.MatchString(named), "endpoint",
			"must name a user of 1 to 32 characters of A-Z, a-z, 0-9, _, . and -")
	}
}

// canonicalAddress gives one text for all ways to write an address.
func canonicalAddress(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(address, "."))
}

// place gives which machine the candidate is, as far as its endpoint says: what it is reached
// by, and by SSH its address with the port. Empty: it says nothing that can be compared.
func (c Candidate) place() (endpoint, address string) {
	written := c.Endpoint
	if written == "" && c.Address != "" {
		written = c.defaultEndpoint()
	}
	if strings.HasPrefix(written, swarmScheme) { // whose nodes differ by the query alone
		node, _ := nodeOf(written)
		return "swarm " + node, ""
	}
	u, err := url.Parse(written)
	if err != nil || (u.Host == "" && u.Scheme != "unix") {
		return "", ""
	}
	switch u.Scheme {
	case "unix":
		return "unix " + u.Path, ""
	case "ssh":
		port := u.Port()
		if port == "" {
			port = sshPort
		}
		if c.Address != "" {
			address = net.JoinHostPort(canonicalAddress(c.Address), port)
		}
		return "ssh " + net.JoinHostPort(canonicalAddress(u.Hostname()), port), address
	default:
		return u.Scheme + " " + net.JoinHostPort(canonicalAddress(u.Hostname()), u.Port()), ""
	}
}
