package engine

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// token is a part of a statement: a word or a sign as it is, or the content of a quotation.
type token struct {
	quote byte // ', " or `; 0: it is not quoted
	text  string
}

// tokens reads SQL as MySQL does (refman, String Literals): quotations end with their quote,
// doubled it stands for itself, and in those of strings a backslash escapes what follows.
// open says that the last quotation does not end.
func tokens(sql string) (list []token, open bool) {
	word := regexp.MustCompile(`^[A-Za-z0-9_$\x80-\xff]+`)
	for i := 0; i < len(sql); {
		c := sql[i]
		switch c {
		case ' ':
			i++
		case '\'', '"', '`':
			var text strings.Builder
			for i++; ; i++ {
				switch {
				case i >= len(sql):
					return list, true
				case sql[i] == '\\' && c != '`' && i+1 < len(sql):
					i++
					text.WriteByte(sql[i])
					continue
				case sql[i] == c && i+1 < len(sql) && sql[i+1] == c:
					i++
					text.WriteByte(c)
					continue
				case sql[i] != c:
					text.WriteByte(sql[i])
					continue
				}
				break
			}
			i++
			list = append(list, token{c, text.String()})
		default:
			text := word.FindString(sql[i:])
			if text == "" {
				text = sql[i : i+1]
			}
			i += len(text)
			list = append(list, token{0, text})
		}
	}
	return list, false
}

// TestTokens: the reader of statements that the fuzz test relies on sees what leaves a quotation.
func TestTokens(t *testing.T) {
	for sql, want := range map[string][]token{
		`A 'b' c`:  {{0, "A"}, {'\'', "b"}, {0, "c"}},
		`'it''s'`:  {{'\'', "it's"}},
		`'\' x'`:   {{'\'', "' x"}},
		"`a\\`b":   {{'`', `a\`}, {0, "b"}},
		`'a'; 'b'`: {{'\'', "a"}, {0, ";"}, {'\'', "b"}},
	} {
		if got, open := tokens(sql); open || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", sql, got)
		}
	}
	if _, open := tokens(`'a`); !open {
		t.Error("a quotation that does not end")
	}
}

// FuzzMySQLAccounts: whatever is to be the name, the password, the database, charset and
// collation, init.sql has the statements that it always has, with these values in their
// places, or is not made at all.
func FuzzMySQLAccounts(f *testing.F) {
	for _, word := range []string{
		"shop_a", "", "x' OR '1'='1", "a`b", `a\`, "a\n", "a;\nDROP USER root", "a%", "a_b", "mysql", "berth.health", "Größe", "a\x00", "{{.Password}}", "'; --", "a/*", "\xff",
	} {
		f.Add(word, "p4ssw0rd", "shop", "utf8mb4", "utf8mb4_bin", false)
		f.Add("shop", word, "shop", "utf8mb4", "utf8mb4_bin", true)
		f.Add("shop", "p4ssw0rd", word, "utf8mb4", "utf8mb4_bin", false)
		f.Add("shop", "p4ssw0rd", "shop", word, word, false)
	}
	f.Fuzz(func(t *testing.T, user, password, database, charset, collation string, nobody bool) {
		render := func(user, password, database, charset, collation string) (string, error) {
			inst := instance.Instance{ID: "ins_01TEST", Tenant: tenant.Default}
			if nobody {
				inst.Tenant = tenant.Nobody
			}
			inst.Spec.Parameters = instance.Parameters{paramCharset: charset, paramCollation: collation}
			return renderMySQLInit(inst, instance.Credentials{
				Username: user, Password: secret.New(password), Database: database, AdminPassword: secret.New("ADMINISTRATOR"),
			})
		}
		got, err := render(user, password, database, charset, collation)
		if err != nil {
			if password != "" && len(password) > 12 && strings.Contains(err.Error(), password) {
				t.Errorf("the error has the password: %v", err)
			}
			return
		}
		want, err := render("USERNAME", "PASSWORDWORD", "DATABASENAME", "CHARSET", "COLLATION")
		if err != nil {
			t.Fatal(err)
		}
		meant := map[string]string{
			"USERNAME": user, "PASSWORDWORD": password, "DATABASENAME": database, "CHARSET": charset, "COLLATION": collation,
		}
		lines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
		if len(lines) != len(wantLines) { // mysqld reads an init file by line, Adopt does, too
			t.Fatalf("%d lines, not %d:\n%s", len(lines), len(wantLines), got)
		}
		for n, line := range lines {
			is, open := tokens(line)
			should, _ := tokens(wantLines[n])
			for i := range should {
				text := should[i].text
				for placeholder, value := range meant {
					if text == placeholder {
						should[i].text = value
						if should[i].quote == '`' && (strings.HasPrefix(line, "GRANT ") || strings.HasPrefix(line, "REVOKE ")) {
							should[i].text = grantPattern(value)
						}
					}
				}
			}
			if open || !reflect.DeepEqual(is, should) {
				t.Errorf("line %d is %s\nand reads %v, not %v", n+1, line, is, should)
			}
		}
	})
}

// FuzzGrantPattern: the pattern of a GRANT stands for the one database, not for those whose
// names are like its name (refman, GRANT: _ and % are wildcards, \ escapes).
func FuzzGrantPattern(f *testing.F) {
	for _, name := range []string{"shop", "a_b", "a%", `a\`, `\_`, "", "Größe"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		var literal strings.Builder
		pattern := grantPattern(name)
		for i := 0; i < len(pattern); i++ {
			switch pattern[i] {
			case '\\':
				if i++; i == len(pattern) {
					t.Fatalf("%q ends in an escape", pattern)
				}
			case '_', '%':
				t.Fatalf("%q has a wildcard", pattern)
			}
			literal.WriteByte(pattern[i])
		}
		if literal.String() != name {
			t.Errorf("%q stands for %q, not %q", pattern, literal.String(), name)
		}
	})
}

// FuzzIdentifier: whatever an instance is called, its user and its database get a name that
// needs no quotation and is nobody else's.
func FuzzIdentifier(f *testing.F) {
	for _, name := range []string{
		"shop-a", "7up", "", "---", "mysql", "root", "Größe", "berth", "abcdefghijklmnopqrstuvwxyz01234-67",
		"mysql---------------------------x", "root----------------------------x", "sys-----------------------------x", "x\x00", "\xff",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := identifier(name)
		if !plain.MatchString(got) || len(got) > maxIdentifier || got[0] >= '0' && got[0] <= '9' || got[0] == '_' {
			t.Errorf("%q gives %q", name, got)
		}
		if reserved(got) {
			t.Errorf("%q gives %q, which is the server's or Berth's own", name, got)
		}
	})
}
