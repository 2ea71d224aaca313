package simulated

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

const scheme = "simulated://"

// settings are what the query of an endpoint says:
//
//	simulated:///FOLDER?latency=20ms&jitter=10ms&ready=50ms&failures=0.01&seed=7
type settings struct {
	latency  time.Duration // of every call
	jitter   time.Duration // more or less than that, evenly
	ready    time.Duration // from the start of an instance until it can be used
	failures float64       // the share of calls that fail; half of them have had their effect
	seed     uint64        // of what is drawn
}

// parse gives the folder of an endpoint, and its settings.
func parse(endpoint string) (dir string, s settings, err error) {
	u, err := url.Parse(endpoint)
	if err != nil || !Is(endpoint) || u.Host != "" || len(u.Path) < 2 {
		return "", s, errors.New("a simulated host is simulated:///FOLDER?latency=&jitter=&ready=&failures=&seed=")
	}
	for name, values := range u.Query() {
		value := values[len(values)-1]
		switch name {
		case "latency":
			s.latency, err = time.ParseDuration(value)
		case "jitter":
			s.jitter, err = time.ParseDuration(value)
		case "ready":
			s.ready, err = time.ParseDuration(value)
		case "failures":
			s.failures, err = strconv.ParseFloat(value, 64)
		case "seed":
			s.seed, err = strconv.ParseUint(value, 10, 64)
		default:
			err = errors.New("is not known")
		}
		if err != nil {
			return "", s, fmt.Errorf("simulated host: %s: %w", name, err)
		}
	}
	if s.latency < 0 || s.jitter < 0 || s.jitter > s.latency || s.ready < 0 || s.failures < 0 || s.failures > 1 {
		return "", s, errors.New("simulated host: times must not be negative, jitter not above latency, failures from 0 to 1")
	}
	return u.Path, s, nil
}

func hostName(prefix string, i int) string { return fmt.Sprintf("%s-%04d", prefix, i+1) }
