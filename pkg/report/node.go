package report

import (
	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Node is the summary of a node. A part that could not be queried is omitted, and is one of
// the Problems.
type Node struct {
	// Healthy is false if a problem is worse than a warning. Verdict is a line with the number
	// of problems and the worst. Evaluate sets both.
	Healthy  bool     `json:"healthy"`
	Verdict  string   `json:"verdict"`
	Problems Problems `json:"problems"`

	Time     Time   `json:"time"`
	StateDir string `json:"stateDir"`
	Daemon   Daemon `json:"daemon"`
	Table    *Table `json:"table,omitempty"`

	// StateDirMissing is true if StateDir does not exist.
	StateDirMissing bool `json:"stateDirMissing,omitempty"`

	// Links is omitted if links were not compared.
	Links *LinksState `json:"links,omitempty"`

	Attachments struct {
		Total    int `json:"total"`
		Chained  int `json:"chained"`
		NotReady int `json:"notReady"`
	} `json:"attachments"`
	// Dropped is omitted if the counters could not be read.
	Dropped  *Dropped `json:"dropped,omitempty"`
	Policies []Policy `json:"policies"`
	Uplinks  []Uplink `json:"uplinks"`
	// Firewalls are base chains of other tables that can drop packets of containers.
	Firewalls []Firewall    `json:"firewalls"`
	Flows     *Flows        `json:"flows,omitempty"`
	Conntrack *ConntrackUse `json:"conntrack,omitempty"`
	// DaemonHelpers counts what masqd's helpers do. It is omitted if no policy has one.
	DaemonHelpers *DaemonHelpers `json:"daemonHelpers,omitempty"`
	// Losses and Ports are inputs of Evaluate: recent losses, and the groups with the fewest
	// free ports.
	Losses Losses      `json:"-"`
	Ports  []PortGroup `json:"-"`
	// FlowHolders are the attachments with the most flows. Spoofed are the attachments that
	// sent packets with other sources. Both are inputs of Evaluate.
	FlowHolders []FlowHolder `json:"-"`
	Spoofed     []Spoofed    `json:"-"`

	// Warnings are the Problems as sentences, set by Evaluate. Notes describe what the report
	// omits, and how to include it.
	Warnings []string `json:"warnings"`
	Notes    []string `json:"notes"`
}

// Daemon is the masqd that uses the records.
type Daemon struct {
	Running bool `json:"running"`
	// Expected is true if masqd runs, has run since boot, or is enabled in systemd. A node works
	// without masqd, which restores what other programs change.
	Expected bool `json:"-"`
	// PID is 0 if it is unknown, as in a container.
	PID int `json:"pid,omitempty"`
	// Elsewhere is true if masqd runs in another network namespace.
	Elsewhere bool `json:"elsewhere,omitempty"`
	// Stopped is true if a signal or a debugger has stopped the process. Running is false
	// then.
	Stopped bool `json:"stopped,omitempty"`
	// NotReady is the reason from /readyz. It is empty if masqd is ready, or was not queried.
	NotReady string `json:"notReady,omitempty"`
	// Losses are recent losses that masqd has detected, nil if it was not queried.
	Losses *Losses `json:"-"`
	// Configuration is the file or the pattern that masqd reads. ConfigurationFault is why
	// that configuration is not in effect.
	Configuration      string `json:"configuration,omitempty"`
	ConfigurationFault string `json:"configurationFault,omitempty"`
	// Helpers are the helpers of containers that masqd serves now.
	Helpers []string `json:"helpers,omitempty"`
	// Evidence are the values that show this state.
	Evidence []Evidence `json:"-"`
}

// Table is the observed state of table inet masq.
type Table struct {
	Exists     bool   `json:"exists"`
	Desired    bool   `json:"wanted"` // attachments with a policy, or sources, need the table
	Generation uint32 `json:"generation"`
	Rules      int    `json:"rules"`
	Drift      int    `json:"drift"` // number of differences; inspect drift lists them
	// Unread is how many of the differences are records that cannot be read. Changes are the
	// other differences, or some of them.
	Unread  int      `json:"-"`
	Changes []Change `json:"-"`
	// Owner is another program that owns the table, or empty. OwnerRemedy is what to do.
	Owner       string `json:"owner,omitempty"`
	OwnerRemedy string `json:"-"`
	// Unrecorded is the number of attachments that have rules in the table, if no record
	// needs the table.
	Unrecorded int `json:"unrecorded,omitempty"`
}

// Flows is the summary of the kernel's flow table.
type Flows struct {
	Total      int           `json:"total"`
	Translated int           `json:"translated"`
	Owned      int           `json:"owned"` // flows with an attachment at one end or both
	States     []StateCount  `json:"states"`
	Egress     []EgressCount `json:"egress"`
	Helpers    []HelperCount `json:"helpers"`
	// Expectations is the number of connections that helpers expect.
	Expectations int `json:"expectations"`
}

// ConntrackUse is the size of the kernel's flow table, its limit, and its counters since the
// network namespace was created.
type ConntrackUse struct {
	Entries uint32 `json:"entries"`
	Limit   uint32 `json:"limit"`
	// Accounting and Timestamps are true if the kernel counts packets of new flows, and
	// stores their times.
	Accounting bool `json:"accounting"`
	Timestamps bool `json:"timestamps"`

	Invalid       uint64 `json:"invalid"`
	InsertFailed  uint64 `json:"insertFailed"`
	Drop          uint64 `json:"drop"`
	EarlyDrop     uint64 `json:"earlyDrop"`
	Error         uint64 `json:"error"`
	SearchRestart uint64 `json:"searchRestart"`
	ClashResolve  uint64 `json:"clashResolve"`
	ChainTooLong  uint64 `json:"chainTooLong"`
}

// ConntrackUseOf joins the size and the statistics of the table.
func ConntrackUseOf(t conntrack.Table, s conntrack.Statistics) *ConntrackUse {
	return &ConntrackUse{
		Entries: t.Entries, Limit: t.Limit,
		Invalid: s.Invalid, InsertFailed: s.InsertFailed, Drop: s.Drop, EarlyDrop: s.EarlyDrop,
		Error: s.Error, SearchRestart: s.SearchRestart, ClashResolve: s.ClashResolve, ChainTooLong: s.ChainTooLong,
	}
}

// FlowsOf converts a tally.
func FlowsOf(t *Tally, expectations int) *Flows {
	return &Flows{
		Total: t.Flows, Translated: t.Translated, Owned: t.Owned,
		States: t.States(), Egress: t.Egress(), Helpers: t.Helpers(), Expectations: expectations,
	}
}
