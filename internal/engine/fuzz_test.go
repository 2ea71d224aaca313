package engine

import (
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// wanted is an instance that a client could have asked for: the parameters passed the check.
// nil: they did not.
func wanted(t *testing.T, engine, plan, name, parameters string) *instance.Instance {
	t.Helper()
	var given map[string]any
	if json.Unmarshal([]byte(parameters), &given) != nil {
		return nil
	}
	e := find(t, engine)
	info := e.Describe()
	p, ok := info.Plan(plan)
	if !ok {
		return nil
	}
	parsed, wrong := info.ParseParameters(given)
	checkParsed(t, info, parsed, given)
	complete := e.Complete(parsed, p.Resources)
	if len(wrong)+len(e.Check(complete, p.Resources)) > 0 {
		return nil
	}
	return &instance.Instance{
		ID: "ins_01TEST", Tenant: tenant.Default, Name: name,
		Spec:   instance.Spec{Engine: engine, Version: info.Versions[0].Name, Plan: p.Name, Resources: p.Resources, Parameters: complete},
		Status: instance.Status{Address: "127.0.0.1", Port: 20001},
	}
}

// checkParsed checks that what was taken is of the parameter's type and within its bounds,
// and that the database, which keeps it as JSON, gives the same back.
func checkParsed(t *testing.T, info instance.EngineInfo, parsed instance.Parameters, given map[string]any) {
	t.Helper()
	for name, value := range parsed {
		i := slices.IndexFunc(info.Parameters, func(p instance.Parameter) bool { return p.Name == name })
		if i < 0 {
			t.Fatalf("%s is no parameter of %s", name, info.Name)
		}
		p, good := info.Parameters[i], false
		switch v := value.(type) {
		case int64:
			good = (p.Type == instance.TypeInteger || p.Type == instance.TypeBytes) && p.Min <= v && v <= p.Max
		case string:
			good = p.Type == instance.TypeString && slices.Contains(p.Enum, v) ||
				p.Type == instance.TypeName && (v == "" || plain.MatchString(v)) && int64(len(v)) <= p.Max
		}
		if !good {
			t.Errorf("%s=%v was made of %v", name, value, given[name])
		}
	}
	stored, err := json.Marshal(parsed)
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(stored, &back); err != nil {
		t.Fatal(err)
	}
	if again, wrong := info.ParseParameters(back); wrong != nil || !maps.Equal(again, parsed) {
		t.Errorf("%v came back as %v: %v", parsed, again, wrong)
	}
}

// setting is a line of a configuration file.
var setting = regexp.MustCompile(`^([a-z_-]+)( = | )([A-Za-z0-9_./*:"-]| -| ::)*$`)

// directives returns the names of the settings in a file, in order.
func directives(t *testing.T, content string) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(content) {
		line = strings.TrimSuffix(line, "\n")
		switch m := setting.FindStringSubmatch(line); {
		case line == "", strings.HasPrefix(line, "# "), strings.HasPrefix(line, "["):
			names = append(names, line) // the file's own, and none may be added
		case m == nil:
			t.Errorf("the line %q is no setting", line)
		default:
			names = append(names, m[1])
		}
	}
	return names
}

// FuzzMySQLConfig: whatever parameters pass the check, my.cnf has the lines that it always
// has, and the statements that adopt a warm server set what they always set.
func FuzzMySQLConfig(f *testing.F) {
	for _, parameters := range []string{
		`{}`, `{"charset":"latin1","binlog_format":"mixed","max_connections":50,"innodb_lock_wait_timeout":5,"wait_timeout":600}`,
		`{"collation":"utf8mb4_bin\ninit_connect = x"}`, `{"charset":"UTF8MB4"}`, `{"binlog_format":"ROW\r\nlocal_infile = ON"}`, `{"max_connections":5e0}`, `{"max_connections":"5\nport = 1"}`,
		`{"charset":"utf8mb4;"}`, `{"collation":"utf8mb4_bin\u2028"}`, `{"binlog_format":"\u017fTATEMENT"}`, `{"wait_timeout":9007199254740993}`,
	} {
		for _, plan := range []string{"small", "medium", "large"} {
			f.Add(plan, parameters)
		}
	}
	f.Fuzz(func(t *testing.T, plan, parameters string) {
		inst := wanted(t, mysqlName, plan, "shop", parameters)
		if inst == nil {
			return
		}
		usual := wanted(t, mysqlName, plan, "shop", "{}")
		got, err := renderMySQLConfig(*inst)
		if err != nil {
			t.Fatal(err)
		}
		want, err := renderMySQLConfig(*usual)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := directives(t, got), directives(t, want); !slices.Equal(a, b) {
			t.Errorf("it sets %q, not %q", a, b)
		}
		statement := regexp.MustCompile(`^SET GLOBAL [a-z_]+ = [A-Za-z0-9_]+$|^FLUSH STATUS$`)
		for _, s := range mysqlGlobals(*inst) {
			if !statement.MatchString(s) {
				t.Errorf("the statement %q", s)
			}
		}
	})
}

// FuzzRedisConfig: whatever parameters pass the check, redis.conf has the lines that it
// always has.
func FuzzRedisConfig(f *testing.F) {
	for _, parameters := range []string{
		`{}`, `{"maxmemory":"64mb","maxmemory_policy":"allkeys-lru","maxclients":50,"appendfsync":"always"}`, `{"maxmemory":67108864}`, `{"maxmemory":"64 MB"}`,
		`{"appendfsync":"no\nrequirepass x"}`, `{"maxmemory_policy":"noeviction\r\nloadmodule /x"}`, `{"maxmemory":"64mb\nport 1"}`, `{"maxmemory":"+64mb"}`, `{"maxclients":1e1}`, `{"maxmemory":"64\u212a"}`,
	} {
		for _, plan := range []string{"small", "medium", "large"} {
			f.Add(plan, parameters)
		}
	}
	f.Fuzz(func(t *testing.T, plan, parameters string) {
		inst := wanted(t, redisName, plan, "shop", parameters)
		if inst == nil {
			return
		}
		got, err := renderRedisConfig(*inst)
		if err != nil {
			t.Fatal(err)
		}
		want, err := renderRedisConfig(*wanted(t, redisName, plan, "shop", "{}"))
		if err != nil {
			t.Fatal(err)
		}
		if a, b := directives(t, got), directives(t, want); !slices.Equal(a, b) {
			t.Errorf("it sets %q, not %q", a, b)
		}
	})
}

// FuzzRedisUsers: whatever the passwords are, the access list has a line for the tenant and
// one for Berth, and the tenant's has no rule more.
func FuzzRedisUsers(f *testing.F) {
	for _, password := range []string{"p4ssw0rd", "x +@all", "x\nuser eve on nopass", "", "{{", "\xff", ">y", "#y"} {
		f.Add(password, "adm1n")
		f.Add("p4ssw0rd", password)
	}
	f.Fuzz(func(t *testing.T, password, admin string) {
		inst := instance.Instance{ID: "ins_01TEST", Tenant: tenant.Default, Spec: instance.Spec{Version: "8"}}
		render := func(password, admin string) (string, error) {
			return renderRedisUsers(inst, instance.Credentials{Username: redisUser, Password: secret.New(password), AdminPassword: secret.New(admin)})
		}
		got, err := render(password, admin)
		if err != nil || admin == "" {
			return
		}
		want, err := render("usual", "usual")
		if err != nil {
			t.Fatal(err)
		}
		hash := regexp.MustCompile(`#[0-9a-f]{64}`)
		if a, b := hash.ReplaceAllString(got, "#"), hash.ReplaceAllString(want, "#"); a != b {
			t.Errorf("%q, not %q", a, b)
		}
		if sum := "#" + redisHash(secret.New(password)); !strings.Contains(strings.SplitN(got, "\n", 2)[0], " "+sum+" ") {
			t.Errorf("%q does not have %s", got, sum)
		}
		for _, command := range setUsers(got) {
			if len(command) < 5 || command[0] != "ACL" || command[1] != "SETUSER" || command[3] != "reset" {
				t.Errorf("%q", command)
			}
		}
	})
}

// FuzzForms: every form of the connection is read as what it was made of.
func FuzzForms(f *testing.F) {
	for _, word := range []string{"shop", "it's", `a\b`, "a b", "a/b?c#d", "a@b:c", "$HOME", "`x`", "ü", "a%2fb", "", "a&b=c", "\xff", "a\nb"} {
		f.Add(word, "p4ssw0rd", "shop", "127.0.0.1", 20001)
		f.Add("shop", word, word, "::1", 65535)
	}
	f.Fuzz(func(t *testing.T, user, password, database, address string, port int) {
		for _, value := range []string{user, password, database} {
			if checkPlain("", value) != nil { // then there is no such server
				return
			}
		}
		inst := instance.Instance{Status: instance.Status{Address: address, Port: port}, Spec: instance.Spec{Engine: mysqlName, Parameters: instance.Parameters{}}}
		cred := instance.Credentials{Username: user, Password: secret.New(password), Database: database}
		uri := url.URL{Scheme: "mysql", User: url.UserPassword(user, password), Host: "127.0.0.1:20001", Path: "/" + database}
		forms := mysqlForms(inst, cred, uri)
		if dsn, err := mysql.ParseDSN(forms.DSN.Reveal()); usual(address) && port > 0 &&
			(err != nil || dsn.User != user || dsn.Passwd != password || dsn.DBName != database || dsn.Addr != hostPort(inst)) {
			t.Errorf("%s: %v", forms.DSN.Reveal(), err)
		}
		if back, err := url.Parse(forms.MariaDB.Reveal()); err != nil || back.User.Username() != user || back.Path != "/"+database {
			t.Errorf("%s: %v", forms.MariaDB.Reveal(), err)
		}
		values := []string{address, strconv.Itoa(port), user, password, database, uri.String()}
		want := strings.Join(values, "\x00")
		if got := strings.Join(assigned(t, forms.Env.Reveal()), "\x00"); !strings.ContainsRune(address, 0) && got != want {
			t.Errorf("%q reads as %q", forms.Env.Reveal(), got)
		}
	})
}

func usual(address string) bool { return regexp.MustCompile(`^[a-z0-9.:-]+$`).MatchString(address) }

// assigned reads NAME=value lines as a shell does (POSIX, 2.2 Quoting), for what needs no
// more of it than single quotes and \'.
func assigned(t *testing.T, text string) (values []string) {
	t.Helper()
	for text != "" {
		_, rest, ok := strings.Cut(text, "=")
		if !ok {
			t.Fatalf("%q is no assignment", text)
		}
		var value strings.Builder
		for rest != "" && rest[0] != '\n' {
			switch {
			case rest[0] == '\'':
				quoted, after, ok := strings.Cut(rest[1:], "'")
				if !ok {
					t.Fatalf("%q does not end", rest)
				}
				value.WriteString(quoted)
				rest = after
			case strings.HasPrefix(rest, `\'`):
				value.WriteByte('\'')
				rest = rest[2:]
			case harmless.MatchString(rest[:1]):
				value.WriteByte(rest[0])
				rest = rest[1:]
			default:
				t.Fatalf("a shell makes something else of %q", rest)
			}
		}
		values = append(values, value.String())
		text = strings.TrimPrefix(rest, "\n")
	}
	return values
}
