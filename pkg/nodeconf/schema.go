package nodeconf

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// schema is the part of JSON Schema 2020-12 that the keys need.
type schema struct {
	Schema               string            `json:"$schema,omitempty"`
	ID                   string            `json:"$id,omitempty"`
	Title                string            `json:"title,omitempty"`
	Description          string            `json:"description,omitempty"`
	Type                 string            `json:"type,omitempty"`
	Enum                 []string          `json:"enum,omitempty"`
	AnyOf                []schema          `json:"anyOf,omitempty"`
	Pattern              string            `json:"pattern,omitempty"`
	Minimum              *int              `json:"minimum,omitempty"`
	Maximum              *int              `json:"maximum,omitempty"`
	Items                *schema           `json:"items,omitempty"`
	MaxItems             int               `json:"maxItems,omitempty"`
	UniqueItems          bool              `json:"uniqueItems,omitempty"`
	Default              any               `json:"default,omitempty"`
	Properties           map[string]schema `json:"properties,omitempty"`
	PropertyNames        *schema           `json:"propertyNames,omitempty"`
	AdditionalProperties any               `json:"additionalProperties,omitempty"` // false or a schema
	MaxProperties        int               `json:"maxProperties,omitempty"`
}

// Patterns of values. They do not cover everything that the reader checks, such as that the
// bits beyond the length of a prefix are zero.
const (
	octet          = `(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])`
	ipv4           = octet + `(\.` + octet + `){3}`
	ipv6           = `[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*`
	addressPattern = `^(` + ipv4 + `|` + ipv6 + `)$`
	prefixPattern  = `^(` + ipv4 + `/([12]?[0-9]|3[0-2])|` + ipv6 + `/(1[01][0-9]|12[0-8]|[1-9]?[0-9]))$`

	port         = `(102[4-9]|10[3-9][0-9]|1[1-9][0-9]{2}|[2-9][0-9]{3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])`
	portRange    = ` *` + port + `(-` + port + `)? *`
	portsPattern = `^(` + portRange + `(,` + portRange + `)*)?$`

	// The syntax of time.ParseDuration, without a sign.
	durationPattern = `^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`
)

func prefixSchema() *schema  { return &schema{Type: "string", Pattern: prefixPattern} }
func addressSchema() *schema { return &schema{Type: "string", Pattern: addressPattern} }

func annotationSchema() *schema {
	s := &schema{Type: "string"}
	for _, a := range masq.Annotations {
		s.Enum = append(s.Enum, a, strings.TrimPrefix(a, masq.AnnotationPrefix))
	}
	return s
}

func helpersSchema() schema {
	s := schema{Type: "object", Properties: map[string]schema{}, AdditionalProperties: false, Default: map[string]any{}}
	for _, k := range masq.HelperKinds {
		about := fmt.Sprintf("An empty list stands for %d.", k.Ports())
		if k.Daemon {
			about = "By masqd. " + about
		}
		s.Properties[k.Name] = schema{
			Description: about,
			Type:        "array",
			Items:       &schema{Type: "integer", Minimum: new(1), Maximum: new(65535)},
			UniqueItems: true,
		}
	}
	return s
}

// Schema returns the JSON Schema of a file, which is deploy/masq-agent.schema.json.
func Schema() []byte {
	top := schema{
		Schema:               "https://json-schema.org/draft/2020-12/schema",
		ID:                   "https://raw.githubusercontent.com/masq-cni/masq-cni/main/deploy/masq-agent.schema.json",
		Title:                "Node configuration of masqd",
		Description:          "The file of ip-masq-agent, with further keys. All keys are optional. Several files are merged: lists are united, booleans are or-ed, and two different values of any other key are refused.",
		Type:                 "object",
		Properties:           map[string]schema{},
		AdditionalProperties: false,
	}
	for _, k := range keys {
		s := k.schema
		s.Description = k.about
		top.Properties[k.name] = s
	}
	text, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		panic(err) // texts, numbers, prefixes and lists of them
	}
	return append(text, '\n')
}
