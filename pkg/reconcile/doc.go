// Package reconcile keeps the kernel in agreement with the records of attachments and the
// node's configuration: the daemon's control loop.
//
// # Inputs
//
// New takes a Deps, which has everything that a Loop reads or changes: the records (a
// Cache, which watches their directory), the configuration (NodeConfig), the kernel's
// ruleset (Rules), the node's interfaces and addresses (Host), and its flows. Any goroutine
// may report events. Transaction and EventsLost note an event and request a sync.
// LinksDamaged and AddressesRemoved only note it: the caller also has to call RequestSync.
//
// RequestSync requests a sync with a reason, an Urgency (how soon it has to run) and a
// Scope (what it compares). Requests are merged until the next sync starts. Run does all
// syncs, one at a time.
//
// # What a sync compares
//
//	event                             urgency      compared, and repaired
//	a record changed                  Soon         its elements; the structure if its policy is new
//	a transaction of the plugin       Soon         nothing, if the records explain it
//	a transaction of another program  Urgent       its elements; the structure if it changed
//	a transaction without details     Urgent       the whole table
//	a missing transaction             Soon         the whole table
//	the configuration changed         Interactive  the whole table
//	an address was added or removed   Urgent       egress addresses, forwarding
//	a route changed                   Soon         egress addresses, forwarding
//	forwarding was turned off         Urgent       egress addresses, forwarding
//	a link lost a route or a setting  Soon         that link
//	a link was deleted                Soon         stale attachments, at the next resync
//	start, lost events                Urgent       everything
//	resync                            Soon         forwarding, all links, the generation
//
// The structure is everything in the table but the elements of attachments. A transaction
// is explained if it leaves its elements as the records require. For every other element
// the sync reads the record's file and the kernel's element again. It does not rely on the
// content of the event, so events may come late or together. Generations of the ruleset
// are consecutive: a missing number shows that a notification is missing.
//
// Soon waits for the pause after the previous sync, which keeps syncs below a fifth of a
// core. Urgent ends the pause while a budget lasts. Interactive always ends it. A failed
// sync is repeated after 100 ms, and later at doubled intervals up to 10 s.
//
// # What is deleted, and on which proof
//
//   - An element: no record needs it, by the records' files, and the ruleset has not changed
//     since they were read. The element of an attachment with a pending or unreadable record
//     stays.
//   - A chain, rule or set: no policy of a record or of the configuration needs it. If the
//     ruleset changes meanwhile, objects stay that a newer attachment may need.
//   - An untranslated flow: it comes from an attachment or source whose rules may have been
//     missing, and its destination is not a direct one of the policy.
//   - A translated flow: its egress address was removed from the node.
//   - A stale attachment's record: store.ContainerCheck proves for CleanupGrace that its
//     container no longer exists. If later evidence shows that the container exists, the
//     record is restored.
//   - A record of another node that shares the directory: its network namespace does not
//     exist, for CleanupGrace.
//   - A damaged record: a Rebuilder has written a new one from the kernel's state.
//
// # Limits
//
// A Loop changes only table inet masq, links that the plugin made, forwarding settings,
// flows of attachments and sources, and files of the state directory. It does not release
// IPAM leases: the log names the leases of removed attachments. Its memory grows with
// attachments, not with flows.
//
// # To debug
//
// Each repair is one log line, "repaired", that names the first differences. Stats counts
// requests by reason, syncs, full comparisons, repairs by kind, and lost events; masqd
// exports them as metrics. Stats.Problem is the error of the last sync.
package reconcile
