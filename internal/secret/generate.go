package secret

import (
	"crypto/rand"
	"encoding/base64"
	"math/big"
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// Random implements Generator from crypto/rand.
type Random struct{}

// Password implements Generator. 28 characters hold 166 bits.
func (Random) Password(n int) Secret {
	b := make([]byte, n)
	for i := range b {
		c, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			panic(err) // crypto/rand never fails on the systems Berth runs on
		}
		b[i] = alphabet[c.Int64()]
	}
	return New(string(b))
}

// SigningSecret implements Generator.
func (Random) SigningSecret() Secret {
	return New("whsec_" + base64.StdEncoding.EncodeToString(randomBytes(32)))
}

// MasterKey gives a fresh master key, as NewVault reads it.
func MasterKey() string { return base64.StdEncoding.EncodeToString(randomBytes(keySize)) }

// APIKey gives a fresh API key: "berth_" and 40 characters.
func APIKey() string { return "berth_" + Random{}.Password(40).Reveal() }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it ends the program first
	return b
}
