package kube

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// pod is a pod of the tests in the cluster.
type pod struct {
	c    *cluster
	name string
	node *node
}

// object is an API object or a part of it.
type object = map[string]any

// pod creates a pod on a node. metadata and container are merged into its definition.
func (n *node) pod(t testing.TB, name string, metadata, container object) *pod {
	t.Helper()
	meta := object{"name": name, "labels": object{"app": name}}
	maps.Copy(meta, metadata)
	run := object{"name": "pod", "image": podImage, "imagePullPolicy": "Never", "args": []string{"serve"}}
	maps.Copy(run, container)
	n.c.apply(t, text(t, object{
		"apiVersion": "v1", "kind": "Pod", "metadata": meta,
		"spec": object{
			"nodeSelector":                  object{"kubernetes.io/hostname": n.name},
			"terminationGracePeriodSeconds": 1,
			"containers":                    []any{run},
		},
	}))
	return &pod{c: n.c, name: name, node: n}
}

// running waits until pods are ready.
func (c *cluster) running(t testing.TB, pods ...*pod) {
	t.Helper()
	names := []string{"pods"}
	for _, p := range pods {
		names = append(names, p.name)
	}
	c.ready(t, names...)
}

// addr returns the pod's address of the family of like.
func (p *pod) addr(t testing.TB, like netip.Addr) netip.Addr {
	t.Helper()
	for a := range strings.FieldsSeq(p.c.get(t, ".status.podIPs[*].ip", "pod", p.name)) {
		if a := netip.MustParseAddr(a); a.Is4() == like.Is4() {
			return a
		}
	}
	t.Fatalf("%s has no address of the family of %s", p.name, like)
	return netip.Addr{}
}

// try runs the pods' program in the pod.
func (p *pod) try(ctx context.Context, args ...string) (string, error) {
	out, err := p.c.kubectl(ctx, append([]string{"exec", p.name, "--", "/pod"}, args...)...).Output()
	return strings.TrimSpace(string(out)), err
}

// run is try for commands that must succeed.
func (p *pod) run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := p.try(soon(t), args...)
	if err != nil {
		t.Fatalf("%s: %q: %v\n%s", p.name, args, err, out)
	}
	return out
}

// leavesAs returns the source of a pod's datagram, captured at outside, which need not have a
// route back.
func (p *pod) leavesAs(t testing.TB, dst netip.Addr) netip.Addr {
	t.Helper()
	mark := fmt.Sprintf("%s %s %d", p.name, dst, time.Now().UnixNano())
	wire := assert.Must(p.c.outside.Capture("eth0", func(q nstest.Packet) bool {
		return !q.Outgoing && q.Dst == dst && string(q.Payload) == mark
	}))(t)
	defer wire.Close()
	p.run(t, "send", at(dst, 9).String(), mark)
	q, err := wire.WaitFor(soon(t), func(nstest.Packet) bool { return true })
	if err != nil {
		t.Fatalf("no datagram of %s to %s: %v", p.name, dst, err)
	}
	return q.Src
}

// stream is traffic of a pod that continues while the cluster is changed.
type stream struct {
	from string
	cmd  *nstest.Command
	end  func() error
	out  *strings.Builder
}

// stream sends a datagram to a server each interval: all of one flow ("stream"), or each of a
// new flow ("flows").
func (p *pod) stream(t testing.TB, verb string, server netip.AddrPort, interval time.Duration) *stream {
	t.Helper()
	s := &stream{from: p.name, out: new(strings.Builder)}
	s.cmd = p.c.kubectl(context.WithoutCancel(t.Context()), "exec", "-i", p.name, "--", "/pod", verb, server.String(), interval.String())
	in := assert.Must(s.cmd.StdinPipe())(t)
	s.end = in.Close
	began := make(chan struct{})
	s.cmd.Stdout = writerFunc(func(b []byte) (int, error) {
		if s.out.Len() == 0 {
			close(began)
		}
		return s.out.Write(b)
	})
	s.cmd.Stderr = p.c.log("stream-" + p.name)
	assert.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		_ = s.cmd.Cancel() // if the test ended before the stream
		_ = s.cmd.Wait()
	})
	select {
	case <-began:
	case <-soon(t).Done():
		t.Fatalf("%s streams nothing to %s", p.name, server)
	}
	return s
}

// stop ends the traffic, and returns how many datagrams were sent, and how many of them were
// not echoed.
func (s *stream) stop(t testing.TB) (sent, lost int) {
	t.Helper()
	assert.NoError(t, s.end())
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("stream of %s: %v\n%s", s.from, err, s.out)
	}
	_, last, _ := strings.Cut(strings.TrimSpace(s.out.String()), "\n")
	if _, err := fmt.Sscanf(last, "sent %d, lost %d", &sent, &lost); err != nil {
		t.Fatalf("stream of %s: %q: %v", s.from, s.out, err)
	}
	return sent, lost
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
