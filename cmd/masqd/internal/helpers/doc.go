// Package helpers is the part of masqd that serves helpers in user space: RTSP, PNA and
// talk. Package session reads and rewrites the protocols; this package is the node for it.
//
// # Path of a control connection
//
//	container -> server:554        rule of the owned table: redirected to the listener
//	listener                       the original destination is read from conntrack
//	masqd -> server:554            with an element of the map `spoken`, which applies the
//	                               policy of the container: same egress address and ports
//
// Media do not pass masqd. A port that was announced is a conntrack entry, or an element of
// the map `opened` with a timeout if the port of the server is not known.
//
// # The owned table
//
// Table inet masq-helpers exists only while masqd runs and an attachment or sourceCIDRs ask
// for one of its helpers. The kernel deletes it with masqd's socket, also after SIGKILL: new
// connections then reach the server unread. Conntrack entries stay, so media continue.
//
// Synced is called after each sync of the table inet masq; there is no other event and no
// timer. A node without these helpers has neither listeners nor the table.
//
// # Lifetime
//
// When an attachment is deleted, its connections are reset, and its media are closed. When masqd
// ends, it deletes the table and then closes the connections. A player that connects again at once
// reaches the server, and its media continue.
//
// # To debug
//
//	nft list table inet masq-helpers
//	conntrack -L -p udp --src-nat
//	masqd --log-level debug          each refusal
//	masq_helper_*                    metrics
package helpers
