package tenant

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/secret"
)

// KeyID names an API key.
type KeyID string

// Key is an API key of one tenant. The key itself is shown once, when it is made; what is
// kept is its hash.
type Key struct {
	ID     KeyID
	Tenant ID
	Name   string
	Role   Role
	Limits Limits
	// Hash is HashToken of the key.
	Hash string
	// Hint is the last characters of the key, by which people recognize it.
	Hint      string
	CreatedBy string // for the record
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	// UsedAt is when it was last used, to the minute; zero: never.
	UsedAt    time.Time
	RevokedAt time.Time // zero: it is not
}

// Valid reports whether the key opens anything at the time.
func (k Key) Valid(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// An API key is TokenPrefix, keyRandom characters of base 62 drawn at random (178 bits), and
// keySum characters of base 62 with the CRC-32 (IEEE) of all before them. The checksum lets
// scanners for leaked secrets tell a key from what looks like one, without asking Berth.
const (
	TokenPrefix = "berth_"
	keyRandom   = 30
	keySum      = 6
	hintLength  = 4
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// newToken returns a fresh API key.
func newToken() secret.Secret {
	body := TokenPrefix + randomText(keyRandom)
	return secret.New(body + checksum(body))
}

// randomText returns n characters of base 62, each equally likely.
func randomText(n int) string {
	const fair = 256 - 256%len(base62) // bytes from here on would favor some characters
	var b strings.Builder
	for buf := make([]byte, 2*n); b.Len() < n; {
		_, _ = rand.Read(buf) // never fails: it ends the program first
		for _, c := range buf {
			if int(c) < fair && b.Len() < n {
				b.WriteByte(base62[int(c)%len(base62)])
			}
		}
	}
	return b.String()
}

// checksum returns the CRC-32 of the text in keySum characters of base 62.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	out := make([]byte, keySum)
	for i := keySum - 1; i >= 0; i-- {
		out[i], sum = base62[sum%uint32(len(base62))], sum/uint32(len(base62))
	}
	return string(out)
}

// WellFormed reports whether a text is an API key by its form and its checksum. What is not
// is not looked for.
func WellFormed(token string) bool {
	if len(token) != len(TokenPrefix)+keyRandom+keySum || !strings.HasPrefix(token, TokenPrefix) {
		return false
	}
	body := token[:len(token)-keySum]
	return strings.Trim(token[len(TokenPrefix):], base62) == "" && checksum(body) == token[len(body):]
}

// HashToken returns what is kept of a key or another random token: SHA-256 in hex. It needs
// no salt and no slow hash, because nobody can guess 178 random bits. Looking a hash up in
// an index takes the same time whatever is wrong with the token.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
