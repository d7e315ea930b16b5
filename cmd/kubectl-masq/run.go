package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/masq-cni/masq-cni/cmd/internal/terminal"
)

// exec prepares masq-cni in a pod.
func (k kubectl) exec(ctx context.Context, a agent, tty bool, words []string) *exec.Cmd {
	args := []string{"exec", "--namespace=" + a.namespace, a.pod, "--container=" + container}
	if tty {
		args = append(args, "--stdin", "--tty")
	}
	return k.command(ctx, append(append(args, "--", program), words...)...)
}

// attach runs masq-cni with this terminal, until the person has seen enough.
func (k kubectl) attach(ctx context.Context, a agent, words []string, s streams) (int, error) {
	// The terminal's keys are masq-cni's; without one, kubectl is told as well.
	signal.Ignore(os.Interrupt)
	defer signal.Reset(os.Interrupt)
	c := k.exec(context.WithoutCancel(ctx), a, terminal.Is(s.in) && terminal.Is(s.out), words)
	c.Stdin, c.Stdout, c.Stderr = s.in, s.out, s.err
	code, ran := exitCode(c.Run())
	if !ran {
		return blind, fmt.Errorf("kubectl exec in %s/%s does not run", a.namespace, a.pod)
	}
	return code, nil
}

// answer is what masq-cni says on a node.
type answer struct {
	agent
	out, diag []byte
	code      int
}

// ended is what kubectl adds when a program in a container does not end with 0. Where
// it is not there, it was kubectl that failed.
var ended = regexp.MustCompile(`(?m)^command terminated with exit code \d+\n?`)

func (k kubectl) run(ctx context.Context, a agent, words []string) (answer, error) {
	c := k.exec(ctx, a, false, words)
	var out, diag bytes.Buffer
	c.Stdout, c.Stderr = &out, &diag
	code, ran := exitCode(c.Run())
	if !ran {
		return answer{}, fmt.Errorf("kubectl exec in %s/%s does not run", a.namespace, a.pod)
	}
	x := answer{agent: a, out: harmless(out.Bytes()), code: code}
	x.diag = harmless(ended.ReplaceAll(diag.Bytes(), nil))
	if code != 0 && !ended.Match(diag.Bytes()) {
		x.code = blind
	}
	return x, nil
}

// one asks a single node, and says what it says.
func (k kubectl) one(ctx context.Context, a agent, words []string, s streams) (int, error) {
	x, err := k.run(ctx, a, words)
	if err != nil {
		return blind, err
	}
	if _, err := s.err.Write(x.diag); err != nil {
		return blind, err
	}
	if _, err := s.out.Write(x.out); err != nil {
		return blind, err
	}
	return x.code, nil
}

// atOnce is how many nodes are asked at a time.
const atOnce = 8

// all asks all nodes, and returns what they say in their order.
func (k kubectl) all(ctx context.Context, agents []agent, words []string) ([]answer, error) {
	var (
		wg    sync.WaitGroup
		turns = make(chan struct{}, atOnce)
		out   = make([]answer, len(agents))
		errs  = make([]error, len(agents))
	)
	for i, a := range agents {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			out[i], errs[i] = k.run(ctx, a, words)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// each asks all nodes, and says whose each answer is.
func (k kubectl) each(ctx context.Context, agents []agent, q *question, s streams) (int, error) {
	answers, err := k.all(ctx, agents, q.words)
	if err != nil {
		return blind, err
	}
	code, found := 0, answers
	for _, x := range answers {
		code = max(code, x.code)
	}
	if q.searches() {
		found = slices.DeleteFunc(slices.Clone(answers), func(x answer) bool { return x.code != 0 })
		if len(found) > 0 {
			code = 0
		}
	}
	for _, x := range answers {
		if q.searches() && len(found) > 0 && x.code == 1 {
			continue // that it is not on this node is no news
		}
		for line := range strings.Lines(string(x.diag)) {
			if _, err := fmt.Fprintf(s.err, "%s: %s\n", x.node, strings.TrimRight(line, "\n")); err != nil {
				return blind, err
			}
		}
	}
	if len(found) == 0 && q.format() == "" {
		_, err := fmt.Fprintf(s.out, "not found on %d nodes\n", len(answers))
		return code, err
	}
	return code, write(s.out, found, q.format(), len(agents) > 1)
}

// write writes answers one below the other, or as one object.
func write(w io.Writer, answers []answer, format string, several bool) error {
	switch format {
	case "json":
		all := map[string]json.RawMessage{}
		for _, x := range answers {
			if json.Valid(x.out) {
				all[x.node] = x.out
			}
		}
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(all)
	case "yaml":
		if len(answers) == 0 {
			_, err := fmt.Fprintln(w, "{}")
			return err
		}
		for _, x := range answers {
			if _, err := fmt.Fprintf(w, "%q:\n%s", x.node, indented(x.out)); err != nil {
				return err
			}
		}
		return nil
	}
	for i, x := range answers {
		head := ""
		if several {
			head = "==> " + x.node + " <==\n"
			if i > 0 {
				head = "\n" + head
			}
		}
		if _, err := fmt.Fprintf(w, "%s%s", head, x.out); err != nil {
			return err
		}
	}
	return nil
}

// indented is YAML one level further in. An empty line may be within a text.
func indented(text []byte) []byte {
	return regexp.MustCompile(`(?m)^(.)`).ReplaceAll(text, []byte("  $1"))
}

// offer is a completion that a shell neither expands nor executes, with its description.
var offer = regexp.MustCompile(`^[\w ./:@%+=,\[\]-]+(\t.*)?$`)

var directiveLine = regexp.MustCompile(`^:\d+$`)

// complete offers what any node offers, and ends with the directive of one, as cobra
// has it.
func (k kubectl) complete(ctx context.Context, agents []agent, words []string, s streams) (int, error) {
	answers, err := k.all(ctx, agents, words)
	if err != nil {
		return blind, err
	}
	var offers []string
	directive := ":0"
	for _, x := range answers {
		for line := range strings.Lines(string(x.out)) {
			switch line = strings.TrimRight(line, "\n"); {
			case directiveLine.MatchString(line):
				directive = line
			case offer.MatchString(line) && !slices.Contains(offers, line):
				offers = append(offers, line)
			}
		}
	}
	_, err = fmt.Fprintln(s.out, strings.Join(append(offers, directive), "\n"))
	return 0, err
}
