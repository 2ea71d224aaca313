package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of an upload: it may be slow, but must go on, and end. They are counted
// from when the body is read, which only a client with a key brings about.
const (
	bodyPause = 10 * time.Second // between two pieces of it
	bodyTime  = 2 * time.Minute  // for all of it
	// answerTime is what is left for the answer once the body is there.
	answerTime = time.Minute
)

// hugeBody is for huma, which takes a body of just its limit for one that goes on.
const hugeBody = maxBody + 1

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded" // what `curl -d` says when nobody tells it otherwise
)

// checkMediaType refuses a body that is not what it would be read as. A body without a
// type is JSON.
func checkMediaType(r *http.Request) *problem {
	unsupported := func(format string, args ...any) *problem {
		return newProblem(http.StatusUnsupportedMediaType, httpCodes[http.StatusUnsupportedMediaType], fmt.Sprintf(format, args...))
	}
	for _, coding := range listOf(r.Header.Values("Content-Encoding")) {
		if !strings.EqualFold(coding, "identity") {
			return unsupported("the body must not be compressed; send it without `Content-Encoding`")
		}
	}
	if r.ContentLength == 0 {
		return nil
	}
	given := strings.Join(r.Header.Values("Content-Type"), ", ")
	if given == "" {
		return nil
	}
	kind, parameters, err := mime.ParseMediaType(given)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || kind != jsonType && kind != formType && !strings.HasSuffix(kind, "+json") {
		return unsupported("the body must be JSON; send `Content-Type: application/json`")
	}
	switch strings.ToLower(parameters["charset"]) {
	case "", "utf-8", "utf8", "us-ascii":
		return nil
	}
	return unsupported("the body must be JSON in UTF-8; send `Content-Type: application/json`")
}

// listOf gives the elements of a header that is a comma-separated list.
func listOf(values []string) []string {
	var elements []string
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if part = strings.TrimSpace(part); part != "" {
			elements = append(elements, part)
		}
	}
	return elements
}

// readBody reads the whole body. The server's time limits, which hold for the request as
// a whole, give way to those of an upload.
func readBody(r *http.Request, w http.ResponseWriter) ([]byte, *problem) {
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	steady := &steadyReader{body: r.Body, conn: http.NewResponseController(w), end: time.Now().Add(bodyTime)}
	_ = steady.conn.SetWriteDeadline(steady.end.Add(answerTime))
	body, err := io.ReadAll(io.LimitReader(steady, maxBody+1))
	if err == nil && len(body) > maxBody {
		return nil, tooLarge()
	}
	if err != nil {
		return nil, unreadBody(err)
	}
	steady.finish()
	return body, nil
}

func tooLarge() *problem {
	const status = http.StatusRequestEntityTooLarge
	return newProblem(status, httpCodes[status], "the body is larger than 1 MiB")
}

// unreadBody says why a body did not arrive, which is the client's or the network's
// doing: chunks that are none, an end before the announced length, or silence.
func unreadBody(err error) *problem {
	status, detail := http.StatusBadRequest, "the body could not be read: it does not match its headers"
	var slow net.Error
	switch {
	case errors.As(err, &slow) && slow.Timeout():
		status = http.StatusRequestTimeout
		detail = fmt.Sprintf("the body did not arrive in time: nothing arrived for %s, or it took longer than %s in all", bodyPause, bodyTime)
	case errors.Is(err, io.ErrUnexpectedEOF):
		detail = "the body ended before it was complete"
	}
	return newProblem(status, httpCodes[status], detail)
}

// steadyReader gives a body time as long as it goes on arriving. Not every writer has
// deadlines; those of tests do not.
type steadyReader struct {
	body io.Reader
	conn *http.ResponseController
	end  time.Time
}

// Read implements io.Reader.
func (s *steadyReader) Read(p []byte) (int, error) {
	next := time.Now().Add(bodyPause)
	if next.After(s.end) {
		next = s.end
	}
	_ = s.conn.SetReadDeadline(next)
	return s.body.Read(p)
}

// finish leaves time for the answer, however long the body has taken.
func (s *steadyReader) finish() {
	until := time.Now().Add(answerTime)
	_ = s.conn.SetReadDeadline(until) // net/http watches the connection while a handler runs
	_ = s.conn.SetWriteDeadline(until)
}

// checkJSON refuses what a JSON parser would quietly make something else of: text that
// is not UTF-8, and objects that have a name twice. What is not JSON at all is left to
// huma.
func checkJSON(body []byte) *problem {
	if !utf8.Valid(body) {
		return newProblem(http.StatusBadRequest, httpCodes[http.StatusBadRequest], "the body is not UTF-8")
	}
	var whole any
	if json.Unmarshal(body, &whole) != nil {
		return nil
	}
	d := duplicates{decoder: json.NewDecoder(bytes.NewReader(body))}
	d.decoder.UseNumber()
	d.value()
	if len(d.found) > 0 {
		return refusal(d.found)
	}
	return nil
}

// maxFound bounds how many names an answer lists.
const maxFound = 20

// duplicates walks through valid JSON and notes the names that an object has twice.
type duplicates struct {
	decoder *json.Decoder
	path    []string // names and places that lead to where it is; joined for what is found only
	found   []problemField
}

func (d *duplicates) value() {
	token, err := d.decoder.Token()
	if err != nil {
		return
	}
	switch token {
	case json.Delim('{'):
		d.object()
	case json.Delim('['):
		for i := 0; d.decoder.More(); i++ {
			d.below(fmt.Sprintf("[%d]", i))
		}
		_, _ = d.decoder.Token() // the bracket
	}
}

func (d *duplicates) object() {
	times := map[string]int{}
	for d.decoder.More() {
		token, _ := d.decoder.Token()
		name, _ := token.(string)
		field := name
		if len(d.path) > 0 {
			field = "." + name
		}
		if times[name]++; times[name] == 2 && len(d.found) < maxFound {
			d.found = append(d.found, problemField{strings.Join(d.path, "") + field, "is there more than once"})
		}
		d.below(field)
	}
	_, _ = d.decoder.Token() // the brace
}

// below walks through the value at the next part of the path.
func (d *duplicates) below(part string) {
	d.path = append(d.path, part)
	d.value()
	d.path = d.path[:len(d.path)-1]
}
