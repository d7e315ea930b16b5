package reconcile

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
)

// TestRepairLog: a log line has the number of differences by kind and the first of them. A
// missing table is a warning.
func TestRepairLog(t *testing.T) {
	rule := nft.Difference{Kind: nft.KindRule, Reason: masq.Missing, Parent: "forward", Object: "forward/clamp"}
	element := nft.Difference{Kind: nft.KindElement, Reason: masq.Missing, Parent: "policy4", Object: "10.88.0.2"}
	unexpected := nft.Difference{Kind: nft.KindRule, Reason: masq.Unexpected, Parent: "forward", Object: "a; b", Handle: 9}
	table := nft.Difference{Kind: nft.KindTable, Reason: masq.Missing, Object: "inet masq"}
	for _, tt := range []struct {
		changes []nft.Difference
		text    []string
		json    string
	}{
		{
			[]nft.Difference{rule, element, unexpected},
			[]string{`level=INFO msg=repaired differences=3 kinds.rule=2 kinds.element=1 found="rule forward forward/clamp: missing; element policy4 10.88.0.2: missing; rule forward \"a; b\": unexpected, handle 9" took=3ms`},
			`{"level":"INFO","msg":"repaired","differences":3,"kinds":{"rule":2,"element":1},"found":["rule forward forward/clamp: missing","element policy4 10.88.0.2: missing","rule forward \"a; b\": unexpected, handle 9"],"took":3000000}`,
		},
		{
			[]nft.Difference{rule, rule, rule, rule, rule, rule, rule},
			[]string{"differences=7 kinds.rule=7 ", " more=2 took="},
			`"more":2,`,
		},
		{
			[]nft.Difference{table},
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
