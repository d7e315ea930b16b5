package nodeconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// LegacyFlag is a command line flag of ip-masq-agent or of Azure's ip-masq-agent-v2, and its
// effect on masqd.
type LegacyFlag struct {
	Name  string
	Usage string
	// Bool is true for a flag that may be given without a value. Its value is then "true".
	Bool bool
	// NoEffect is true for a flag that does not change the configuration. Apply accepts its
	// values, or refuses a value whose effect the user would otherwise expect.
	NoEffect bool
	// Note is for the log if a flag without effect is given. It may be empty.
	Note string
	// Apply changes a configuration as the flag says. An error names the alternative.
	Apply func(n *Node, value string) error
}

// LegacyFlags returns all these flags. Sources: cmd/ip-masq-agent/ip-masq-agent.go of
// kubernetes-sigs/ip-masq-agent, cmd/ip-masq-agent-v2/ip-masq-agent.go of
// Azure/ip-masq-agent-v2, and for the flags of the log InitFlags of klog 2.130
// and init of glog, which the two programs register. The DaemonSet of GKE sets masq-chain
// and, on request, nomasq-all-reserved-ranges.
func LegacyFlags() []LegacyFlag {
	const log = "in ip-masq-agent: "
	const stderr = "logs go to stderr; collect them from there"
	return []LegacyFlag{
		{
			Name:     "masq-chain",
			Usage:    "name of ip-masq-agent's chain in iptables; masqd does not write such a chain",
			NoEffect: true,
			Note:     "the rules are in the nftables table inet masq; remove a chain that ip-masq-agent left in iptables by hand",
			Apply:    chain,
		},
		{
			Name:  "nomasq-all-reserved-ranges",
			Usage: "make all IPv4 ranges direct that RFCs reserve, if no file gives nonMasqueradeCIDRs",
			Bool:  true,
			Apply: allReserved,
		},
		{
			Name:  "enable-ipv6",
			Usage: "masquerade both families; false makes all IPv6 destinations direct",
			Bool:  true,
			Apply: enableIPv6,
		},
		{
			Name:  "random-fully",
			Usage: "choose source ports at random (randomFully of the file)",
			Bool:  true,
			Apply: func(n *Node, value string) error { return parseBool(value, &n.Policy.RandomFully) },
		},
		{
			Name:  "to-ports",
			Usage: "source ports to choose from, such as 20000-29999,32768-65535 (toPorts of the file)",
			Apply: toPortsFlag,
		},
		{
			Name:  "resync-interval",
			Usage: "time between two comparisons of the whole table: a duration such as 60s, or seconds as in ip-masq-agent-v2 (resyncInterval of the file)",
			Apply: resyncFlag,
		},
		ignored("v", false, log+"verbosity", "use --log-level debug for more"),
		ignored("logtostderr", true, log+"log to stderr", stderr),
		ignored("alsologtostderr", true, log+"log to stderr too", stderr),
		ignored("stderrthreshold", false, log+"minimum severity for stderr", "use --log-level"),
		ignored("legacy_stderr_threshold_behavior", true, log+"whether logtostderr overrides stderrthreshold", "use --log-level"),
		ignored("alsologtostderrthreshold", false, log+"minimum severity for stderr in addition to files", "use --log-level"),
		ignored("add_dir_header", true, log+"directories in the log", "use --log-format"),
		ignored("skip_headers", true, log+"no prefixes in the log", "use --log-format"),
		ignored("skip_log_headers", true, log+"no headers in log files", "there are no log files"),
		ignored("one_output", true, log+"each message in one log file only", "there are no log files"),
		ignored("log_file_max_size", false, log+"size of a log file", "there are no log files"),
		refused("log_file", log+"log to a file", stderr),
		refused("log_dir", log+"log to files", stderr),
		refused("log_link", log+"links to log files", stderr),
		refused("logbuflevel", log+"severity up to which logs are buffered", "logs are not buffered; use --log-level"),
		refused("vmodule", log+"verbosity of single source files", "use --log-level debug"),
		refused("log_backtrace_at", log+"stack traces in the log", "use --log-level debug"),
	}
}

func ignored(name string, isBool bool, usage, note string) LegacyFlag {
	return LegacyFlag{Name: name, Usage: usage + "; " + note, Bool: isBool, NoEffect: true, Note: note, Apply: func(*Node, string) error { return nil }}
}

// refused is a flag with an effect that the user would miss. Without a value it has no
// effect.
func refused(name, usage, alternative string) LegacyFlag {
	return LegacyFlag{Name: name, Usage: usage + "; " + alternative, NoEffect: true, Apply: func(_ *Node, value string) error {
		if value == "" {
			return nil
		}
		return fmt.Errorf("%s has no equivalent in masqd; %s", masq.Quote(value), alternative)
	}}
}

func parseBool(value string, to *bool) error {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("%s is not a boolean; give true or false", masq.Quote(value))
	}
	*to = b
	return nil
}

// chain refuses names that iptables would refuse. Other names have no effect.
func chain(_ *Node, value string) error {
	const longest = 28 // XT_EXTENSION_MAXNAMELEN - 1 of iptables
	if value == "" || len(value) > longest || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%s is not the name of a chain; give 1-%d characters, or leave the flag out", masq.Quote(value), longest)
	}
	return nil
}

func allReserved(n *Node, value string) error {
	var all bool
	if err := parseBool(value, &all); err != nil || !all || !n.Assumed {
		return err
	}
	more := without(without(reserved, n.Policy.Masquerade), n.Policy.NonMasquerade)
	n.Policy.NonMasquerade = slices.Concat(n.Policy.NonMasquerade, more)
	return nil
}

// enableIPv6 makes every IPv6 destination direct if the flag is false. ip-masq-agent then
// does not masquerade IPv6, and refuses IPv6 prefixes in the file.
func enableIPv6(n *Node, value string) error {
	var enable bool
	if err := parseBool(value, &enable); err != nil || enable {
		return err
	}
	isIPv6 := func(p netip.Prefix) bool { return masq.FamilyOf(p.Addr()) == masq.IPv6 }
	for _, list := range [][]netip.Prefix{n.Policy.NonMasquerade, n.Policy.Masquerade} {
		if i := slices.IndexFunc(list, isIPv6); i >= 0 {
			return fmt.Errorf("%s conflicts with the IPv6 prefix %q of a file; remove the prefix, or leave the flag out", masq.Quote(value), list[i])
		}
	}
	n.Policy.NonMasquerade = append(slices.Clone(n.Policy.NonMasquerade), netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	return nil
}

func toPortsFlag(n *Node, value string) error {
	if value == "" { // the default of ip-masq-agent
		return nil
	}
	ranges, wrong := masq.ParseToPorts(value)
	for _, bad := range wrong {
		return fmt.Errorf("%s is not valid: %s", masq.Quote(value), bad)
	}
	if wrong := masq.TooManyPairs(len(ranges), n.Policy.SNATAddresses); wrong != "" {
		return fmt.Errorf("%s is not valid: %s; give fewer addresses or fewer ranges", masq.Quote(value), wrong)
	}
	n.Policy.ToPorts = ranges
	return nil
}

func resyncFlag(n *Node, value string) error {
	text := value
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		text = (time.Duration(seconds) * time.Second).String()
	}
	d, wrong := parseInterval(text)
	if wrong != "" {
		return fmt.Errorf("%s %s; %s", masq.Quote(value), wrong, intervalRemedy)
	}
	n.ResyncInterval = d
	return nil
}
