// Command kubectl-masq is a plugin of kubectl: it runs masq-cni on the node that a
// question is about, in the pod of the DaemonSet there.
//
// It knows of masq-cni's words only those that name a node: a pod, an address. All
// others are passed on as they are.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// The build sets both.
var (
	buildVersion = "dev"
	buildCommit  = "unknown"
)

const usage = `Runs masq-cni on the nodes of a cluster.

Usage:
  kubectl masq [FLAGS] WORDS...

What masq-cni takes is taken here. Where it names a pod, its node is asked; where it
names an address, the node that has it, or else all of them:

  kubectl masq inspect pod shop/web
  kubectl masq inspect flows --pod shop/web --watch
  kubectl masq who 192.0.2.2:51688
  kubectl masq inspect ports --node node-1
  kubectl masq inspect drift --all-nodes

All other questions go to all nodes. With -o json or yaml the answer of all nodes is
one object, by their names.

Flags:
      --node NAME              this node
      --all-nodes              all nodes, whatever the question is about
      --masq-namespace NAME    namespace of masq-cni's pods (default kube-system)
  -n, --namespace NAME         namespace of a pod that is given without one
      --version                version of this program

and those that every command of kubectl has (kubectl options), such as --context.

Exit code: that of masq-cni; of several nodes 0 for who and inspect pod where one has
found it, else the highest. 2: it could not ask.
`

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// streams are those of this program.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := streams{stdin, stdout, stderr}
	words := args[1:]
	// How kubectl asks for completions of a plugin's words (kubectl help plugin).
	if filepath.Base(args[0]) == "kubectl_complete-masq" {
		words = append([]string{"__complete"}, words...)
	}
	code, err := ask(ctx, words, s)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "kubectl-masq: %s\n", harmless([]byte(err.Error())))
	}
	return code
}

// blind is the exit code of who could not ask.
const blind = 2

func ask(ctx context.Context, args []string, s streams) (int, error) {
	q, err := parse(args)
	switch {
	case err != nil:
		return blind, err
	case len(q.words) == 1 && q.words[0] == "--version":
		_, err := fmt.Fprintf(s.out, "kubectl-masq version %s (%s)\n", buildVersion, buildCommit)
		return 0, err
	case len(q.words) == 0, len(q.words) == 1 && (q.words[0] == "--help" || q.words[0] == "-h" || q.words[0] == "help"):
		_, err := io.WriteString(s.out, usage)
		return 0, err
	}
	k := kubectl{flags: q.flags}
	where, err := q.locate(ctx, k)
	if err != nil {
		return blind, err
	}
	agents, err := k.agents(ctx, q.masqNamespace, where)
	if err != nil {
		return blind, err
	}
	switch {
	case q.watches() && len(agents) > 1:
		return blind, fmt.Errorf("--watch looks at one node, and the question is about %d; give --node NAME", len(agents))
	case q.watches():
		return k.attach(ctx, agents[0], q.words, s)
	case where != "":
		return k.one(ctx, agents[0], q.words, s)
	case q.completes():
		return k.complete(ctx, agents, q.words, s)
	default:
		return k.each(ctx, agents, q, s)
	}
}

// exitCode is that of a program that has ended, and false where it did not run.
func exitCode(err error) (int, bool) {
	if err == nil {
		return 0, true
	}
	e, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return blind, false
	}
	if e.ExitCode() < 0 { // a signal
		return blind, true
	}
	return e.ExitCode(), true
}
