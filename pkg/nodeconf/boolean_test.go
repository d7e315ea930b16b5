package nodeconf

import (
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestBooleans(t *testing.T) {
	for key, field := range map[string]func(masq.Policy) bool{
		"masqLinkLocal":     func(p masq.Policy) bool { return p.LinkLocal4 },
		"masqLinkLocalIPv6": func(p masq.Policy) bool { return p.LinkLocal6 },
		"randomFully":       func(p masq.Policy) bool { return p.RandomFully },
		"dropInvalid":       func(p masq.Policy) bool { return p.DropInvalid },
		"acceptOtherLinks":  func(p masq.Policy) bool { return p.AcceptOtherLinks },
	} {
		for text, want := range map[string]bool{
			"true": true, "True": true, "yes": true, "Y": true, "ON": true,
			"false": false, "FALSE": false, "no": false, "n": false, "Off": false,
		} {
			if got := field(load(t, key+": "+text).Policy); got != want {
				t.Errorf("%s: %s is %t", key, text, got)
			}
		}
		if got := field(load(t, `{"`+key+`": true}`).Policy); !got {
			t.Errorf("%s: true is false in JSON", key)
		}
		const remedy = "; give true or false, or remove the key"
		at := "f:1:" + string(rune('0'+(len(key)+3)/10)) + string(rune('0'+(len(key)+3)%10)) + ": "
		checkFaults(t, []faulty{
			{key + " text", key + `: "true"`, at + key + `: "true" is a string` + remedy},
			{key + " quoted", key + `: 'yes'`, at + key + `: "yes" is a string` + remedy},
			{key + " number", key + `: 1`, at + key + `: 1 is a number` + remedy},
			{key + " list", key + `: [true]`, at + key + `: "[true]" is a list` + remedy},
			{key + " object", key + `: {a: "\e"}`, at + key + `: "{\"a\":\"\\x1b\"}" is an object` + remedy},
		})
		_, err := Parse("f", []byte(key+":"))
		if agents := strings.HasPrefix(key, "masq"); agents != (err == nil) {
			t.Errorf("%s: null gives %v", key, err)
		}
	}
	// The booleans of YAML are strings in JSON.
	checkFaults(t, []faulty{{"JSON", `{"masqLinkLocal": "yes"}`, `f:1:19: masqLinkLocal: "yes" is a string; give true or false, or remove the key`}})
}
