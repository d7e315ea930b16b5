// Command bench measures masq and its peers and prints Markdown. make bench runs it and puts the
// output into docs/benchmarks.md; that page describes what is measured and how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// bench is one run.
type bench struct {
	programs
	site        *site
	stderr      io.Writer
	start       time.Time
	attachments int               // for each plugin
	bursts      int               // rounds of calls at once
	steps       int               // calls at a level
	rounds      int               // rounds of traffic
	repairs     int               // for each kind of change
	variants    map[string]string // name of a table: the program that makes it
}

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 3 && args[0] == soleWord {
		if err := sole(context.Background(), args[1], args[2], stdout); err != nil {
			_, _ = fmt.Fprintln(stderr, "bench:", err)
			return 1
		}
		return 0
	}
	b := &bench{stderr: stderr, start: time.Now(), programs: programs{os.Getenv("MASQ_BIN"), os.Getenv("MASQ_PEERS")}, variants: map[string]string{}}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&b.attachments, "attachments", 300, "number of attachments per plugin, for ADD and DEL one by one")
	flags.IntVar(&b.bursts, "bursts", 11, "rounds of calls at once")
	flags.IntVar(&b.steps, "steps", 100, "calls among few and among many")
	flags.IntVar(&b.rounds, "rounds", 60, "rounds of connections and packets")
	flags.IntVar(&b.repairs, "repairs", 100, "number of repairs of each kind")
	flags.Func("variant", "`name=program`: send through a variant of masq's table as well, which the program makes of nft's listing on stdin", func(v string) error {
		name, program, ok := strings.Cut(v, "=")
		if !ok {
			return errors.New("want name=program")
		}
		b.variants[name] = program
		return nil
	})
	var all []string
	for _, m := range measurements {
		all = append(all, m.name)
	}
	only := flags.String("only", strings.Join(all, ","), "what to measure")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx, strings.Split(*only, ","), stdout); err != nil {
		_, _ = fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

func (b *bench) run(ctx context.Context, only []string, stdout io.Writer) error {
	if b.masq == "" || b.peers == "" {
		return errors.New("MASQ_BIN and MASQ_PEERS say where the plugins are: run make bench")
	}
	about, err := about(ctx, filepath.Join(b.masq, "masq"))
	if err != nil {
		return err
	}
	before, err := observe()
	if err != nil {
		return err
	}
	var all []section
	for _, name := range only {
		s, err := b.measure(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, s)
		b.progress("%s: done", name)
	}
	if err := before.write(stdout, about); err != nil {
		return err
	}
	for _, s := range all {
		if err := s.write(stdout); err != nil {
			return err
		}
	}
	return nil
}

type measurement struct {
	name string
	take func(*bench, context.Context) (section, error)
}

// measurements are all measurements, in the order of the page.
var measurements = []measurement{
	{"calls", (*bench).calls},
	{"burst", (*bench).burst},
	{"usable", (*bench).usable},
	{"levels", (*bench).levels},
	{"failed", (*bench).failed},
	{"checks", (*bench).checks},
	{"program", (*bench).binary},
	{"flows", (*bench).flows},
	{"packets", (*bench).packets},
	{"daemon", (*bench).daemon},
	{"churn", (*bench).busy},
	{"conntrack", (*bench).conntrack},
	{"doctor", (*bench).doctor},
	{"helpers", (*bench).helpers},
}

// measure takes one measurement on a separate site: among a thousand links and namespaces of other
// measurements, conntrack -E loses events at a sixth of the rate.
func (b *bench) measure(ctx context.Context, name string) (s section, err error) {
	i := slices.IndexFunc(measurements, func(m measurement) bool { return m.name == name })
	if i < 0 {
		return section{}, errors.New("there is no such measurement")
	}
	if b.site, err = newSite(); err != nil {
		return section{}, err
	}
	defer func() {
		b.progress("clearing away")
		err = errors.Join(err, b.site.close())
		debug.FreeOSMemory()
		if err == nil {
			err = calm(ctx)
		}
	}()
	return measurements[i].take(b, ctx)
}

// progress reports the state of a run, which takes minutes.
func (b *bench) progress(text string, args ...any) {
	_, _ = fmt.Fprintf(b.stderr, "%4.0f s  %s\n", time.Since(b.start).Seconds(), fmt.Sprintf(text, args...))
}

// about returns a plugin's output without a CNI command: its version.
func about(ctx context.Context, program string) (string, error) {
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = []string{}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(line, "CNI plugin masq "), nil
}
