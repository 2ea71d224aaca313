package secret

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// keySize is that of AES-256.
const keySize = 32

// Keyring implements Vault with the master keys of a deployment. Any of them opens what it
// has sealed; SealAs says which of them seals.
type Keyring struct {
	order   []string // the ids of the keys as they were given
	keys    map[string]cipher.AEAD
	sealing atomic.Pointer[string] // the key id of what is sealed from now on
}

// NewKeyring makes a Keyring from the text of a key file: one base64 key of 32 bytes a
// line. Empty lines and lines that begin with # are passed over. Where there can be only one
// line, commas stand between the keys. The first key seals until SealAs says otherwise.
func NewKeyring(text string) (*Keyring, error) {
	v := &Keyring{keys: map[string]cipher.AEAD{}}
	for _, word := range keyWords(text) {
		key, err := base64.StdEncoding.DecodeString(word)
		if err != nil || len(key) != keySize {
			return nil, fmt.Errorf("master key: want base64 of %d bytes, as `openssl rand -base64 %d` prints", keySize, keySize)
		}
		aead, err := gcm(key)
		if err != nil {
			return nil, fmt.Errorf("master key: %w", err)
		}
		sum := sha256.Sum256(key)
		id := hex.EncodeToString(sum[:4])
		if !v.Has(id) {
			v.order = append(v.order, id)
		}
		v.keys[id] = aead
	}
	if len(v.order) == 0 {
		return nil, errors.New("master key: no key is given")
	}
	return v, v.SealAs(Enveloped(v.First()))
}

// KeyIDs gives the ids of the keys in the order in which they were given. The id of a key is
// the first eight hex digits of its SHA-256.
func (v *Keyring) KeyIDs() []string { return slices.Clone(v.order) }

// First gives the id of the key that was given first.
func (v *Keyring) First() string { return v.order[0] }

// Has reports whether there is a master key of that id.
func (v *Keyring) Has(id string) bool { return v.keys[id] != nil }

// SealAs has everything sealed with this key id from now on: that of a master key, or
// Enveloped of one.
func (v *Keyring) SealAs(keyID string) error {
	if !v.Has(MasterKeyOf(keyID)) {
		return &UnknownKeyError{KeyID: keyID}
	}
	v.sealing.Store(&keyID)
	return nil
}

// Sealing gives the key id that Seal uses.
func (v *Keyring) Sealing() string { return *v.sealing.Load() }

// UnknownKeyError says that a keyring does not have the key that a value needs.
type UnknownKeyError struct{ KeyID string }

func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("no master key %s; add it to BERTH_MASTER_KEY, on a line of its own", MasterKeyOf(e.KeyID))
}

func keyWords(text string) []string {
	var words []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			continue
		}
		words = append(words, strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\r' })...)
	}
	return words
}
