package helpers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/metrics"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/sockets"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// Options are the parts of the node that Helpers reads and changes. All are required.
type Options struct {
	// Records are the records of the node's attachments, and Node its configuration.
	Records *reconcile.Cache
	Node    func() reconcile.NodeConfig
	// Uplinks returns the uplinks of the default routes, and Sockets the sockets of the
	// node's services.
	Uplinks func() ([]veth.Uplink, error)
	Sockets func() ([]sockets.Socket, error)
	// Serving is called with the helpers that masqd serves, when they change.
	Serving func(names []string)
	Log     *slog.Logger
}

// Helpers serves the helpers of masqd. It is the Node of package session.
type Helpers struct {
	o        Options
	flows    *flows
	closer   func() error
	table    *table
	clients  clients
	ports    ports
	media    media
	sessions sessions
	proxied  proxied
	counters *session.Counters
	server   *session.Server
	talk     *session.Talk

	wake chan struct{} // receives a value when there may be a change
	//nolint:containedctx // for requests of sessions, whose methods have none
	ctx     context.Context // the sessions' context; it ends after the table is deleted
	running sync.WaitGroup  // goroutines of Run
	// inherited are the addresses of attachments that an earlier masqd may have opened media
	// for, by identity. Only the goroutine of Run uses it.
	inherited map[string][]netip.Addr

	mu        sync.Mutex
	egress    ruleset.Egress // as the last sync found it
	listeners map[masq.Family]*listener
	listened  map[netip.Addr]bool // addresses that had a UDP listener
	udpPorts  map[uint16]bool     // destinations of redirected datagrams
	serving   []string
	fault     string
	active    bool // there are listeners, a fault, or sessions or media that may have to end
}

// New returns Helpers that do nothing before the first call of Synced.
func New(o Options) (*Helpers, error) {
	c, err := conntrack.Open()
	if err != nil {
		return nil, err
	}
	h := &Helpers{
		o: o, flows: &flows{conn: c}, closer: c.Close, counters: &session.Counters{}, wake: make(chan struct{}, 1),
		listeners: map[masq.Family]*listener{}, listened: map[netip.Addr]bool{},
		table: newTable(func() (owned, error) { return nft.OpenOwned(ruleset.HelperTableName) }),
	}
	h.server = session.NewServer(session.Options{Node: h, Counters: h.counters, Log: o.Log, Connections: maxConnections()})
	h.talk = session.NewTalk(session.TalkOptions{Node: h, Counters: h.counters, Log: o.Log})
	return h, nil
}

// CloseKernel closes the connection to the kernel. Run must have returned.
func (h *Helpers) CloseKernel() error { return h.closer() }

// Synced says that a sync has ended. It is for reconcile.Deps.
func (h *Helpers) Synced(e ruleset.Egress) {
	asked := h.isAsked()
	h.mu.Lock()
	h.egress = e
	changed := asked || h.active
	first := h.serving == nil
	h.mu.Unlock()
	if first {
		// An ADD that waited for masqd to be ready can count on the helpers.
		h.setServing(names())
	}
	if changed {
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
}

// isAsked reports whether the configuration or a record asks for a helper of masqd. Its cost
// follows the number of policies.
func (h *Helpers) isAsked() bool {
	node := h.o.Node()
	if len(node.Sources.Prefixes) > 0 && isServed(&node.Sources.Policy) {
		return true
	}
	return slices.ContainsFunc(h.o.Records.Policies(), func(p *masq.Policy) bool { return isServed(activePolicy(node, p)) })
}

// activePolicy returns the policy that applies to attachments with a record's policy.
func activePolicy(node reconcile.NodeConfig, p *masq.Policy) *masq.Policy {
	return node.Attachments([]*store.Record{{Attachment: masq.Attachment{Policy: p}, Ready: true}})[0].Policy
}

func isServed(p *masq.Policy) bool { return !p.EgressDirect && len(p.DaemonHelpers()) > 0 }

// Run serves the helpers until the context ends. Then it deletes the table and closes the control
// connections; media continue.
func (h *Helpers) Run(ctx context.Context) error {
	sessions, end := context.WithCancel(context.WithoutCancel(ctx))
	h.ctx = sessions
	h.running.Go(func() { h.table.run(sessions) })
	defer func() {
		h.setServing([]string{})
		err := errors.Join(h.table.delete(), h.closeListeners())
		end() // after the table is deleted: players connect again at once, and must reach the server
		if err := errors.Join(err, h.forgetAllListeners(context.WithoutCancel(ctx))); err != nil {
			h.o.Log.Warn("helpers could not be ended", "err", err)
		}
		h.running.Wait()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
		}
		started := time.Now()
		err := h.sync(ctx)
		if ctx.Err() != nil {
			return nil
		}
		h.report(err)
		select {
		case <-ctx.Done():
		case <-time.After(min(pauseFactor*time.Since(started), maxPause)):
		}
	}
}

// The pause after a sync keeps syncs below a fifth of a core. With 10,000 attachments one
// takes 12 ms.
const (
	pauseFactor = 4
	maxPause    = time.Second
)

// sync brings listeners and table into agreement with the records and the configuration.
func (h *Helpers) sync(ctx context.Context) error {
	node, records := h.o.Node(), h.o.Records.Snapshot().Records
	var in input
	if len(node.Sources.Prefixes) > 0 && isServed(&node.Sources.Policy) {
		in.sources = node.Sources
	}
	in.attachments = served(node, in.sources.Prefixes, records)
	h.mu.Lock()
	in.egress = h.egress
	h.mu.Unlock()
	h.clients.set(in.attachments, in.sources, in.egress)
	if h.inherited == nil {
		h.inherited = map[string][]netip.Addr{}
		for _, a := range in.attachments {
			h.inherited[a.Identity()] = a.Addresses
		}
	}
	if !h.o.Records.HasUnreadable() { // the attachment of an unreadable record may be live
		h.endDeleted(ctx, records)
	}
	if len(in.attachments) == 0 && len(in.sources.Prefixes) == 0 {
		return errors.Join(h.table.delete(), h.closeListeners())
	}
	// If masqd cannot listen at an address, the rules must not lead to an earlier listener:
	// flows of that family pass unread, and those of the other are still redirected.
	failed := h.listen(h.ctx) //nolint:contextcheck // connections outlive the sync
	if in.listeners = h.addresses(); len(in.listeners) == 0 {
		if failed == nil {
			failed = errNoUplink
		}
		return errors.Join(failed, h.table.delete())
	}
	if err := h.table.sync(in); err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, h.forgetListeners(ctx, in))
}

// forgetListeners deletes the flows to the UDP listeners of an earlier masqd, or of another
// address, after a new one has been made.
func (h *Helpers) forgetListeners(ctx context.Context, in input) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.udpPorts = udpPorts(in)
	var errs []error
	for _, l := range h.listeners {
		if l.udp == nil || l.isClean {
			continue
		}
		err := h.flows.forgetListener(ctx, l.address, l.addresses().UDP.Port(), h.udpPorts)
		l.isClean = err == nil
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// udpPorts returns the ports of helpers that use UDP.
func udpPorts(in input) map[uint16]bool {
	out, seen := map[uint16]bool{}, map[*masq.Policy]bool{}
	add := func(p *masq.Policy) {
		if seen[p] {
			return
		}
		seen[p] = true
		for _, x := range p.DaemonHelpers() {
			if kind, _ := masq.HelperKindOf(x.Name); slices.Contains(kind.Protocols(), "udp") {
				for _, port := range x.Ports {
					out[port] = true
				}
			}
		}
	}
	for _, a := range in.attachments {
		add(a.Policy)
	}
	if len(in.sources.Prefixes) > 0 {
		add(&in.sources.Policy)
	}
	return out
}

// errNoUplink says that the node has no address to listen at. A node that boots gets one
// later, so it is no reason to refuse an ADD.
var errNoUplink = errors.New("the node has no default route with a source address")

// served returns the ready attachments that have a helper of masqd. It also returns attachments
// that may have an address of those or of sources: a flow with that address may be theirs.
func served(node reconcile.NodeConfig, sources []netip.Prefix, records []*store.Record) []masq.Attachment {
	policies := map[*masq.Policy]bool{}
	addresses := map[netip.Addr]bool{} // of attachments that have a helper
	for _, r := range records {
		if r.Policy == nil {
			continue
		}
		asks, known := policies[r.Policy]
		if !known {
			asks = isServed(activePolicy(node, r.Policy))
			policies[r.Policy] = asks
		}
		if asks {
			for _, a := range r.Addresses {
				addresses[a] = true
			}
		}
	}
	if len(addresses)+len(sources) == 0 {
		return nil
	}
	var chosen []*store.Record
	for _, r := range records {
		if r.Policy != nil && slices.ContainsFunc(r.Addresses, func(a netip.Addr) bool {
			return addresses[a] || slices.ContainsFunc(sources, func(p netip.Prefix) bool { return p.Contains(a) })
		}) {
			chosen = append(chosen, r)
		}
	}
	return node.Attachments(chosen)
}

// endDeleted ends the sessions and media of attachments that are deleted, or that the plugin
// is deleting.
func (h *Helpers) endDeleted(ctx context.Context, records []*store.Record) {
	var ready map[string]bool // made only if an attachment has no helper any longer
	keep := func(identity string) bool {
		if _, ok := h.clients.named(identity); ok {
			return true
		}
		if ready == nil {
			ready = make(map[string]bool, len(records))
			for _, r := range records {
				if r.Ready {
					ready[r.Identity()] = true
				}
			}
		}
		return ready[identity]
	}
	h.sessions.endExcept(keep)
	h.talk.EndExcept(keep)
	var opened []session.Media // to servers whose ports are not known
	for _, m := range h.media.takeExcept(keep) {
		if m.Server.Port() == 0 {
			opened = append(opened, m)
			continue
		}
		if err := h.end(m); err != nil {
			h.o.Log.Warn("a flow of a deleted attachment cannot be deleted", "attachment", m.Identity, "client", m.Client, "server", m.Server, "err", err)
		}
	}
	if err := h.endOpened(ctx, opened); err != nil {
		h.o.Log.Warn("flows to ports of deleted attachments cannot be deleted", "err", err)
	}
	for identity, addresses := range h.inherited {
		if keep(identity) {
			continue
		}
		delete(h.inherited, identity)
		for _, a := range addresses {
			// A flow may be one of the next attachment with the address.
			if slices.ContainsFunc(records, func(r *store.Record) bool { return r.Identity() != identity && slices.Contains(r.Addresses, a) }) {
				continue
			}
			if err := h.flows.deleteMedia(ctx, a); err != nil {
				h.o.Log.Warn("flows of a deleted attachment cannot be deleted", "attachment", identity, "client", a, "err", err)
			}
		}
	}
}

// listen listens at the node's addresses: the sources of the default uplinks.
func (h *Helpers) listen(ctx context.Context) error {
	uplinks, err := h.o.Uplinks()
	if err != nil {
		return fmt.Errorf("find out the node's addresses: %w", err)
	}
	want := map[masq.Family]netip.Addr{}
	for _, u := range uplinks {
		if _, known := want[u.Family]; !known && u.Source.IsValid() && !u.Source.IsLinkLocalUnicast() {
			want[u.Family] = u.Source
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for f, l := range h.listeners {
		if l.address != want[f] {
			delete(h.listeners, f)
			errs = append(errs, l.close())
		}
	}
	for f, a := range want {
		if h.listeners[f] != nil {
			continue
		}
		l, err := listen(ctx, f, a)
		if err != nil {
			errs = append(errs, fmt.Errorf("listen for redirected flows: %w", err))
			continue
		}
		h.listeners[f] = l
		h.running.Go(func() { h.accept(ctx, l, h.o.Log) })
		if l.udp != nil {
			h.listened[a] = true
			h.running.Go(func() { h.receive(ctx, l) })
		}
	}
	return errors.Join(errs...)
}

// addresses returns the addresses of the listeners.
func (h *Helpers) addresses() map[masq.Family]ruleset.Listeners {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[masq.Family]ruleset.Listeners{}
	for f, l := range h.listeners {
		out[f] = l.addresses()
	}
	return out
}

func (h *Helpers) closeListeners() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, l := range h.listeners {
		errs = append(errs, l.close())
	}
	clear(h.listeners)
	return errors.Join(errs...)
}

// forgetAllListeners deletes the flows to listeners that were closed, when masqd ends: the
// next datagrams go to their destinations.
func (h *Helpers) forgetAllListeners(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for a := range h.listened {
		errs = append(errs, h.flows.forgetListener(ctx, a, 0, h.udpPorts))
	}
	return errors.Join(errs...)
}

// report logs and publishes whether the helpers are served. The next sync tries again.
func (h *Helpers) report(err error) {
	serving, text := names(), ""
	if err != nil {
		text = err.Error()
	}
	if err != nil && !errors.Is(err, errNoUplink) {
		serving = []string{}
	}
	h.mu.Lock()
	before := h.fault
	h.fault, h.active = text, len(h.listeners) > 0 || err != nil || h.mayEnd()
	h.mu.Unlock()
	switch {
	case text != "" && text != before:
		h.o.Log.Error("helpers of masqd cannot be served: control connections pass unread", "err", err)
	case text == "" && before != "":
		h.o.Log.Info("helpers of masqd are served again")
	}
	h.setServing(serving)
}

// mayEnd reports whether there are sessions or media that end when their attachment is deleted,
// also if the attachment has no helper any longer.
func (h *Helpers) mayEnd() bool { return len(h.inherited) > 0 || h.sessions.any() || h.media.any() }

// names returns the names of the helpers of masqd.
func names() (out []string) {
	for _, k := range masq.HelperKinds {
		if k.Daemon {
			out = append(out, k.Name)
		}
	}
	return out
}

// setServing publishes the helpers that are served.
func (h *Helpers) setServing(names []string) {
	h.mu.Lock()
	changed := h.serving == nil || !slices.Equal(names, h.serving)
	h.serving = names
	h.mu.Unlock()
	if changed {
		h.o.Serving(names)
	}
}

// Notes returns what needs attention, for readiness.
func (h *Helpers) Notes() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fault == "" {
		return nil
	}
	return []string{"helpers of masqd are not served: " + h.fault}
}

// ClientOf returns the client for which masqd began a flow, by its protocol and source.
func (h *Helpers) ClientOf(proto uint8, source netip.AddrPort) (client netip.AddrPort, ok bool) {
	return h.proxied.clientOf(localPort{proto, source})
}

// Metrics returns the counters, in the order of the names.
func (h *Helpers) Metrics() []metrics.Helper {
	all := h.counters.Snapshot()
	var out []metrics.Helper
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c := all[name]
		out = append(out, metrics.Helper{
			Name: string(name), Connections: c.Connections, Opened: c.Opened,
			Refused: texts(c.Refused), Unreadable: texts(c.Unreadable),
		})
	}
	return out
}

func texts[K ~string](in map[K]uint64) map[string]uint64 {
	out := make(map[string]uint64, len(in))
	for k, n := range in {
		out[string(k)] = n
	}
	return out
}
