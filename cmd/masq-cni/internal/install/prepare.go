package install

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/pkg/nft"
)

// prepare is what a node is to have before masqd starts.
type prepare struct {
	sysctls, modules []string
	dir              string // of sysctls
}

// PrepareCommand returns the command prepare.
func PrepareCommand() *cobra.Command {
	var p prepare
	c := &cobra.Command{
		Use:   "prepare",
		Short: "Sets sysctls and loads modules of the kernel, and nothing else",
		Long: `Sets sysctls and has the kernel load modules, for masqd, which may do neither in a
container. It needs to be root, CAP_NET_ADMIN for forwarding, and CAP_SYS_MODULE for
modules, which the node's own modprobe loads. A sysctl that has its value already is
not written.

A module that is not there afterwards is a warning: it may be built into the kernel.`,
		Example: `  masq-cni prepare --sysctl net.ipv4.ip_forward=1 --module nf_nat_ftp`,
		Args:    arity.None,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.run(c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringArrayVar(&p.sysctls, "sysctl", nil, "a sysctl, `NAME=VALUE`; more than once for more of them")
	f.StringArrayVar(&p.modules, "module", nil, "the `NAME` of a module; more than once for more of them")
	f.StringVar(&p.dir, "sysctl-dir", "/proc/sys", "the `DIR` with the node's sysctls")
	return c
}

// run does all that can be done, and reports every fault.
func (p *prepare) run(stdout, stderr io.Writer) error {
	if len(p.sysctls)+len(p.modules) == 0 {
		return errors.New("nothing is asked for; give --sysctl NAME=VALUE or --module NAME")
	}
	var errs []error
	// First: what a module brings may be a sysctl.
	for _, name := range p.modules {
		if err := nft.LoadModule(name); err != nil {
			errs = append(errs, fmt.Errorf("--module: %w", err))
			continue
		}
		if _, err := os.Stat("/sys/module/" + strings.ReplaceAll(name, "-", "_")); err != nil {
			_, _ = fmt.Fprintf(stderr, "warning: module %s is not loaded; unless it is built into the kernel, run `modprobe %s` on the node\n", name, name)
		}
	}
	for _, s := range p.sysctls {
		changed, err := p.set(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("--sysctl: %w", err))
		}
		if changed {
			_, _ = fmt.Fprintln(stdout, "set:", s)
		}
	}
	return errors.Join(errs...)
}

// set sets a sysctl, and reports whether it was another before.
func (p *prepare) set(s string) (changed bool, err error) {
	name, value, given := strings.Cut(s, "=")
	path := strings.ReplaceAll(name, ".", "/")
	if !given || value == "" || !filepath.IsLocal(path) {
		return false, fmt.Errorf("%q is not NAME=VALUE, such as net.ipv4.ip_forward=1", s)
	}
	path = filepath.Join(p.dir, path)
	is, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(is)) == value {
		return false, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, unix.ENOENT) {
		return false, fmt.Errorf("%s: the kernel has no such sysctl, or not yet; a module may bring it", name)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w; it is for root, where %s can be written to", name, err, p.dir)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return false, fmt.Errorf("%s: the kernel refuses %q: %w", name, value, err)
	}
	return true, nil
}
