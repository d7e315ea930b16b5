package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// MissingHelper is a helper of a policy, and the module for it that the kernel lacks.
type MissingHelper struct {
	Helper string // the name in the configuration
	Module string
}

// HasNAT reports whether the kernel can translate the payload of the policy's helpers, and
// has it load the modules for that. The kernel does not load a helper's nf_nat_ module by
// itself. Call HasNAT after the rules are made: by then the kernel has loaded the helpers.
func (c *Conn) HasNAT(p masq.Policy) bool { return len(c.missingNAT(p)) == 0 }

func (c *Conn) missingNAT(p masq.Policy) []MissingHelper {
	return modules{loaded: "/proc/modules", builtin: builtinFile, load: c.load}.missingNAT(p)
}

// modules has the kernel's lists of modules.
type modules struct {
	loaded  string        // /proc/modules, which does not exist if the kernel has no modules
	builtin func() string // returns the path of modules.builtin
	load    func(module string)
}

func (m modules) missingNAT(p masq.Policy) []MissingHelper {
	if p.EgressDirect { // nothing is translated
		return nil
	}
	var missing []MissingHelper
	var live, builtin []string
	for _, h := range p.KernelHelpers() {
		kind, ok := masq.HelperKindOf(h.Name)
		if !ok || kind.NAT == "" {
			continue
		}
		if live == nil {
			if live = m.live(); live == nil {
				return nil
			}
		}
		if slices.Contains(live, kind.NAT) {
			continue
		}
		if builtin == nil {
			builtin = names(m.builtin())
		}
		// If the list is not available, as in a container, both parts are assumed to be
		// built in if the helper works and is not a module.
		if slices.Contains(builtin, kind.NAT) || len(builtin) == 0 && !slices.Contains(live, kind.Module) {
			continue
		}
		m.load(kind.NAT)
		if live = m.live(); !slices.Contains(live, kind.NAT) {
			missing = append(missing, MissingHelper{kind.Name, kind.NAT})
		}
	}
	return missing
}

// live returns the modules that are ready, or nil if the kernel does not list modules.
func (m modules) live() []string {
	b, err := os.ReadFile(m.loaded)
	if err != nil {
		return nil
	}
	out := []string{}
	for line := range strings.Lines(string(b)) {
		// name size users dependents state address (m_show in kernel/module/procfs.c)
		if f := strings.Fields(line); len(f) > 4 && f[4] == "Live" {
			out = append(out, f[0])
		}
	}
	return out
}

// names reads a modules.builtin, which has the path of a .ko in each line.
func names(file string) []string {
	b, _ := os.ReadFile(file) // without the file there are no names
	var out []string
	for ko := range strings.FieldsSeq(string(b)) {
		out = append(out, strings.TrimSuffix(path.Base(ko), ".ko"))
	}
	return out
}

func builtinFile() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return "/lib/modules/" + unix.ByteSliceToString(u.Release[:]) + "/modules.builtin"
}

// load has the kernel load a module. If it fails, the module is not in /proc/modules.
func (c *Conn) load(module string) {
	if LoadModule(module) != nil {
		// The name nf_nat_snmp_basic is longer than an interface's. The module has the
		// alias nfct-helper-snmp_trap, so the kernel loads it when that helper is
		// requested.
		_ = c.check([]op{addTable(0), addObject(ruleset.Object{Name: "snmp_trap", Kernel: "snmp_trap", Protocol: "udp", IPv4Only: true})})
	}
}

// LoadModule has the kernel load a module whose name has at most 15 bytes, like an
// interface's. If it fails, the module is not in /proc/modules. Requires CAP_SYS_MODULE.
func LoadModule(module string) error {
	ifr, err := unix.NewIfreq(module)
	if err != nil {
		return fmt.Errorf("%q is longer than the 15 bytes that an interface's name may have", module)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(s)
	// With CAP_SYS_MODULE, asking for an interface that does not exist loads the module of
	// that name (dev_load in net/core/dev_ioctl.c).
	_ = unix.IoctlIfreq(s, unix.SIOCGIFINDEX, ifr)
	return nil
}

// MissingHelpers returns the conntrack helpers of a policy that the running kernel lacks.
// It does not change the ruleset, and has the kernel load the modules that it can. It
// fails if the kernel cannot be queried.
func (c *Conn) MissingHelpers(p masq.Policy) ([]MissingHelper, error) {
	a := masq.Attachment{Policy: &p, Addresses: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}}
	var missing []MissingHelper
	for _, o := range ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, ruleset.Egress{}).Objects {
		add := addObject(o)
		err := c.check([]op{addTable(0), add})
		var failed *opError
		switch {
		case err == nil:
		case errors.As(err, &failed) && errors.Is(err, unix.ENOENT):
			if m := (MissingHelper{o.Helper(), o.Module}); !slices.Contains(missing, m) {
				missing = append(missing, m)
			}
		default:
			return nil, explain(err)
		}
	}
	for _, m := range c.missingNAT(p) {
		// If the helper itself is missing, it is in the list already.
		if !slices.ContainsFunc(missing, func(x MissingHelper) bool { return x.Helper == m.Helper }) {
			missing = append(missing, m)
		}
	}
	return missing, nil
}
