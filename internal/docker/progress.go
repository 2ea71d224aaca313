package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// pullMessage is one message of the stream that POST /images/create answers with
// (Docker Engine API, "Create an image").
type pullMessage struct {
	ID       string `json:"id"` // of a layer
	Status   string `json:"status"`
	Progress struct {
		Current int64 `json:"current"` // bytes
		Total   int64 `json:"total"`
	} `json:"progressDetail"`
	Error string `json:"error"`
}

// pullError is what the engine says when a pull fails under way.
type pullError struct{ text string }

func (e *pullError) Error() string { return e.text }

// readPull reads the stream to its end and tells of the progress at every message,
// with an empty text while there are no numbers.
func readPull(stream io.Reader, tell func(string)) error {
	layers := layers{}
	for decoder := json.NewDecoder(stream); ; {
		var m pullMessage
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the progress of the pull: %w", err)
		}
		if m.Error != "" {
			return &pullError{m.Error}
		}
		layers.note(m)
		tell(layers.String())
	}
}

// layers adds up the layers of an image while they are downloaded.
type layers map[string]layer

type layer struct{ current, total int64 }

func (l layers) note(m pullMessage) {
	switch m.Status {
	case "Downloading":
		if m.Progress.Total > 0 {
			l[m.ID] = layer{m.Progress.Current, m.Progress.Total}
		}
	case "Verifying Checksum", "Download complete", "Extracting", "Pull complete":
		if known, ok := l[m.ID]; ok {
			l[m.ID] = layer{known.total, known.total}
		}
	}
}

func (l layers) String() string {
	var sum layer
	for _, one := range l {
		sum.current += one.current
		sum.total += one.total
	}
	if sum.total == 0 {
		return ""
	}
	return fmt.Sprintf("pulling %d%% (%s of %s)", 100*sum.current/sum.total, megabytes(sum.current), megabytes(sum.total))
}

// megabytes rounds as registries and docker images do: by thousands.
func megabytes(bytes int64) string { return fmt.Sprintf("%d MB", (bytes+500_000)/1_000_000) }
