package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"strings"
)

// A sealed value has one of two forms, which its key id tells:
//
//	"ab12cd34"    AES-256-GCM under the master key of that id:
//	              12 bytes of nonce, then the ciphertext with its tag of 16 bytes.
//	"v2:ab12cd34" an envelope: a data key of this value alone, wrapped by that master key
//	              (12 + 32 + 16 bytes), then the value under the data key, as above.
//
// Releases before the envelopes wrote the first form, and cannot read the second. The context
// is authenticated in both (NIST SP 800-38D), in an envelope with each of its two parts.

// envelopeMark begins the key ids of envelopes.
const envelopeMark = "v2:"

// Enveloped gives the key id of envelopes that a master key opens.
func Enveloped(master string) string { return envelopeMark + master }

// IsEnveloped reports whether values with this key id are envelopes.
func IsEnveloped(keyID string) bool { return strings.HasPrefix(keyID, envelopeMark) }

// MasterKeyOf gives the id of the master key that opens values with this key id.
func MasterKeyOf(keyID string) string { return strings.TrimPrefix(keyID, envelopeMark) }

const (
	gcmOverhead = 12 + 16 // nonce and tag
	wrappedSize = keySize + gcmOverhead
)

// gcm gives AES-256-GCM that draws its nonces and puts each before its ciphertext. A random
// nonce is safe for 2^32 values under one key, which a master key does not see.
func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal appends what is sealed to dst.
func seal(aead cipher.AEAD, dst, plaintext, context []byte) []byte {
	return aead.Seal(dst, nil, plaintext, context) //nolint:gosec // gcm draws the nonce
}

// wrapContext binds a wrapped data key to its place. It differs from the context of every
// value, so that neither can be taken for the other.
func wrapContext(context string) []byte { return []byte("data-key:" + context) }

// Seal implements Vault.
func (v *Keyring) Seal(plaintext []byte, context string) (Sealed, error) {
	keyID := v.Sealing()
	master := v.keys[MasterKeyOf(keyID)]
	if !IsEnveloped(keyID) {
		return Sealed{KeyID: keyID, Ciphertext: seal(master, nil, plaintext, []byte(context))}, nil
	}
	dataKey := randomBytes(keySize)
	box, err := gcm(dataKey)
	if err != nil {
		return Sealed{}, err
	}
	envelope := make([]byte, 0, wrappedSize+len(plaintext)+gcmOverhead)
	envelope = seal(master, envelope, dataKey, wrapContext(context))
	return Sealed{KeyID: keyID, Ciphertext: seal(box, envelope, plaintext, []byte(context))}, nil
}

var (
	errTruncated = errors.New("ciphertext is truncated")
	errForeign   = errors.New("ciphertext cannot be decrypted: it was modified, or belongs to another row")
)

// Open implements Vault. The error of a key that is not there is an *UnknownKeyError.
func (v *Keyring) Open(s Sealed, context string) ([]byte, error) {
	aead, known := v.keys[MasterKeyOf(s.KeyID)]
	if !known {
		return nil, &UnknownKeyError{KeyID: s.KeyID}
	}
	box := s.Ciphertext
	if IsEnveloped(s.KeyID) {
		if len(box) < wrappedSize {
			return nil, errTruncated
		}
		dataKey, err := aead.Open(nil, nil, box[:wrappedSize], wrapContext(context))
		if err != nil {
			return nil, errForeign
		}
		if aead, err = gcm(dataKey); err != nil {
			return nil, errForeign
		}
		box = box[wrappedSize:]
	}
	if len(box) < gcmOverhead {
		return nil, errTruncated
	}
	plain, err := aead.Open(nil, nil, box, []byte(context))
	if err != nil {
		return nil, errForeign
	}
	return plain, nil
}
