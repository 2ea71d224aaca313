package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// keySize is that of AES-256.
const keySize = 32

// Keyring implements Vault with AES-256-GCM (NIST SP 800-38D). The first
// key seals; any of them opens, found by the key id beside the ciphertext, so that
// a new key can be put in front while rows sealed with the old one are still there.
type Keyring struct {
	active string
	keys   map[string]cipher.AEAD
}

// NewKeyring makes a Keyring from the text of a key file: one base64 key of 32 bytes a
// line, the active one first. Empty lines and lines that begin with # are passed over.
// Where there can be only one line, commas stand between the keys.
func NewKeyring(text string) (*Keyring, error) {
	v := &Keyring{keys: map[string]cipher.AEAD{}}
	for _, word := range keyWords(text) {
		key, err := base64.StdEncoding.DecodeString(word)
		if err != nil || len(key) != keySize {
			return nil, fmt.Errorf("master key: want base64 of %d bytes, as `openssl rand -base64 %d` prints", keySize, keySize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("master key: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("master key: %w", err)
		}
		sum := sha256.Sum256(key)
		id := hex.EncodeToString(sum[:4])
		v.keys[id] = aead
		if v.active == "" {
			v.active = id
		}
	}
	if v.active == "" {
		return nil, errors.New("master key: no key is given")
	}
	return v, nil
}

// KeyIDs gives the ids of the keys, in order. The id of a key is the first eight hex
// digits of its SHA-256.
func (v *Keyring) KeyIDs() []string { return slices.Sorted(maps.Keys(v.keys)) }

// Active gives the id of the key that seals.
func (v *Keyring) Active() string { return v.active }

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

// Seal implements Vault.
func (v *Keyring) Seal(plaintext []byte, context string) (Sealed, error) {
	aead := v.keys[v.active]
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plaintext)+aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return Sealed{}, fmt.Errorf("nonce: %w", err)
	}
	return Sealed{KeyID: v.active, Ciphertext: aead.Seal(nonce, nonce, plaintext, []byte(context))}, nil
}

// Open implements Vault.
func (v *Keyring) Open(s Sealed, context string) ([]byte, error) {
	aead, ok := v.keys[s.KeyID]
	if !ok {
		return nil, fmt.Errorf("no master key %s; add the old key below the active one in BERTH_MASTER_KEY", s.KeyID)
	}
	if len(s.Ciphertext) < aead.NonceSize() {
		return nil, errors.New("ciphertext is truncated")
	}
	nonce, box := s.Ciphertext[:aead.NonceSize()], s.Ciphertext[aead.NonceSize():]
	plain, err := aead.Open(nil, nonce, box, []byte(context))
	if err != nil {
		return nil, errors.New("ciphertext cannot be decrypted: it was modified, or belongs to another row")
	}
	return plain, nil
}

// FileOrMake gives the content of a secret file, which only its owner can read,
// and makes it if there is none. It says whether it made it. Of several processes
// that do so at once, one makes it and all get the same.
func FileOrMake(path string, fresh func() string) (content string, made bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", false, fmt.Errorf("folder of %s: %w", path, err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return "", false, fmt.Errorf("make %s: %w", path, err)
	}
	defer os.Remove(temporary.Name()) //nolint:errcheck // gone when it became the file
	_, err = temporary.WriteString(fresh() + "\n")
	if err = errors.Join(err, temporary.Close()); err != nil {
		return "", false, fmt.Errorf("write %s: %w", path, err)
	}
	switch err := os.Link(temporary.Name(), path); { // fails if it is there: never half, never twice
	case err == nil:
		made = true
	case !errors.Is(err, fs.ErrExist):
		return "", false, fmt.Errorf("make %s: %w", path, err)
	}
	b, err := os.ReadFile(path) //nolint:gosec // the path is the operator's
	if err != nil {
		return "", false, fmt.Errorf("read %s: %w", path, err)
	}
	if content = strings.TrimSpace(string(b)); content == "" {
		return "", false, fmt.Errorf("%s is empty; delete it to have a new one generated", path)
	}
	return content, made, nil
}

// FileOrValue gives the content of a file, if the text is a path ("/…" or "./…"), or
// else the text itself. A master key may begin with a slash, too, and is known by its
// form; anything else that looks like a path and is none is an error, lest a mistyped
// path becomes the secret.
func FileOrValue(text string) (string, error) {
	if !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "./") {
		return text, nil
	}
	b, err := os.ReadFile(text) //nolint:gosec // the path is the operator's
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if _, notKeys := NewKeyring(text); notKeys == nil {
		return text, nil
	}
	return "", fmt.Errorf("read secret: %w", err)
}
