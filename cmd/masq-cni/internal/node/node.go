// Package node opens the node that a command of masq-cni works on: its network namespace,
// its records, and its state in the kernel.
package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// Node is a network namespace and the directory of the records of its attachments.
type Node struct {
	StateDir string
	// StateDirGiven is true if --state-dir was given.
	StateDirGiven bool
	netns         string
	chroot        string
	// noteMissing writes, once, that the state directory does not exist.
	noteMissing func()
}

// StateDirMissing reports whether the state directory does not exist.
func (n *Node) StateDirMissing() bool {
	_, err := os.Stat(n.StateDir)
	return errors.Is(err, fs.ErrNotExist)
}

// Flags declares --state-dir and --netns for root and the commands below it, which enter
// the namespace before they run.
func (n *Node) Flags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&n.StateDir, "state-dir", store.DefaultDir, "`DIR` of the records of attachments")
	f.StringVar(&n.netns, "netns", "", "`NAME|PATH` of the node's network namespace; NAME as ip netns lists it (default: the current one)")
	// For the pod of kubectl masq --privileged, which has the node's file system below DIR:
	// afterwards all paths are paths of the node.
	f.StringVar(&n.chroot, "chroot", "", "change the root directory to `DIR` first")
	_ = f.MarkHidden("chroot") // fails for an unknown flag only
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if n.chroot != "" {
			if err := unix.Chroot(n.chroot); err != nil {
				return fmt.Errorf("--chroot %q: %w", n.chroot, err)
			}
			if err := os.Chdir("/"); err != nil {
				return err
			}
		}
		if n.StateDir == "" {
			return errors.New("--state-dir is empty; give a directory, or leave the flag out")
		}
		n.StateDirGiven = c.Flags().Changed("state-dir")
		n.noteMissing = sync.OnceFunc(func() {
			_, _ = fmt.Fprintf(c.ErrOrStderr(), "note: %s does not exist: no container has been added on this node yet, or the records are in another directory; if so, give it with --state-dir\n", n.StateDir)
		})
		return n.Enter(c)
	}
}

// Enter moves the calling goroutine into the namespace that --netns names, if it was given.
// A function that completes arguments calls it, since cobra then runs no PersistentPreRunE.
func (n *Node) Enter(c *cobra.Command) error {
	if !c.Flags().Changed("netns") {
		return nil
	}
	return enter(n.netns)
}
