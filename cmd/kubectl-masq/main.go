// Command kubectl-masq is a plugin of kubectl. It runs masq-cni on the right node of a
// cluster, in the pod of the DaemonSet on that node.
//
// It passes its arguments to masq-cni unchanged. It interprets only arguments that name a
// pod, an address, or a node, to determine the node.
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

WORDS are commands and flags of masq-cni. If they name a pod, masq-cni runs on the pod's
node. If they name an address, it runs on the node that has the address, or on all nodes
if no node has it:

  kubectl masq inspect pod shop/web
  kubectl masq inspect flows --pod shop/web --watch
  kubectl masq who 192.0.2.2:51688
  kubectl masq --privileged doctor pod shop/web --to 198.51.100.7:443
  kubectl masq inspect ports --node node-1
  kubectl masq inspect drift --all-nodes

Other commands run on all nodes. With -o json or yaml, their answers are one object
with the names of the nodes as keys.

Flags:
      --node NAME              run on this node
      --all-nodes              run on all nodes, for any command
      --masq-namespace NAME    namespace of masq-cni's pods (default kube-system)
  -n, --namespace NAME         namespace of a pod that is given without namespace
      --privileged             run in a privileged pod that is started on the node and
                               deleted afterwards: doctor needs it to enter containers
      --version                version of this program

and the flags that every command of kubectl has (kubectl options), such as --context.

Exit code: that of masq-cni. With several nodes it is the highest one; for who and inspect
pod it is 0 if one node found the answer, for doctor pod it is that of the node with the
container. It is 2 if masq-cni could not run on a node.
`

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// streams are the standard streams of this program.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := streams{stdin, stdout, stderr}
	words := args[1:]
	// kubectl completes the arguments of a plugin with this program (kubectl help plugin).
	if filepath.Base(args[0]) == "kubectl_complete-masq" {
		words = append([]string{"__complete"}, words...)
	}
	code, err := ask(ctx, words, s)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "kubectl-masq: %s\n", harmless([]byte(err.Error())))
	}
	return code
}

// exitQueryFailed is the exit code when masq-cni could not run on a node.
const exitQueryFailed = 2

func ask(ctx context.Context, args []string, s streams) (code int, err error) {
	q, err := parse(args)
	switch {
	case err != nil:
		return exitQueryFailed, err
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
		return exitQueryFailed, err
	}
	privileged := q.privileged && !q.completes()
	agents, err := k.agents(ctx, q.masqNamespace, where, privileged)
	if err != nil {
		return exitQueryFailed, err
	}
	switch {
	case q.watches() && len(agents) > 1:
		return exitQueryFailed, fmt.Errorf("--watch shows one node, but the command is for %d nodes; give --node NAME", len(agents))
	case q.prompts() && len(agents) > 1:
		return exitQueryFailed, fmt.Errorf("--fix asks on one node, but the command is for %d nodes; give --node NAME, or --yes", len(agents))
	}
	if privileged {
		var remove func() error
		agents, remove, err = k.privileged(ctx, agents)
		defer func() {
			if e := remove(); e != nil {
				code, err = exitQueryFailed, errors.Join(err, e)
			}
		}()
		if err != nil {
			return exitQueryFailed, err
		}
	}
	switch {
	case q.watches(), q.prompts():
		return k.attach(ctx, agents[0], q.words, s)
	case where != "":
		return k.one(ctx, agents[0], q.words, s)
	case q.completes():
		return k.complete(ctx, agents, q.words, s)
	default:
		return k.each(ctx, agents, q, s)
	}
}

// exitCode returns the exit code of a program by the error of its run, or that error if the
// program did not run.
func exitCode(run error) (code int, err error) {
	if run == nil {
		return 0, nil
	}
	e, ok := errors.AsType[*exec.ExitError](run)
	if !ok {
		return exitQueryFailed, run
	}
	if e.ExitCode() < 0 { // ended by a signal
		return exitQueryFailed, nil
	}
	return e.ExitCode(), nil
}
