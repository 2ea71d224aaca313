package queue

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/hibiken/asynq"

	"github.com/berth-project/berth/internal/id"
)

// FuzzDecode: whatever is in Redis is a task about something that a database may be asked
// for, or not tried again.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{`{"id":"job_1","generation":3}`, `{"id":"job_1","generation":3,"later":true}`, "", "{}", "null", `{"id":""}`, `{"id":3}`, `{"id":"a b"}`, `{"id":"\u0000"}`, `{"id":"' OR 1"}`, "[", "\xff"} {
		f.Add([]byte(text), "job_01J9ZQ4T8E4W2Y6N0G5R7K3M1C", int64(1))
	}
	f.Fuzz(func(t *testing.T, text []byte, of string, generation int64) {
		got, err := Decode(asynq.NewTask("creates", text))
		if err != nil && (!errors.Is(err, asynq.SkipRetry) || got != "") || err == nil && (got == "" || !id.WellFormed(got)) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		if of == "" || !id.WellFormed(of) {
			return
		}
		body, err := json.Marshal(payload{of, generation})
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Decode(asynq.NewTask("creates", body)); err != nil || back != of {
			t.Errorf("%s is read as %q, %v", body, back, err)
		}
	})
}
