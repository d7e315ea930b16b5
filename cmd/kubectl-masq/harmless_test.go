package main

import (
	"encoding/json"
	"strings"
	"testing"
)

const hostile = "a\x1b[2J\u009b31m\u202eb\r\xffc\U000e0001"

func TestHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		"a b\tc\n":                    "a b\tc\n",
		"größe/日本 \"x\"":              "größe/日本 \"x\"",
		hostile:                       `a\u001b[2J\u009b31m\u202eb\u000d\ufffdc\udb40\udc01`,
		"{\"a\": \"\u202e\u009b\"}\n": "{\"a\": \"\\u202e\\u009b\"}\n",
	} {
		if got := string(harmless([]byte(text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	// The value of the JSON string does not change.
	const text = "\u202e\u009b\U000e0001"
	var got string
	if err := json.Unmarshal(harmless([]byte(`"`+text+`"`)), &got); err != nil || got != text {
		t.Errorf("%q, %v", got, err)
	}
}

// TestHostileNames checks that kubectl is not started with a name that could be a flag, or
// more than one field of a selector.
func TestHostileNames(t *testing.T) {
	c := newCluster(t)
	for _, args := range [][]string{
		{"inspect", "pod", "shop/--kubeconfig=x"},
		{"inspect", "pod", "shop/-f"},
		{"inspect", "pod", "shop/"},
		{"inspect", "pod", "/web"},
		{"inspect", "pod", "shop/web,x"},
		{"inspect", "pod", "a b"},
		{"inspect", "pod", "shop/$(x)"},
		{"inspect", "pod", hostile},
		{"inspect", "flows", "--pod=-f"},
		{"inspect", "flows", "--pod", "-f"},
		{"inspect", "--node", "node-1,metadata.name=x"},
		{"inspect", "--node=-f"},
		{"inspect", "pod", "web", "-n", "-A"},
		{"inspect", "--masq-namespace", "kube-system --all"},
		{"inspect", "--node", hostile},
	} {
		code, out, diag := c.ask(args...)
		if code != 2 || out != "" || diag == "" || strings.ContainsFunc(diag, isHarmful) {
			t.Errorf("%q: exit code %d\n%q\n%q", args, code, out, diag)
		}
		if calls := c.calls(); calls != "" {
			t.Errorf("%q: calls of kubectl:\n%s", args, calls)
		}
	}
}

// TestHostileCluster checks that no command is run with invalid names from the API server.
func TestHostileCluster(t *testing.T) {
	c := newCluster(t)
	c.write("pods/shop/evil", podObject("shop", "evil", "--kubeconfig=x", ""))
	if code, out, diag := c.ask("inspect", "pod", "shop/evil"); code != 2 || out != "" || !strings.Contains(diag, "which are not names") {
		t.Errorf("exit code %d\n%s\n%s", code, out, diag)
	}
	c.write("agents/all", `{"items":[`+podObject("kube-system", "--all", "node-1", running)+","+podObject("kube-system", "masq-cni-b", "node-2", running)+`]}`)
	c.calls()
	if code, out, _ := c.ask("inspect"); code != 0 || out != "masq-cni-b: /masq-cni inspect\n" {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if calls := c.calls(); strings.Contains(calls, "--all ") {
		t.Errorf("calls of kubectl:\n%s", calls)
	}
}

// TestHostileNode checks that answers of a node are escaped for the terminal, and that no
// completion is a word that a shell expands.
func TestHostileNode(t *testing.T) {
	c := newCluster(t)
	c.write("kubectl", strings.NewReplacer(
		`*) echo "$pod: $*" ;;`, `*) printf '\033[2J\342\200\256 %s\n' "$pod"; printf '\033]0;x\007\n' >&2 ;;`,
		`printf 'both\nof %s\n:4\n' "$pod"`, `printf 'both\n$(reboot)\n\140x\140\n\033[2J\n:4;x\n:4\n'`,
	).Replace(fakeKubectl))
	for _, args := range [][]string{{"inspect"}, {"inspect", "--node", "node-1"}} {
		code, out, diag := c.ask(args...)
		if code != 0 || !strings.Contains(out, `\u001b[2J\u202e masq-cni-a`) || !strings.Contains(diag, `\u001b]0;x\u0007`) || strings.ContainsFunc(out+diag, isHarmful) {
			t.Errorf("%q: exit code %d\n%q\n%q", args, code, out, diag)
		}
	}
	if _, out, _ := c.ask("__complete", "inspect", "pod", ""); out != "both\n:4\n" {
		t.Errorf("%q", out)
	}
}
