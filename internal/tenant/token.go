package tenant

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"strings"

	"github.com/berth-project/berth/internal/secret"
)

// A token is its form's prefix, tokenRandom characters of base 62 drawn at random (178 bits),
// and tokenSum characters of base 62 with the CRC-32 (IEEE) of all before them. The checksum
// lets scanners for leaked secrets tell a token from what looks like one, without asking Berth.
const (
	tokenRandom = 30
	tokenSum    = 6
	hintLength  = 4
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// form is a kind of token, by its prefix.
type form string

// The forms.
const (
	keyForm        form = "berth_"
	sessionForm    form = "berth_session_"
	invitationForm form = "berth_invitation_"
	resetForm      form = "berth_reset_"
)

// TokenPrefix is what every token begins with.
const TokenPrefix = string(keyForm)

// fresh returns a new token.
func (f form) fresh() secret.Secret {
	body := string(f) + randomText(tokenRandom)
	return secret.New(body + checksum(body))
}

// fits reports whether a text is such a token by its form and its checksum. What is not is
// not looked for.
func (f form) fits(token string) bool {
	if len(token) != len(f)+tokenRandom+tokenSum || !strings.HasPrefix(token, string(f)) {
		return false
	}
	body := token[:len(token)-tokenSum]
	return strings.Trim(token[len(f):], base62) == "" && checksum(body) == token[len(body):]
}

// WellFormed reports whether a text is an API key by its form and its checksum.
func WellFormed(token string) bool { return keyForm.fits(token) }

// IsSession reports whether a text is the token of a session by its form and its checksum.
func IsSession(token string) bool { return sessionForm.fits(token) }

// IsToken reports whether a text is a secret of any form.
func IsToken(token string) bool {
	return keyForm.fits(token) || sessionForm.fits(token) || invitationForm.fits(token) || resetForm.fits(token)
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

// checksum returns the CRC-32 of the text in tokenSum characters of base 62.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	out := make([]byte, tokenSum)
	for i := tokenSum - 1; i >= 0; i-- {
		out[i], sum = base62[sum%uint32(len(base62))], sum/uint32(len(base62))
	}
	return string(out)
}

// HashToken returns what is kept of a key or another random token: SHA-256 in hex. It needs
// no salt and no slow hash, because nobody can guess 178 random bits. Looking a hash up in
// an index takes the same time whatever is wrong with the token.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
