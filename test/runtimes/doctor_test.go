package runtimes

import (
	"encoding/json"
	"fmt"

	"github.com/masq-cni/masq-cni/test/assert"
)

// diagnosis is what the tests use of the answer of doctor.
type diagnosis struct {
	Verdict  string
	Findings []struct{ Check, Object, Message string }
	// NotChecked are the checks that could not be made.
	NotChecked []struct{ Check, Reason string }
}

// doctor runs masq-cni doctor in the node, and returns its answer and exit code.
func (n *node) doctor(args ...string) (d diagnosis, code int) {
	n.t.Helper()
	cmd := n.shell(soon(n.t), "masq-cni doctor -o json"+quoted(args))
	out, _ := cmd.Output() // the exit code follows from the findings
	if err := json.Unmarshal(out, &d); err != nil {
		n.t.Fatalf("doctor %q: %v\n%s", args, err, out)
	}
	return d, cmd.ProcessState.ExitCode()
}

// sound checks that doctor has no finding, on the node and for containers with these IDs, each
// with a probe to a server.
func (n *node) sound(when string, ids ...string) {
	n.t.Helper()
	srv := assert.Must(n.Server.ServeTLS(at(n.V4.Server, 443)))(n.t)
	defer func() { assert.NoError(n.t, srv.Close()) }()
	all := [][]string{nil}
	for _, id := range ids {
		all = append(all, []string{"pod", id}, []string{"pod", id, "--to", srv.Addr().String()})
	}
	for _, args := range all {
		// On a busy machine answers to a probe may be late: then a part is not checked.
		eventually(n.t, func() error {
			d, code := n.doctor(args...)
			if code != 0 || len(d.Findings) > 0 {
				n.t.Errorf("%s: doctor %q: exit code %d, %s, findings %+v", when, args, code, d.Verdict, d.Findings)
				return nil
			}
			if len(d.NotChecked) > 0 {
				return fmt.Errorf("%s: doctor %q: not checked %+v", when, args, d.NotChecked)
			}
			return nil
		})
	}
}

// faulty is the control of sound: doctor finds a table that is missing.
func (n *node) faulty() {
	n.t.Helper()
	n.must("nft delete table inet masq")
	d, code := n.doctor()
	if code != 1 || len(d.Findings) == 0 || d.Findings[0].Check != "table-missing" {
		n.t.Errorf("without the table: exit code %d, %+v", code, d)
	}
	n.must("masq-cni doctor --fix --yes")
}
