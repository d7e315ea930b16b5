package portpool

import (
	"hash/maphash"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Counter counts the ports of the fullest groups exactly, in the memory of those
// alone: 16 KiB for each, and 1 MiB for all others together. It is for one goroutine
// at a time.
//
// It follows some groups, bit by bit, and of all others has a bound. Where the bound
// of one is above what is followed, another dump finds it: End says so.
type Counter struct {
	Options
	pools    *Pools
	hash     func(key) uint64 // of a seed of its own: nobody can choose what falls together
	followed []followed       // the first n are in use
	n        int
	index    []int32 // by hash: the number of a followed group plus 1; open addressing
	// Of the dump under way, and of the one before.
	now, before *sketch
	floor       float64 // share from which on a group is followed; 0: as they come
	level       int     // room for those with just that share
	passed      float64 // the largest bound of a group that is not followed
	// crowded says that not all groups can be followed: none without a port in use is.
	// refused says that there was one.
	crowded, refused bool
	counted          []counted
	uses             []Use
	ended            bool
	ranks            [2]ranks
	shares           []float64
}

// followed is a group of which each port is known.
type followed struct {
	key   key
	hash  uint64
	group Group
	seen  bool // has a flow that is translated
	// missed is how many flows of it may have come before it was followed.
	missed int
	taken  *ports
	// closing is nil where no flow was.
	closing *ports
	sources *sources // nil where holders are not counted
	pools   []uint64 // a bit for each
}

// counted is what a dump has shown of a group that is followed.
type counted struct {
	Use
	// ceiling is its share if all flows that may have been missed are its own.
	ceiling float64
	// looks is the share that it would seem to have if it was not followed.
	looks float64
}

// Options say what is counted.
type Options struct {
	// Groups is how many groups are counted exactly, where there are so many; at least 1.
	Groups int
	// Holders is how many sources are named of each group; 0 for none.
	Holders int
	// ReusesClosed counts the ports of closed TCP flows as free: see ReusesClosed.
	ReusesClosed bool
}

// NewCounter takes 16 KiB for each group, and 2 KiB more where holders are counted.
func NewCounter(o Options) *Counter {
	o.Groups = max(o.Groups, 1)
	n := 2*o.Groups + 64
	size := 1
	for size < 4*n {
		size *= 2
	}
	seed := maphash.MakeSeed()
	return &Counter{
		Options: o, hash: func(k key) uint64 { return maphash.Comparable(seed, k) }, followed: make([]followed, n), index: make([]int32, size),
		now: new(sketch), before: new(sketch),
	}
}

// Begin is before the first flow of a dump. What earlier dumps have shown says which
// groups are followed from the first flow on; one that was not ended shows nothing.
func (c *Counter) Begin(p *Pools) {
	if c.ended {
		c.choose()
		c.now, c.before = c.before, c.now
	}
	c.pools, c.ended = p, false
	*c.now = sketch{}
	c.passed, c.refused = 0, false
	for i := range c.followed[:c.n] {
		c.followed[i].reset(len(p.all))
	}
}

// choose keeps the groups that are worth to be followed, and finds from which share
// on others are.
func (c *Counter) choose() {
	c.floor, c.level, c.crowded = 0, 0, c.passed > 0 || c.refused
	if c.crowded {
		c.shares = c.shares[:0]
		for i := range c.counted {
			if s := c.counted[i].looks; s > 0 {
				c.shares = append(c.shares, s)
			}
		}
		for i := range c.now.cells[0] {
			if s := c.now.cells[0][i].share(); s > 0 {
				c.shares = append(c.shares, s)
			}
		}
		slices.Sort(c.shares)
		// Some room is left for groups that only look full.
		room := len(c.followed) * 3 / 4
		if over := len(c.shares) - room; over > 0 {
			c.floor = c.shares[over]
			above, _ := slices.BinarySearchFunc(c.shares, c.floor, func(s, floor float64) int {
				if s > floor {
					return 1
				}
				return -1
			})
			c.level = room - (len(c.shares) - above)
		}
	}
	clear(c.index)
	kept := 0
	for i := range c.n {
		g := &c.followed[i]
		if !g.seen {
			continue
		}
		if s := c.use(g).looks; c.crowded && s == 0 || !c.worth(s) {
			continue
		}
		c.followed[kept], c.followed[i] = *g, c.followed[kept]
		c.place(kept)
		kept++
	}
	c.n = kept
}

// worth reports whether a group with a share is to be followed.
func (c *Counter) worth(share float64) bool {
	if c.floor == 0 {
		return true
	}
	if share == c.floor {
		c.level--
		return c.level >= 0
	}
	return share > c.floor
}

func (g *followed) reset(pools int) {
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

func (c *Counter) place(i int) {
	at := int(c.followed[i].hash) & (len(c.index) - 1)
	for c.index[at] != 0 {
		at = (at + 1) & (len(c.index) - 1)
	}
	c.index[at] = int32(i + 1)
}

func (c *Counter) find(k *key, hash uint64) *followed {
	for at := int(hash) & (len(c.index) - 1); c.index[at] != 0; at = (at + 1) & (len(c.index) - 1) {
		if g := &c.followed[c.index[at]-1]; g.hash == hash && g.key == *k {
			return g
		}
	}
	return nil
}

// Add takes a flow of the dump, translated or not, and allocates nothing for it. The
// flow is not kept.
func (c *Counter) Add(f *conntrack.Flow) {
	if !chosen(f.Reply.Proto) {
		return
	}
	// A port is taken where an entry has the tuple of the answers, in whichever
	// direction (nf_conntrack_tuple_taken). The original tuple of a translated flow
	// comes from a container: a far end of nobody.
	if f.Translated() {
		c.take(&f.Reply, f)
		return
	}
	c.take(&f.Reply, nil)
	c.take(&f.Original, nil)
}

// take counts the port of a tuple that packets from a far end have; f is the flow
// where it is translated.
func (c *Counter) take(t *conntrack.Tuple, f *conntrack.Flow) {
	k, port := keyOf(t)
	hash := c.hash(k)
	from := int32(-1)
	size := uint32(0)
	closed := false
	if f != nil {
		from = c.pools.of(f)
		size = uint32(c.pools.all[from].size)
		closed = evictable(f)
	}
	g := c.find(&k, hash)
	if g == nil {
		unused := closed && c.ReusesClosed
		if g = c.follow(&k, hash, f, unused); g == nil {
			if unused {
				return
			}
			c.now.add(hash, size)
			c.passed = max(c.passed, c.now.bound(hash).share())
			return
		}
	}
	fresh := g.taken.add(port)
	if f == nil {
		return
	}
	if !g.seen {
		g.seen, g.group = true, groupOf(f)
	}
	g.pools[from/64] |= 1 << (from % 64)
	counts := fresh && (!closed || !c.ReusesClosed) // as Use.Used has it
	switch {
	case fresh && closed:
		if g.closing == nil {
			g.closing = new(ports)
		}
		g.closing.add(port)
	case !fresh && !closed && g.closing != nil && g.closing.remove(port): // a later flow has it
		counts = c.ReusesClosed
	}
	if counts && c.Holders > 0 {
		if g.sources == nil {
			g.sources = new(sources)
		}
		g.sources.add(f.Original.Src, from)
	}
}

// follow begins to follow another group, if there is room and the group may be among
// the fullest. The port of f may be unused.
func (c *Counter) follow(k *key, hash uint64, f *conntrack.Flow, unused bool) *followed {
	switch {
	case unused && c.crowded:
		c.refused = true
		return nil
	case c.n == len(c.followed):
		return nil
	case c.floor == 0 && f == nil: // only groups that draw from a pool count
		return nil
	case !c.worth(c.before.bound(hash).share()):
		return nil
	}
	g := &c.followed[c.n]
	g.reset(len(c.pools.all))
	g.key, g.hash = *k, hash
	// Above a floor, who is followed is followed from its first flow on: neither its
	// bound nor the lack of room changes during a dump.
	if c.floor == 0 {
		g.missed = int(c.now.bound(hash).flows)
	}
	c.place(c.n)
	c.n++
	return g
}

// End is after the last flow of a dump. It returns the fullest groups, the fullest
// first, at most as many as NewCounter was asked for, and the share that no group has
// more of that is not among them. They are good until Begin.
//
// Where exact is false, the flows of another dump between Begin and End give what
// this one could not: of a table that does not change, the second is exact unless
// many groups are about as full as the last of the uses, or hashes happen to fall
// together, which is rare: then beyond tells what else there may be.
func (c *Counter) End() (uses []Use, beyond float64, exact bool) {
	c.ended = true
	c.counted = c.counted[:0]
	for i := range c.n {
		if g := &c.followed[i]; g.seen {
			c.counted = append(c.counted, c.use(g))
		}
	}
	slices.SortFunc(c.counted, func(a, b counted) int { return fuller(&a.Use, &b.Use) })
	c.uses = c.uses[:0]
	beyond, exact = c.passed, true
	least := 0.0
	for i := range c.counted {
		x := &c.counted[i]
		if i >= c.Groups {
			beyond = max(beyond, x.ceiling)
			continue
		}
		c.uses = append(c.uses, x.Use)
		exact = exact && x.ceiling == x.Share()
		if i == c.Groups-1 {
			least = x.Share()
		}
	}
	return c.uses, beyond, exact && beyond <= least
}

// use counts the fullest pool of a group.
func (c *Counter) use(g *followed) (x counted) {
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
		u := Use{Group: g.group, Ranges: p.ranges, Usable: p.size, Used: c.ranks[0].within(g.taken, p.ranges)}
		if g.closing != nil {
			u.Closing = c.ranks[1].within(g.closing, p.ranges)
		}
		if c.ReusesClosed {
			u.Used -= u.Closing
		}
		if x.Usable == 0 || u.Share() > x.Share() || u.Share() == x.Share() && u.Usable < x.Usable {
			x.Use = u
			fullest = int32(i)
		}
		x.ceiling = max(x.ceiling, float64(u.Used+g.missed)/float64(u.Usable))
		x.looks = max(x.looks, float64(all+g.missed)/float64(u.Usable))
	}
	if g.sources != nil {
		x.Holders = g.sources.most(c.Holders, fullest)
	}
	return x
}
