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

// prepare has the sysctls and kernel modules that a node needs before masqd starts.
type prepare struct {
	sysctls, modules []string
	dir              string // --sysctl-dir
}

// PrepareCommand returns the command prepare.
func PrepareCommand() *cobra.Command {
	var p prepare
	c := &cobra.Command{
		Use:   "prepare",
		Short: "Sets sysctls and loads kernel modules",
		Long: `Sets sysctls and lets the kernel load modules, before masqd runs in a container without
the rights for either. It has to run as root, with CAP_NET_ADMIN for sysctls of
forwarding, and with CAP_SYS_MODULE for modules, which the node's own modprobe loads. A
sysctl that already has the value is not written.

If a module is not loaded afterwards, a warning is printed: the module may be built into
the kernel.`,
		Example: `  masq-cni prepare --sysctl net.ipv4.ip_forward=1 --module nf_nat_ftp`,
		Args:    arity.None,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.run(c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringArrayVar(&p.sysctls, "sysctl", nil, "a sysctl, `NAME=VALUE`; may be given several times")
	f.StringArrayVar(&p.modules, "module", nil, "the `NAME` of a module; may be given several times")
	f.StringVar(&p.dir, "sysctl-dir", "/proc/sys", "the `DIR` with the node's sysctls")
	return c
}

// run sets and loads as much as it can, and reports every error.
func (p *prepare) run(stdout, stderr io.Writer) error {
	if len(p.sysctls)+len(p.modules) == 0 {
		return errors.New("nothing to do; give --sysctl NAME=VALUE or --module NAME")
	}
	var errs []error
	// Load modules first: a module may add sysctls.
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

// set sets a sysctl, and reports whether it had another value.
func (p *prepare) set(s string) (changed bool, err error) {
	name, value, given := strings.Cut(s, "=")
	path := strings.ReplaceAll(name, ".", "/")
	if !given || value == "" || !filepath.IsLocal(path) {
		return false, fmt.Errorf("%q is not NAME=VALUE, such as net.ipv4.ip_forward=1", s)
	}
	path = filepath.Join(p.dir, path)
	present, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(present)) == value {
		return false, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, unix.ENOENT) {
		return false, fmt.Errorf("%s: the kernel has no such sysctl; if a module adds it, load the module first with --module", name)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w; run as root, with %s mounted for writing", name, err, p.dir)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return false, fmt.Errorf("%s: the kernel refuses %q: %w", name, value, err)
	}
	return true, nil
}
