package screen

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/terminal"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// minInterval is the least time between two readings.
const minInterval = 100 * time.Millisecond

// Flags are the flags --watch and --interval.
type Flags struct {
	Watch    bool
	interval time.Duration
}

// Register declares the flags for a command and the commands below it.
func (x *Flags) Register(c *cobra.Command) {
	f := c.PersistentFlags()
	f.BoolVar(&x.Watch, "watch", false, "read repeatedly, and show the result on the whole terminal; keys sort and filter, ? lists them")
	f.DurationVar(&x.interval, "interval", time.Second, "with --watch, `TIME` from one reading to the next; at least 10 times as long as a reading takes")
}

// terminals returns the terminals that keys come from and that the screen is drawn on, or
// every reason why --watch cannot run.
func (x *Flags) terminals(c *cobra.Command, format report.Format) (in, out *os.File, err error) {
	const remedy = "; run it on a terminal, or leave --watch out"
	var errs []error
	if format != "" {
		errs = append(errs, fmt.Errorf("--watch is for a person, and --output %q for a program; leave one of them out", format))
	}
	if x.interval < minInterval {
		errs = append(errs, fmt.Errorf("--interval %s is below %s; give a longer time", x.interval, minInterval))
	}
	if !terminal.Is(c.InOrStdin()) {
		errs = append(errs, errors.New("--watch: the standard input is no terminal"+remedy))
	}
	if !terminal.Is(c.OutOrStdout()) {
		errs = append(errs, errors.New("--watch: the standard output is no terminal"+remedy))
	}
	if term := os.Getenv("TERM"); term == "" || term == "dumb" {
		errs = append(errs, errors.New("--watch: TERM is "+strconv.Quote(term)+", which cannot move its cursor; set it to the terminal's kind, such as xterm"))
	}
	in, _ = c.InOrStdin().(*os.File)
	out, _ = c.OutOrStdout().(*os.File)
	return in, out, errors.Join(errs...)
}

// hostOf returns the name of the watched node: the machine's host name, and the network
// namespace that --netns names.
func hostOf(c *cobra.Command) string {
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	if f := c.Flag("netns"); f != nil && f.Changed {
		name = strings.TrimSpace(name + " netns " + filepath.Base(f.Value.String()))
	}
	return report.CleanText(name)
}
