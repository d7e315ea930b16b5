package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// The conditions that docs/who.md and the README's example assume, and the proofs of their
// commands.
func init() {
	before["docs/who.md"] = (*docNode).inspected
	before["README.md"] = (*docNode).inspected
	maps.Copy(proofs, map[string]proof{
		"bin/masq-cni who 192.0.2.2:51688":                       asks{},
		"masq-cni who 192.0.2.2:51688":                           asks{},
		"masq-cni who 192.0.2.2:51688 -o json":                   asks{},
		"masq-cni who 192.0.2.2:51688/tcp --to 198.51.100.2:443": asks{},
		"masq-cni who 192.0.2.2:4711 || echo $?":                 runs{},
	})
}

// asks runs a command with the egress port of the only flow in place of the page's port.
type asks struct{}

func (asks) prove(m *docNode, c docCommand) error {
	const onPage = "192.0.2.2:51688"
	out, err := m.shell("bin/masq-cni inspect flows --pod shop/web -o json").Output()
	if err != nil {
		return err
	}
	var flows []report.Flow
	if err := json.Unmarshal(out, &flows); err != nil {
		return err
	}
	if len(flows) != 1 || !strings.Contains(c.text, onPage) {
		return fmt.Errorf("%s, and %d flows", c.text, len(flows))
	}
	c.text = strings.ReplaceAll(c.text, onPage, source(flows[0].Translated).String())
	return runs{}.prove(m, c)
}
