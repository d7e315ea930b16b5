package portpool

import (
	"hash/maphash"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Options set what is counted.
type Options struct {
	// Groups is the number of the fullest groups that are counted exactly; at least 1.
	Groups int
	// Holders is the number of sources that are named for each group; 0 for none.
	Holders int
	// ReusesClosed counts the ports of closed TCP flows as free: see ReusesClosed.
	ReusesClosed bool
}

// Counter counts the ports of the fullest groups exactly. It needs 16 KiB for each of
// these groups, and 1 MiB for all others together. It is used by one goroutine at a time.
//
// It tracks some groups, with a bit for each port. For all other groups it has an upper
// bound of the share. If that bound is above the share of a tracked group, the result is
// not exact, and another dump is needed: see End.
type Counter struct {
	Options
	pools   *Pools
	hash    func(key) uint64 // with a random seed, so that an attacker cannot cause collisions
	tracked []trackedGroup   // only the first n are valid
	n       int
	index   []int32 // by hash, with open addressing: the number of a tracked group plus 1

	// The bounds of the current dump, and of the one before.
	bounds, boundsBefore *countMinSketch
	// threshold is the share from which a group is tracked; 0 if groups are tracked in the
	// order of their first flows. roomAtThreshold is how many more groups with exactly this
	// share can be tracked.
	threshold       float64
	roomAtThreshold int
	// maxUntracked is the largest bound of a group that is not tracked.
	maxUntracked float64
	// crowded reports that there is no room to track all groups. Then groups whose ports all
	// count as free are not tracked. skipped reports that there was such a group.
	crowded, skipped bool

	counted []countedGroup
	usages  []Usage
	ended   bool
	ranks   [2]ranks
	shares  []float64
}

// trackedGroup is a group with a bit for each of its ports.
type trackedGroup struct {
	key   key
	hash  uint64
	group Group
	seen  bool // has a translated flow
	// missed is an upper bound of its flows that came before it was tracked.
	missed  int
	taken   *ports
	closing *ports   // nil if no flow was closed
	sources *sources // nil if holders are not counted
	pools   []uint64 // a bit for each pool that its flows draw from
}

// countedGroup is the result of a dump for a tracked group.
type countedGroup struct {
	Usage
	// ceiling is an upper bound of its share: it includes all flows that may have been missed.
	ceiling float64
	// bound is the share that the sketch would show if the group was not tracked.
	bound float64
}

// NewCounter returns a Counter. It needs 16 KiB for each group, and 2 KiB more if holders
// are counted.
func NewCounter(o Options) *Counter {
	o.Groups = max(o.Groups, 1)
	n := 2*o.Groups + 64
	size := 1
	for size < 4*n {
		size *= 2
	}
	seed := maphash.MakeSeed()
	return &Counter{
		Options: o, hash: func(k key) uint64 { return maphash.Comparable(seed, k) },
		tracked: make([]trackedGroup, n), index: make([]int32, size),
		bounds: new(countMinSketch), boundsBefore: new(countMinSketch),
	}
}

// Begin starts a dump. The result of the previous dump decides which groups are tracked from
// the first flow on. If End was not called, the previous dump has no result.
func (c *Counter) Begin(p *Pools) {
	if c.ended {
		c.selectTracked()
		c.bounds, c.boundsBefore = c.boundsBefore, c.bounds
	}
	c.pools, c.ended = p, false
	*c.bounds = countMinSketch{}
	c.maxUntracked, c.skipped = 0, false
	for i := range c.tracked[:c.n] {
		c.tracked[i].reset(len(p.all))
	}
}

// selectTracked finds the share from which groups are tracked, and stops tracking others.
func (c *Counter) selectTracked() {
	c.threshold, c.roomAtThreshold, c.crowded = 0, 0, c.maxUntracked > 0 || c.skipped
	if c.crowded {
		c.findThreshold()
	}
	clear(c.index)
	kept := 0
	for i := range c.n {
		g := &c.tracked[i]
		if !g.seen {
			continue
		}
		if s := c.count(g).bound; c.crowded && s == 0 || !c.reachesThreshold(s) {
			continue
		}
		c.tracked[kept], c.tracked[i] = *g, c.tracked[kept]
		c.addToIndex(kept)
		kept++
	}
	c.n = kept
}

// findThreshold sets the threshold so that three quarters of the room are used. The rest is
// for groups that seem full only because their hashes collide with those of others.
func (c *Counter) findThreshold() {
	c.shares = c.shares[:0]
	for i := range c.counted {
		if s := c.counted[i].bound; s > 0 {
			c.shares = append(c.shares, s)
		}
	}
	for i := range c.bounds.rows[0] {
		if s := c.bounds.rows[0][i].share(); s > 0 {
			c.shares = append(c.shares, s)
		}
	}
	slices.Sort(c.shares)
	room := len(c.tracked) * 3 / 4
	excess := len(c.shares) - room
	if excess <= 0 {
		return
	}
	c.threshold = c.shares[excess]
	above, _ := slices.BinarySearchFunc(c.shares, c.threshold, func(s, threshold float64) int {
		if s > threshold {
			return 1
		}
		return -1
	})
	c.roomAtThreshold = room - (len(c.shares) - above)
}

// reachesThreshold reports whether a group with this share is to be tracked. For a group
// with exactly the threshold it reduces roomAtThreshold.
func (c *Counter) reachesThreshold(share float64) bool {
	if c.threshold == 0 {
		return true
	}
	if share == c.threshold {
		c.roomAtThreshold--
		return c.roomAtThreshold >= 0
	}
	return share > c.threshold
}

func (g *trackedGroup) reset(pools int) {
	g.seen, g.missed = false, 0
	if g.taken == nil {
		g.taken = new(ports)
	}
	*g.taken = ports{}
	if g.closing != nil {
		*g.closing = ports{}
	}
	if g.sources != nil {
		g.sources.n = 0
	}
	words := (pools + 63) / 64
	g.pools = slices.Grow(g.pools[:0], words)[:words]
	clear(g.pools)
}

// addToIndex adds tracked group i to the index.
func (c *Counter) addToIndex(i int) {
	at := int(c.tracked[i].hash) & (len(c.index) - 1)
	for c.index[at] != 0 {
		at = (at + 1) & (len(c.index) - 1)
	}
	c.index[at] = int32(i + 1)
}

// find returns a tracked group, or nil.
func (c *Counter) find(k *key, hash uint64) *trackedGroup {
	for at := int(hash) & (len(c.index) - 1); c.index[at] != 0; at = (at + 1) & (len(c.index) - 1) {
		if g := &c.tracked[c.index[at]-1]; g.hash == hash && g.key == *k {
			return g
		}
	}
	return nil
}

// Add adds a flow of the dump, translated or not. It allocates nothing and does not keep
// the flow.
func (c *Counter) Add(f *conntrack.Flow) {
	if !hasChosenPort(f.Reply.Proto) {
		return
	}
	// A port is in use if any entry has the tuple of the replies, in either direction
	// (nf_conntrack_tuple_taken). The original tuple of a translated flow has a container's
	// address, which is in no such tuple.
	if f.Translated() {
		c.addTuple(&f.Reply, f)
		return
	}
	c.addTuple(&f.Reply, nil)
	c.addTuple(&f.Original, nil)
}

// addTuple counts the port of a tuple, which is that of a packet from the destination. f is
// the flow if it is translated, else nil.
func (c *Counter) addTuple(t *conntrack.Tuple, f *conntrack.Flow) {
	k, port := keyOf(t)
	hash := c.hash(k)
	pool := int32(-1)
	size := uint32(0)
	closed := false
	if f != nil {
		pool = c.pools.poolOf(f)
		size = uint32(c.pools.all[pool].size)
		closed = isEvictable(f)
	}
	g := c.find(&k, hash)
	if g == nil {
		free := closed && c.ReusesClosed
		if g = c.track(&k, hash, f, free); g == nil {
			if free {
				return
			}
			c.bounds.add(hash, size)
			c.maxUntracked = max(c.maxUntracked, c.bounds.bound(hash).share())
			return
		}
	}
	isNew := g.taken.add(port)
	if f == nil {
		return
	}
	if !g.seen {
		g.seen, g.group = true, groupOf(f)
	}
	g.pools[pool/64] |= 1 << (pool % 64)
	counts := isNew && (!closed || !c.ReusesClosed) // as Usage.Used counts
	switch {
	case isNew && closed:
		if g.closing == nil {
			g.closing = new(ports)
		}
		g.closing.add(port)
	case !isNew && !closed && g.closing != nil && g.closing.remove(port): // a later flow has the port
		counts = c.ReusesClosed
	}
	if counts && c.Holders > 0 {
		if g.sources == nil {
			g.sources = new(sources)
		}
		g.sources.add(f.Original.Src, pool)
	}
}

// track begins to track a group if there is room and the group may be among the fullest;
// else it returns nil. isFree reports that the port of f counts as free.
func (c *Counter) track(k *key, hash uint64, f *conntrack.Flow, isFree bool) *trackedGroup {
	switch {
	case isFree && c.crowded:
		c.skipped = true
		return nil
	case c.n == len(c.tracked):
		return nil
	case c.threshold == 0 && f == nil: // only groups with translated flows are of interest
		return nil
	case !c.reachesThreshold(c.boundsBefore.bound(hash).share()):
		return nil
	}
	g := &c.tracked[c.n]
	g.reset(len(c.pools.all))
	g.key, g.hash = *k, hash
	// With a threshold, a group is tracked from its first flow on: its bound and the
	// threshold do not change during a dump.
	if c.threshold == 0 {
		g.missed = int(c.bounds.bound(hash).flows)
	}
	c.addToIndex(c.n)
	c.n++
	return g
}

// End ends a dump. It returns the fullest groups in descending order of their share, at
// most as many as Options.Groups, and an upper bound of the share of every other group.
// The usages are valid until Begin.
//
// If exact is false, another dump between Begin and End gives better figures. If the table
// does not change, the second dump is exact with rare exceptions: many groups may be about
// as full as the last usage, or hashes may collide.
func (c *Counter) End() (usages []Usage, unlistedShare float64, exact bool) {
	c.ended = true
	c.counted = c.counted[:0]
	for i := range c.n {
		if g := &c.tracked[i]; g.seen {
			c.counted = append(c.counted, c.count(g))
		}
	}
	slices.SortFunc(c.counted, func(a, b countedGroup) int { return compareUsage(&a.Usage, &b.Usage) })
	c.usages = c.usages[:0]
	unlistedShare, exact = c.maxUntracked, true
	last := 0.0
	for i := range c.counted {
		x := &c.counted[i]
		if i >= c.Groups {
			unlistedShare = max(unlistedShare, x.ceiling)
			continue
		}
		c.usages = append(c.usages, x.Usage)
		exact = exact && x.ceiling == x.Share()
		if i == c.Groups-1 {
			last = x.Share()
		}
	}
	return c.usages, unlistedShare, exact && unlistedShare <= last
}

// count counts the ports of a tracked group in its fullest pool.
func (c *Counter) count(g *trackedGroup) (x countedGroup) {
	c.ranks[0].set(g.taken)
	if g.closing != nil {
		c.ranks[1].set(g.closing)
	}
	all := c.ranks[0].below(g.taken, 1<<16)
	if g.closing != nil && c.ReusesClosed {
		all -= c.ranks[1].below(g.closing, 1<<16)
	}
	fullest := int32(0)
	for i := range c.pools.all {
		if g.pools[i/64]&(1<<(i%64)) == 0 {
			continue
		}
		p := &c.pools.all[i]
		u := Usage{Group: g.group, Ranges: p.ranges, Usable: p.size, Used: c.ranks[0].within(g.taken, p.ranges)}
		if g.closing != nil {
			u.Closing = c.ranks[1].within(g.closing, p.ranges)
		}
		if c.ReusesClosed {
			u.Used -= u.Closing
		}
		if x.Usable == 0 || u.Share() > x.Share() || u.Share() == x.Share() && u.Usable < x.Usable {
			x.Usage = u
			fullest = int32(i)
		}
		x.ceiling = max(x.ceiling, float64(u.Used+g.missed)/float64(u.Usable))
		x.bound = max(x.bound, float64(all+g.missed)/float64(u.Usable))
	}
	if g.sources != nil {
		x.Holders = g.sources.top(c.Holders, fullest)
	}
	return x
}
