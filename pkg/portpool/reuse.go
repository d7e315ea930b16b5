package portpool

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// ReusesClosed reports whether the running kernel gives the port of a closed TCP flow to a
// new flow if no port is free: Linux 6.5 and later. It decides by the version, so it returns
// false for an older kernel to which a distribution has backported the change.
func ReusesClosed() bool {
	var u unix.Utsname
	return unix.Uname(&u) == nil && reusesClosed(unix.ByteSliceToString(u.Release[:]))
}

// reusesClosed decides by a release such as "6.12.30-cloud-amd64". The change is commit
// 458972550287, "snat: evict closing tcp entries on reply tuple collision".
func reusesClosed(release string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major > 6 || major == 6 && minor >= 5
}

// isEvictable reports whether a new flow may take the port of f, as nf_nat_may_kill
// decides. The kernel also requires that the new connection's sequence number is higher than
// the old one's, which is not in the table.
func isEvictable(f *conntrack.Flow) bool {
	return f.Reply.Proto == unix.IPPROTO_TCP && f.Has(conntrack.HasState) && f.State >= conntrack.TCPTimeWait &&
		f.Status&(conntrack.FixedTimeout|conntrack.Dying) == 0
}
