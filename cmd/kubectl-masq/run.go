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

// exec returns the command that runs masq-cni in a pod.
func (k kubectl) exec(ctx context.Context, a agent, tty bool, words []string) *exec.Cmd {
	container, run := container, []string{program}
	if a.privileged {
		container, run = privilegedContainer, []string{program, "--chroot=" + hostRoot}
	}
	args := []string{"exec", "--namespace=" + a.namespace, a.pod, "--container=" + container}
	if tty {
		args = append(args, "--stdin", "--tty")
	}
	return k.command(ctx, slices.Concat(args, []string{"--"}, run, words)...)
}

// attach runs masq-cni on this terminal.
func (k kubectl) attach(ctx context.Context, a agent, words []string, s streams) (int, error) {
	// On a terminal, masq-cni gets Ctrl-C as a key. Elsewhere kubectl gets the signal too.
	signal.Ignore(os.Interrupt)
	defer signal.Reset(os.Interrupt)
	c := k.exec(context.WithoutCancel(ctx), a, terminal.Is(s.in) && terminal.Is(s.out), words)
	c.Stdin, c.Stdout, c.Stderr = s.in, s.out, s.err
	code, err := exitCode(c.Run())
	if err != nil {
		return code, fmt.Errorf("run kubectl exec in %s/%s: %w", a.namespace, a.pod, err)
	}
	return code, nil
}

// answer is the output of masq-cni on a node.
type answer struct {
	agent
	out, stderr []byte
	code        int
}

// exitMessage is the line that kubectl adds when a program in a container has another exit
// code than 0. Without this line, kubectl itself failed.
var exitMessage = regexp.MustCompile(`(?m)^command terminated with exit code \d+\n?`)

func (k kubectl) run(ctx context.Context, a agent, words []string) (answer, error) {
	c := k.exec(ctx, a, false, words)
	var out, stderr bytes.Buffer
	c.Stdout, c.Stderr = &out, &stderr
	code, err := exitCode(c.Run())
	if err != nil {
		return answer{}, fmt.Errorf("run kubectl exec in %s/%s: %w", a.namespace, a.pod, err)
	}
	x := answer{agent: a, out: harmless(out.Bytes()), code: code}
	x.stderr = harmless(exitMessage.ReplaceAll(stderr.Bytes(), nil))
	if code != 0 && !exitMessage.Match(stderr.Bytes()) {
		x.code = exitQueryFailed
	}
	return x, nil
}

// one runs masq-cni on a single node, and prints its output unchanged.
func (k kubectl) one(ctx context.Context, a agent, words []string, s streams) (int, error) {
	x, err := k.run(ctx, a, words)
	if err != nil {
		return exitQueryFailed, err
	}
	if _, err := s.err.Write(x.stderr); err != nil {
		return exitQueryFailed, err
	}
	if _, err := s.out.Write(x.out); err != nil {
		return exitQueryFailed, err
	}
	return x.code, nil
}

// maxConcurrent is how many nodes run masq-cni at the same time.
const maxConcurrent = 8

// all runs masq-cni on all nodes, and returns the answers in the order of the nodes.
func (k kubectl) all(ctx context.Context, agents []agent, words []string) ([]answer, error) {
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, maxConcurrent)
		out   = make([]answer, len(agents))
		errs  = make([]error, len(agents))
	)
	for i, a := range agents {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
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

// each runs masq-cni on all nodes, and prints each answer with the name of its node.
func (k kubectl) each(ctx context.Context, agents []agent, q *question, s streams) (int, error) {
	answers, err := k.all(ctx, agents, q.words)
	if err != nil {
		return exitQueryFailed, err
	}
	code, found := 0, answers
	for _, x := range answers {
		code = max(code, x.code)
	}
	if q.searches() {
		found = slices.DeleteFunc(slices.Clone(answers), func(x answer) bool { return q.notFound(x.code) })
		if len(found) > 0 {
			code = 0
			for _, x := range found {
				code = max(code, x.code)
			}
		}
	}
	for _, x := range answers {
		if q.searches() && len(found) > 0 && q.saysNotFound(x.code) {
			continue // found on another node
		}
		for line := range strings.Lines(string(x.stderr)) {
			if _, err := fmt.Fprintf(s.err, "%s: %s\n", x.node, strings.TrimRight(line, "\n")); err != nil {
				return exitQueryFailed, err
			}
		}
	}
	if len(found) == 0 && q.format() == "" {
		nodes := "1 node"
		if len(answers) != 1 {
			nodes = fmt.Sprintf("%d nodes", len(answers))
		}
		_, err := fmt.Fprintf(s.out, "not found on %s\n", nodes)
		return code, err
	}
	return code, write(s.out, found, q.format(), len(agents) > 1)
}

// write writes the answers one after the other, or as one object.
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

// indented indents YAML by one level. It keeps empty lines, which may be within a text.
func indented(text []byte) []byte {
	return regexp.MustCompile(`(?m)^(.)`).ReplaceAll(text, []byte("  $1"))
}

// completion matches a completion, with its description, that a shell neither expands nor
// executes.
var completion = regexp.MustCompile(`^[\w ./:@%+=,\[\]-]+(\t.*)?$`)

var directiveLine = regexp.MustCompile(`^:\d+$`)

// complete prints the completions of all nodes, each once, and a directive of cobra.
func (k kubectl) complete(ctx context.Context, agents []agent, words []string, s streams) (int, error) {
	answers, err := k.all(ctx, agents, words)
	if err != nil {
		return exitQueryFailed, err
	}
	var completions []string
	directive := ":0"
	for _, x := range answers {
		for line := range strings.Lines(string(x.out)) {
			switch line = strings.TrimRight(line, "\n"); {
			case directiveLine.MatchString(line):
				directive = line
			case completion.MatchString(line) && !slices.Contains(completions, line):
				completions = append(completions, line)
			}
		}
	}
	_, err = fmt.Fprintln(s.out, strings.Join(append(completions, directive), "\n"))
	return 0, err
}
