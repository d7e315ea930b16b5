// Package store keeps the state of a node on disk, below a state directory
// (/run/masq-cni): a record of each attachment, the node's policy, and marks.
//
// A record describes an attachment and the link that ADD made for it. DEL needs it when
// the runtime passes no arguments, masqd compares it with the kernel, and people read it.
// The plugin writes the record before it changes anything (the intent) and removes it after
// everything else. If the plugin is killed in between, the record tells the next program
// what to remove.
//
// Files are replaced by a rename, so that a reader sees the old text or the new text.
// Nothing is synced to the disk: records describe links and rules, which do not survive a
// reboot either.
//
//	attachments/<node>-<digest>.json     a record
//	attachments/<node>-<digest>.retired  a record whose container was found gone
//	attachments/<node>-<digest>.bad      a damaged record that was rebuilt
//	attachments/masqd.lock               the lock of masqd, and its addresses
//	duplicates/<node>-<digest>           marks a record that replaced another attachment
//	refused/<node>-<digest>.json         a pod whose annotations ADD refused
//	node-<node>.json                     the node's policy
//	mss-clamps-<node>.json               local MSS clamps, which masq-cni clamp writes
//	nat-log-<node>                       marks a node with a NAT log
//
// <node> is the cookie of the network namespace, <digest> the digest of network, container
// ID and interface. To debug, read the files as root: they are JSON. The package has no
// cache and no locks but masqd.lock; it does not interpret the policy of a record.
package store
