package chaos

import (
	"path/filepath"

	"github.com/berth-project/berth/internal/testenv"
)

// shape is a way of running Berth.
type shape struct {
	name    string
	api     string // what serves the API: "api" or "dev"
	workers int    // processes beside it
	mysql   bool   // the metadata are in MySQL, else in SQLite
	// ownEngine says that its instances, of Redis only, are on a Docker engine of its own,
	// which can be restarted.
	ownEngine bool
	// hosts is how many hosts of the pool its instances, of Redis only, are on; 0: they are on the
	// workers' own.
	hosts int
	// warm is what waits for creates.
	warm string
}

// redisOnly says that what its instances are on has no image of MySQL.
func (sh shape) redisOnly() bool { return sh.ownEngine || sh.hosts > 0 }

var (
	// production is what docker-compose.yml runs.
	production = shape{name: "mysql", api: "api", workers: 3, mysql: true}
	// oneFile is several processes on one SQLite file.
	oneFile = shape{name: "sqlite", api: "api", workers: 2}
	// alone is one process with its Redis in it.
	alone = shape{name: "dev", api: "dev"}
	// ashore has a Docker engine that comes and goes.
	ashore = shape{name: "engine", api: "api", workers: 2, ownEngine: true}
	// pooled gives creates what was started before.
	pooled = shape{name: "warm", api: "api", workers: 2, warm: "redis:small=3"}
	// spread has a pool of hosts, which come and go one by one.
	spread = shape{name: "hosts", api: "api", workers: 2, mysql: true, hosts: 2}
)

var shapes = []shape{production, oneFile, alone, ashore, pooled, spread}

// openDatabase gives the world its database and the setting that names it.
func (w *world) openDatabase() string {
	w.Helper()
	if !w.shape.mysql {
		url := "sqlite://" + filepath.Join(w.TempDir(), "berth.db")
		w.databaseURL = url
		return url
	}
	w.databaseServer = testenv.OwnMySQL(w.T)
	w.databaseURL = w.databaseServer.URL
	var url string
	url, w.database = testenv.NewProxy(w.T, w.databaseURL)
	return url
}

// openRedis gives the world its Redis and the setting that names it.
func (w *world) openRedis() string {
	w.Helper()
	if w.shape == alone {
		return "embedded"
	}
	w.redisServer = testenv.OwnRedis(w.T)
	var url string
	url, w.redis = testenv.NewProxy(w.T, w.redisServer.URL)
	return url
}
