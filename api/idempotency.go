package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/idempotency"
)

const (
	idempotencyHeader = "Idempotency-Key"
	// replayedHeader marks the answer to a request that was answered before.
	replayedHeader = "Idempotency-Replayed"
)

// idempotencyKey gives the key of a request. The draft has it as a quoted string of
// RFC 8941 (draft-ietf-httpapi-idempotency-key-header), most clients send it bare: both
// are the same key. Otherwise it says what is wrong.
func idempotencyKey(values []string) (key, wrong string) {
	if len(values) != 1 {
		return "", "must be given once"
	}
	key = strings.TrimSpace(values[0])
	if quoted, ok := strings.CutPrefix(key, `"`); ok {
		if key, ok = unquote(quoted); !ok {
			return "", `a key that begins with a quote must end with one; within, only \" and \\ are escapes`
		}
	}
	if key == "" {
		return "", "must not be empty; leave it out to have none"
	}
	return key, ""
}

// unquote reads a string of RFC 8941 behind its first quote.
func unquote(text string) (string, bool) {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			return out.String(), i == len(text)-1
		case '\\':
			if i++; i == len(text) || text[i] != '"' && text[i] != '\\' {
				return "", false
			}
		}
		out.WriteByte(text[i])
	}
	return "", false
}

// KeyInput is the key of a request that makes something.
type KeyInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"makes the request safe to retry: repeated with the same key it has no second effect, and the response has Idempotency-Replayed: true"`
}

// keyed gives what makes a request with a key safe to repeat; nil where it has none. While
// the first request with the key is being answered, another one is told to come back;
// done says that it has been.
func (s *server) keyed(ctx context.Context, key, operation string, raw []byte) (idem *idempotency.Request, done func(), err error) {
	if key == "" {
		return nil, func() {}, nil
	}
	mine := string(principalOf(ctx).Tenant) + "/" + key
	if _, running := s.inFlight.LoadOrStore(mine, true); running {
		return nil, nil, s.fail(&fault.Error{
			Code:       fault.CodeIdempotencyInFlight,
			Message:    "the first request with this Idempotency-Key is still being answered; try again in a moment",
			RetryAfter: time.Second,
		})
	}
	if by := principalOf(ctx).Key; by != "" { // an answer may show a secret: it is for who asked
		operation += " by " + string(by)
	} else if by := principalOf(ctx).User; by != "" {
		operation += " by " + string(by)
	}
	return &idempotency.Request{Key: key, Fingerprint: fingerprint(operation, raw)}, func() { s.inFlight.Delete(mine) }, nil
}

// keyedBody is keyed for a body that was decoded.
func (s *server) keyedBody(ctx context.Context, key, operation string, body any) (*idempotency.Request, func(), error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, nil, s.fail(err)
	}
	return s.keyed(ctx, key, operation, raw)
}

// fingerprint tells two requests with the same key apart. JSON that differs only
// in white space or in the order of its keys is the same request.
func fingerprint(operation string, raw []byte) string {
	v := any(map[string]any{}) // no body asks for the same as an empty one
	if len(raw) == 0 || json.Unmarshal(raw, &v) == nil {
		if canonical, err := json.Marshal(v); err == nil {
			raw = canonical
		}
	}
	sum := sha256.Sum256(append([]byte(operation+"\n"), raw...))
	return hex.EncodeToString(sum[:])
}

// replayed gives the value of replayedHeader.
func replayed(was bool) string {
	if was {
		return "true"
	}
	return ""
}
