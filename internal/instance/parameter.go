package instance

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/internal/fault"
)

// ParameterType is the type of a parameter's value.
type ParameterType string

// The types of parameters.
const (
	TypeString  ParameterType = "string"  // one of Enum
	TypeName    ParameterType = "name"    // a letter or _, then letters, digits and _, at most Max of them; or empty
	TypeInteger ParameterType = "integer" // from Min to Max
	TypeBytes   ParameterType = "bytes"   // a number of bytes, or "64mb"; from Min to Max
)

// Parameter describes one setting of an engine.
type Parameter struct {
	Name        string
	Type        ParameterType
	Description string
	Enum        []string
	Min, Max    int64
	// Default is what the smallest plan gets; bigger ones may get more.
	Default any
}

// namedPattern is what a plain identifier is, or nothing.
var namedPattern = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)?$`)

// JSONSchema gives the parameter as JSON Schema (2020-12).
func (p Parameter) JSONSchema() map[string]any {
	s := map[string]any{"description": p.Description}
	if p.Default != nil {
		s["default"] = p.Default
	}
	switch p.Type {
	case TypeInteger:
		s["type"], s["minimum"], s["maximum"] = "integer", p.Min, p.Max
	case TypeBytes:
		s["oneOf"] = []any{
			map[string]any{"type": "integer", "minimum": p.Min, "maximum": p.Max},
			map[string]any{"type": "string", "pattern": `^[0-9]+ *([kKmMgG][bB]?)?$`},
		}
	case TypeName:
		s["type"], s["pattern"], s["maxLength"] = "string", namedPattern.String(), p.Max
	default:
		s["type"], s["enum"] = "string", p.Enum
	}
	return s
}

// ParametersSchema gives the JSON Schema of all parameters of an engine.
func (e EngineInfo) ParametersSchema() map[string]any {
	properties := make(map[string]any, len(e.Parameters))
	for _, p := range e.Parameters {
		properties[p.Name] = p.JSONSchema()
	}
	return map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
		"properties": properties, "additionalProperties": false,
	}
}

// ParseParameters checks what a client sent against the schema and gives it in
// the types that Parameters promises. Every wrong or unknown field is named.
func (e EngineInfo) ParseParameters(in map[string]any) (Parameters, []fault.FieldError) {
	out := make(Parameters, len(in))
	var wrong []fault.FieldError
	for _, name := range sortedKeys(in) {
		field := "parameters." + name
		i := slices.IndexFunc(e.Parameters, func(p Parameter) bool { return p.Name == name })
		if i < 0 {
			wrong = append(wrong, fault.FieldError{Field: field, Message: "unknown parameter; " + e.Name + " has: " + strings.Join(e.parameterNames(), ", ")})
			continue
		}
		value, problem := e.Parameters[i].parse(in[name])
		if problem != "" {
			wrong = append(wrong, fault.FieldError{Field: field, Message: problem})
			continue
		}
		out[name] = value
	}
	return out, wrong
}

func (e EngineInfo) parameterNames() []string {
	names := make([]string, len(e.Parameters))
	for i, p := range e.Parameters {
		names[i] = p.Name
	}
	return names
}

// parse gives the value in its proper type, or says what is wrong with it.
func (p Parameter) parse(in any) (value any, problem string) {
	switch p.Type {
	case TypeInteger, TypeBytes:
		n, ok := integer(in)
		if s, isString := in.(string); isString && p.Type == TypeBytes {
			n, ok = ParseBytes(s)
		}
		if !ok || n < p.Min || n > p.Max {
			return nil, p.allowed()
		}
		return n, ""
	case TypeName:
		s, ok := in.(string)
		if !ok || int64(len(s)) > p.Max || !namedPattern.MatchString(s) {
			return nil, p.allowed()
		}
		return s, ""
	default:
		s, ok := in.(string)
		if !ok {
			return nil, p.allowed()
		}
		// Servers take these words in any case, so people write them in any case.
		for _, e := range p.Enum {
			if strings.EqualFold(e, s) {
				return e, ""
			}
		}
		return nil, p.allowed()
	}
}

func (p Parameter) allowed() string {
	switch p.Type {
	case TypeInteger:
		return fmt.Sprintf("must be an integer from %d to %d", p.Min, p.Max)
	case TypeBytes:
		return fmt.Sprintf(`must be a number of bytes from %d to %d, or a string such as "64mb"`, p.Min, p.Max)
	case TypeName:
		return fmt.Sprintf("must consist of A-Z, a-z, 0-9 and _, begin with a letter or _, and have at most %d characters", p.Max)
	default:
		return "must be one of: " + strings.Join(p.Enum, ", ")
	}
}

// integer takes the whole numbers that JSON decoders and the database give.
func integer(in any) (int64, bool) {
	switch n := in.(type) {
	case int64:
		return n, true
	case int:
		return int64(n), true
	case float64:
		if n != math.Trunc(n) || math.Abs(n) > 1<<53 {
			return 0, false
		}
		return int64(n), true
	case json.Number:
		v, err := n.Int64()
		return v, err == nil
	default:
		return 0, false
	}
}

// bytesPattern is an amount of bytes: digits and a unit, and spaces around them.
var bytesPattern = regexp.MustCompile(`^\s*([0-9]+) *([kKmMgG]?)[bB]?\s*$`)

// ParseBytes reads "67108864", "64mb", "64M" or "1 gb" (powers of 1024, as Redis
// and MySQL read them).
func ParseBytes(s string) (int64, bool) {
	m := bytesPattern.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	unit := map[string]int64{"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[strings.ToLower(m[2])]
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
