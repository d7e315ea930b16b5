package ruleset

import "time"

// Family and Name identify the table that masq-cni manages.
const (
	Family = "inet"
	Name   = "masq"
)

// HelperTableName is the name of the table for masqd's helpers. The socket that made it owns
// it: the kernel deletes it when the socket is closed, also after a SIGKILL.
const HelperTableName = "masq-helpers"

// IsManaged reports whether masq-cni makes the table of a family and name.
func IsManaged(family, name string) bool {
	return family == Family && (name == Name || name == HelperTableName)
}

// Table is a complete ruleset.
type Table struct {
	Name    string // HelperTableName, or "" for the table that masq-cni manages
	Objects []Object
	Sets    []Set
	Chains  []Chain
}

// Set is a set or, with Verdict, MSS or Data, a map.
type Set struct {
	Name string
	// Type is the type of the key as nft writes it: "ipv4_addr", "ifname . ipv4_addr".
	Type     string
	Verdict  bool
	Counter  bool
	Interval bool
	// MSS says that the set is a map from destinations to maximum segment sizes.
	MSS bool
	// Data is the type of the values of a map to addresses and ports: "ipv4_addr . inet_service".
	Data string
	// Timeout says that elements may have a time after which the kernel deletes them.
	Timeout bool
	// Live says that the elements are attachments, which come and go. The elements of
	// other sets are part of the rules.
	Live     bool
	Elements []Element
}

// Element is an element of a set, in nft's notation.
type Element struct {
	Key     string // "10.88.0.5", "10.88.0.5 . 21", "10.0.0.0-10.8.255.255"
	Goto    string // the chain, in a verdict map
	MSS     uint16 // in bytes, in a map to maximum segment sizes
	Data    string // "10.88.0.5 . 5000", in a map to addresses and ports
	Timeout time.Duration
	Comment string
}

// SetElements are elements of a set. The field Elements of Set is ignored.
type SetElements struct {
	Set      Set
	Elements []Element
}

// Chain is a chain, or a base chain if Hook is set.
type Chain struct {
	Name  string
	Hook  *Hook
	Rules []Rule
}

// Hook is the place of a base chain in the path of a packet.
type Hook struct {
	Type     string // "filter" or "nat"
	Point    string // "prerouting", "forward" or "postrouting"
	Priority string // as nft writes it
}

// Rule is one rule. Its ID is unique within its chain and is its comment in the kernel.
type Rule struct {
	ID   string
	Text string // in nft's notation, without the comment
	Why  string
}
