package doctor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/sockets"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// containerFacts has what the checks need of the containers' network namespaces. Each is
// entered once, by one of few threads.
type containerFacts struct {
	// Interiors has the state of each attachment, by the index of its record in AllRecords.
	// Attachments that were not entered are missing.
	Interiors map[int]veth.Interior
	Sockets   socketFacts

	entered, failed int
	firstFailed     error
}

// check returns an error if a container could not be entered.
func (x *containerFacts) check() error {
	if x.failed == 0 {
		return nil
	}
	err := x.firstFailed
	if x.failed+x.entered == 1 {
		return err
	}
	return fmt.Errorf("%d of %d containers, the first: %w", x.failed, x.failed+x.entered, err)
}

// inOrder yields the interiors in the order of the records.
func (x *containerFacts) inOrder() iter.Seq2[int, veth.Interior] {
	return func(yield func(int, veth.Interior) bool) {
		for _, i := range slices.Sorted(maps.Keys(x.Interiors)) {
			if !yield(i, x.Interiors[i]) {
				return
			}
		}
	}
}

// maxVisitors is the number of threads that enter containers: most of the time is spent in the
// kernel, which needs no common lock for it.
const maxVisitors = 4

// VisitContainers begins to read the containers on other threads, while the caller reads the
// node. The returned function waits until all containers are read.
func (n *Node) VisitContainers(ctx context.Context) (wait func()) {
	var visit sync.WaitGroup
	visit.Go(func() { _, _ = n.containerFacts(ctx) }) // the checks get its error
	return visit.Wait
}

// containerFacts enters the containers of Records.
func (n *Node) containerFacts(ctx context.Context) (*containerFacts, error) {
	return read(n, "containers", func() (*containerFacts, error) {
		x := &containerFacts{Interiors: map[int]veth.Interior{}, Sockets: newSocketFacts(len(n.Only) > 0)}
		all := n.namespaces()
		if n.MaxContainers > 0 {
			all = all[:min(len(all), n.MaxContainers)]
		}
		var next atomic.Int64
		var mutex sync.Mutex
		var threads sync.WaitGroup
		for range min(maxVisitors, runtime.GOMAXPROCS(0), len(all)) {
			threads.Go(func() {
				runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
				for i := next.Add(1) - 1; i < int64(len(all)) && ctx.Err() == nil; i = next.Add(1) - 1 {
					v := visit{n: n, facts: x, mutex: &mutex, attachments: all[i]}
					err := v.enter()
					mutex.Lock()
					if err == nil {
						x.entered++
					} else if x.failed++; x.firstFailed == nil {
						x.firstFailed = err
					}
					mutex.Unlock()
				}
			})
		}
		threads.Wait()
		return x, ctx.Err()
	})
}

// namespaces returns the attachments to examine, by network namespace. Attachments with an ADD
// or DEL in progress, and of containers that no longer exist, are omitted.
func (n *Node) namespaces() (out [][]int) {
	at := map[string]int{}
	for i, r := range n.AllRecords {
		if !r.Ready || r.NetNS == "" || !n.examines(i) {
			continue
		}
		if isRemoved(&r) {
			continue
		}
		if k, ok := at[r.NetNS]; ok {
			out[k] = append(out[k], i)
			continue
		}
		at[r.NetNS] = len(out)
		out = append(out, []int{i})
	}
	return out
}

// isRemoved reports whether the network namespace of a container provably no longer exists.
func isRemoved(r *store.Record) bool {
	return r.Evidence != nil && r.Evidence.NetNS != nil && veth.NetNSState(*r.Evidence.NetNS) == masq.NetNSRemoved
}

// visit reads one container.
type visit struct {
	n           *Node
	facts       *containerFacts
	mutex       *sync.Mutex // for facts
	attachments []int
}

// enter moves the thread to the container's network namespace.
func (v *visit) enter() error {
	r := &v.n.AllRecords[v.attachments[0]]
	ns, err := os.Open(r.NetNS)
	if err == nil {
		err = errors.Join(unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET), ns.Close())
	}
	if err != nil {
		err = notEntered(r, err)
	} else {
		err = v.read()
	}
	if err != nil && !isRemoved(r) { // a DEL may have come meanwhile
		return fmt.Errorf("container %s: %w", r.Identity(), err)
	}
	return nil
}

func (v *visit) read() error {
	for _, i := range v.attachments {
		r := &v.n.AllRecords[i]
		var families []masq.Family
		for _, a := range r.Addresses {
			if f := masq.FamilyOf(a); !slices.Contains(families, f) {
				families = append(families, f)
			}
		}
		in, err := veth.ReadInterior(r.Interface, families...)
		if err != nil {
			return err
		}
		v.mutex.Lock()
		v.facts.Interiors[i] = in
		v.mutex.Unlock()
	}
	for c, err := range sockets.Connections() {
		if err != nil {
			return err
		}
		if s := symptomOf(c, v.facts.Sockets.waits); s != healthy {
			v.mutex.Lock()
			v.facts.Sockets.add(s, c, v.attachments[0])
			v.mutex.Unlock()
		}
	}
	return nil
}
