package api_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// cursorOf gives the cursor of a list's second page.
func (b *bench) cursorOf(path string) string {
	b.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	cursor := b.call("GET", path+sep+"limit=1", "").is(200, "").text("next_cursor")
	if cursor == "" || len(cursor) > 40 {
		b.Fatalf("%s: cursor %q", path, cursor)
	}
	return cursor
}

// A cursor is good for the list that it is of, and for no other.
func TestCursorsBelongToTheirList(t *testing.T) {
	b := newBench(t)
	const hook = `{"url":"https://93.184.215.14/hook"}`
	var hooks []string
	for i := range 3 {
		b.call("POST", mysqlPath, fmt.Sprintf(`{"name":"same%d","labels":{"a":"1","b":"2"}}`, i)).is(202, "")
		b.call("POST", redisPath, `{"labels":{"a":"1"}}`).is(202, "")
		hooks = append(hooks, b.call("POST", "/api/v1/webhooks", hook).is(201, "").text("id"))
	}
	for range 3 {
		for _, id := range hooks {
			b.call("POST", "/api/v1/webhooks/"+id+"/ping", "").is(202, "")
		}
	}
	lists := []string{
		mysqlPath, redisPath, "/api/v1/storage/instances", "/api/v1/storage/instances?state=pending", "/api/v1/storage/instances?label=a%3D1",
		mysqlPath + "?label=a%3D1&label=b%3D2", mysqlPath + "?deleted=true", "/api/v1/jobs", "/api/v1/jobs?state=queued", "/api/v1/jobs?kind=instance.create",
		"/api/v1/webhooks", "/api/v1/deliveries", "/api/v1/deliveries?state=pending",
		"/api/v1/webhooks/" + hooks[0] + "/deliveries", "/api/v1/webhooks/" + hooks[1] + "/deliveries", "/api/v1/webhooks/" + hooks[0] + "/deliveries?state=pending",
	}
	cursors := map[string]string{}
	for _, path := range lists {
		cursors[path] = b.cursorOf(path)
	}
	with := func(path, cursor string) answer {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		return b.call("GET", path+sep+"limit=1&cursor="+url.QueryEscape(cursor), "")
	}
	for _, of := range lists {
		for _, at := range lists {
			if a := with(at, cursors[of]); of == at {
				a.is(200, "")
			} else {
				a.is(422, "invalid").field("cursor")
			}
		}
		right := cursors[of]
		id, tag, _ := strings.Cut(right, ".")
		for _, wrong := range []string{
			"garbage", "0", "-1", "null", ".", right + "x", right[:len(right)-1], right[1:], strings.ToUpper(right), strings.ToLower(right), id + ".", id + "." + tag[1:] + tag[:1],
			"." + tag, id[:len(id)-1] + "0." + tag, "%", "a b", "ü", "' OR 1=1", strings.Repeat("x", 41), "\x00", id[:20], "ins_", "xyz_01M89GTQD4M06E1CJATJH7TTHN", "01M89GTQD4M06E1CJATJH7TTHN", "ins_01m89gtqd4m06e1cjatjh7tthn",
		} {
			if wrong != right {
				with(of, wrong).is(422, "invalid").field("cursor")
			}
		}
		// The order of labels is the same filter, and the limit is none.
		b.call("GET", strings.Replace(of, "label=a%3D1&label=b%3D2", "label=b%3D2&label=a%3D1", 1)+map[bool]string{true: "&", false: "?"}[strings.Contains(of, "?")]+"limit=7&cursor="+right, "").is(200, "")
		// What a release before gave is a bare id.
		with(of, id).is(200, "")
		with(of, "").is(200, "")
	}
}
