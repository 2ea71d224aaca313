package clients

import "testing"

// TestDrivers has Node's drivers, object mappers and a job queue connect by the `uri` of
// an instance's config, and do an application's work as its tenant.
func TestDrivers(t *testing.T) {
	js, s := node(t), startDev(t)
	for engine, programs := range map[string][]string{
		"redis": {"ioredis", "node-redis", "bullmq"},
		"mysql": {"mysql2", "sequelize", "knex"},
	} {
		conn := s.instance(t, engine)
		for _, program := range programs {
			t.Run(program, func(t *testing.T) {
				run(t, js, []string{"CLIENT_URI=" + conn.URI}, "node", "drivers/"+program+".mjs")
			})
		}
	}
}
