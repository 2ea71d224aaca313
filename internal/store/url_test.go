package store

import (
	"strings"
	"testing"
)

// A database URL that is none is refused without a word of its password.
func TestCheckURL(t *testing.T) {
	for _, good := range []string{"sqlite://a/b.db", "sqlite:///b.db", "mysql://u:p@h:3306/d", "mysql://u:p@h/d"} {
		if err := CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "mysql:u:S3cret@h:3306/d", "u:S3cret@tcp(h:3306)/d", "sqlite:S3cret", "S3cret", "mysql://u:S3cret@/d", "mysql://u:S3cret@h:3306/",
		"mysql://u:S3cret@tcp(h:3306)/d", "mysql://u:S3%zzcret@h/d", "postgres://u:S3cret@h/d", "sqlite://",
	} {
		for what, err := range map[string]error{"CheckURL": CheckURL(bad), "Open": opened(bad)} {
			if err == nil || strings.Contains(err.Error(), "S3") {
				t.Errorf("%s of %s: %v", what, bad, err)
			}
		}
	}
}

func opened(url string) error {
	s, err := Open(url)
	if err == nil {
		_ = s.Close()
	}
	return err
}
