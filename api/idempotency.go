package api

import (
	"strings"
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
