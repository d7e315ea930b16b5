package reconcile

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/nft"
)

// TestLogOfRepairs: differences can be counted and told apart, and a missing table is a
// warning.
func TestLogOfRepairs(t *testing.T) {
	rule := nft.Change{Kind: nft.KindRule, Reason: nft.Missing, Parent: "forward", Name: "forward/clamp"}
	element := nft.Change{Kind: nft.KindElement, Reason: nft.Missing, Parent: "policy4", Name: "10.88.0.2"}
	foreign := nft.Change{Kind: nft.KindRule, Reason: nft.Unexpected, Parent: "forward", Name: "a; b", Detail: "handle 9"}
	table := nft.Change{Kind: nft.KindTable, Reason: nft.Missing, Name: "inet masq"}
	for _, tt := range []struct {
		changes []nft.Change
		text    []string
		json    string
	}{
		{
			[]nft.Change{rule, element, foreign},
			[]string{`level=INFO msg=repaired differences=3 kinds.rule=2 kinds.element=1 found="rule forward forward/clamp: missing; element policy4 10.88.0.2: missing; rule forward \"a; b\": foreign, handle 9" took=3ms`},
			`{"level":"INFO","msg":"repaired","differences":3,"kinds":{"rule":2,"element":1},"found":["rule forward forward/clamp: missing","element policy4 10.88.0.2: missing","rule forward \"a; b\": foreign, handle 9"],"took":3000000}`,
		},
		{
			[]nft.Change{rule, rule, rule, rule, rule, rule, rule},
			[]string{"differences=7 kinds.rule=7 ", " more=2 took="},
			`"more":2,`,
		},
		{
			[]nft.Change{table},
			[]string{"level=WARN msg=\"table inet masq was missing", "level=INFO msg=repaired differences=1 kinds.table=1 "},
			`{"level":"WARN","msg":"table inet masq was missing`,
		},
	} {
		var text, json bytes.Buffer
		plain := &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}
		logRepairs(slog.New(slog.NewTextHandler(&text, plain)), tt.changes, 3*time.Millisecond)
		logRepairs(slog.New(slog.NewJSONHandler(&json, plain)), tt.changes, 3*time.Millisecond)
		for _, want := range tt.text {
			if !strings.Contains(text.String(), want) {
				t.Errorf("no %s in\n%s", want, text.String())
			}
		}
		if !strings.Contains(json.String(), tt.json) {
			t.Errorf("no %s in\n%s", tt.json, json.String())
		}
		if warned := strings.Contains(text.String(), "WARN"); warned != (tt.changes[0].Kind == nft.KindTable) {
			t.Errorf("%s", text.String())
		}
	}
}
