package report

import (
	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Node is a node at a glance. What could not be queried is left out, and is one of
// the Problems.
type Node struct {
	// Healthy is false where there is a problem other than a warning. Verdict says in
	// a line how many there are, and the worst. Judge sets both.
	Healthy  bool     `json:"healthy"`
	Verdict  string   `json:"verdict"`
	Problems Problems `json:"problems"`

	Time     Time   `json:"time"`
	StateDir string `json:"stateDir"`
	Daemon   Daemon `json:"daemon"`
	Table    *Table `json:"table,omitempty"`

	// StateDirMissing says that StateDir does not exist.
	StateDirMissing bool `json:"stateDirMissing,omitempty"`

	// Links is left out where the links were not compared.
	Links *LinksState `json:"links,omitempty"`

	Attachments struct {
		Total    int `json:"total"`
		Chained  int `json:"chained"`
		NotReady int `json:"notReady"`
	} `json:"attachments"`
	// Dropped is what the table's rules have dropped; left out if it was not read.
	Dropped  *Dropped `json:"dropped,omitempty"`
	Policies []Policy `json:"policies"`
	Uplinks  []Uplink `json:"uplinks"`
	// Firewalls are base chains of other tables that can drop packets of containers.
	Firewalls []Firewall    `json:"firewalls"`
	Flows     *Flows        `json:"flows,omitempty"`
	Conntrack *ConntrackUse `json:"conntrack,omitempty"`
	// Losses are recent losses, for Judge, Ports the groups with the fewest ports left.
	Losses Losses      `json:"-"`
	Ports  []PortGroup `json:"-"`

	// Warnings are the Problems as sentences, set by Judge. Notes say what the report
	// omits, and how to include it.
	Warnings []string `json:"warnings"`
	Notes    []string `json:"notes"`
}

// Daemon is the masqd that works on the records.
type Daemon struct {
	Running bool `json:"running"`
	// PID is 0 where it is not seen from here, such as from a container.
	PID int `json:"pid,omitempty"`
	// Elsewhere says that it works in another network namespace than this one.
	Elsewhere bool `json:"elsewhere,omitempty"`
	// Stopped says that a signal or a debugger keeps it from working. It is not Running
	// then.
	Stopped bool `json:"stopped,omitempty"`
	// NotReady is why it is not ready, as /readyz says; empty where it is, or could not
	// be asked.
	NotReady string `json:"notReady,omitempty"`
	// Losses are recent losses that it has seen, nil where it could not be asked.
	Losses *Losses `json:"-"`
	// Configuration is the file or the pattern that it reads, ConfigurationFault why
	// that is not in effect.
	Configuration      string `json:"configuration,omitempty"`
	ConfigurationFault string `json:"configurationFault,omitempty"`
}

// Table is the nftables table as it is.
type Table struct {
	Exists     bool   `json:"exists"`
	Wanted     bool   `json:"wanted"` // there are attachments with a policy, or sources
	Generation uint32 `json:"generation"`
	Rules      int    `json:"rules"`
	Drift      int    `json:"drift"` // differences; inspect drift lists them
	// Owner is the other program that the table belongs to, empty for none, and
	// OwnerRemedy what to do.
	Owner       string `json:"owner,omitempty"`
	OwnerRemedy string `json:"-"`
	// Unrecorded is how many attachments an unwanted table has rules of.
	Unrecorded int `json:"unrecorded,omitempty"`
}

// Flows sums up the kernel's table.
type Flows struct {
	Total      int           `json:"total"`
	Translated int           `json:"translated"`
	Owned      int           `json:"owned"` // an attachment is at one end at least
	States     []StateCount  `json:"states"`
	Egress     []EgressCount `json:"egress"`
	Helpers    []HelperCount `json:"helpers"`
	// Expectations are connections that helpers wait for.
	Expectations int `json:"expectations"`
}

// ConntrackUse is how full the kernel's table is, and what has happened to it since
// the network namespace began.
type ConntrackUse struct {
	Entries uint32 `json:"entries"`
	Limit   uint32 `json:"limit"`
	// Accounting and Timestamps say whether the kernel counts packets of flows that
	// begin now, and keeps their times.
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

// ConntrackUseOf joins what the kernel says of its table.
func ConntrackUseOf(t conntrack.Table, s conntrack.Statistics) *ConntrackUse {
	return &ConntrackUse{
		Entries: t.Entries, Limit: t.Limit,
		Invalid: s.Invalid, InsertFailed: s.InsertFailed, Drop: s.Drop, EarlyDrop: s.EarlyDrop,
		Error: s.Error, SearchRestart: s.SearchRestart, ClashResolve: s.ClashResolve, ChainTooLong: s.ChainTooLong,
	}
}

// FlowsOf sums up a tally.
func FlowsOf(t *Tally, expectations int) *Flows {
	return &Flows{
		Total: t.Flows, Translated: t.Translated, Owned: t.Owned,
		States: t.States(), Egress: t.Egress(), Helpers: t.Helpers(), Expectations: expectations,
	}
}
