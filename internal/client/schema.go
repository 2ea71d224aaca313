package client

import (
	"encoding/json"
	"slices"
	"strconv"
)

// Schema is the part of a JSON Schema that a client needs to send parameters in
// their types and to describe them.
type Schema struct {
	Properties map[string]Property `json:"properties"`
}

// Property describes one parameter.
type Property struct {
	Description string     `json:"description,omitempty"`
	Type        Types      `json:"type,omitempty"`
	Default     any        `json:"default,omitempty"`
	Enum        []any      `json:"enum,omitempty"`
	Minimum     *float64   `json:"minimum,omitempty"`
	Maximum     *float64   `json:"maximum,omitempty"`
	OneOf       []Property `json:"oneOf,omitempty"`
	AnyOf       []Property `json:"anyOf,omitempty"`
}

// Types lists JSON types; a schema writes one as a string, several as an array.
type Types []string

// UnmarshalJSON takes both spellings.
func (t *Types) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = Types{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(t))
}

// AllTypes lists the JSON types that the parameter takes, alternatives included.
func (p Property) AllTypes() []string {
	types := slices.Clone([]string(p.Type))
	for _, alternative := range slices.Concat(p.OneOf, p.AnyOf) {
		for _, t := range alternative.AllTypes() {
			if !slices.Contains(types, t) {
				types = append(types, t)
			}
		}
	}
	return types
}

// Value turns what a person wrote into the JSON value that the schema wants. What
// fits no type is sent as the string it is: refusing it, by name and with what is
// allowed, is the server's business.
func (s Schema) Value(name, text string) any {
	types := s.Properties[name].AllTypes()
	for _, t := range types {
		switch t {
		case "integer":
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				return n
			}
		case "number":
			// json.Valid keeps out what only Go calls a number: "NaN", "0x1p3".
			if _, err := strconv.ParseFloat(text, 64); err == nil && json.Valid([]byte(text)) {
				return json.Number(text)
			}
		case "boolean":
			if text == "true" || text == "false" {
				return text == "true"
			}
		case "array", "object":
			var v any
			if !slices.Contains(types, "string") && json.Unmarshal([]byte(text), &v) == nil {
				return v
			}
		}
	}
	return text
}
