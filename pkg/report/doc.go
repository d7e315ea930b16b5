// Package report joins what the kernel knows of flows with what the records know of
// attachments, and writes it down: tables for people, JSON and YAML for programs.
//
// # Whose a flow is
//
// The kernel's table has addresses only. Owners finds the attachment behind one:
//
//	owners := report.OwnersOf(records)
//	for f, err := range c.Dump(ctx, conntrack.Filter{}) {
//		if err != nil {
//			return err
//		}
//		a, b := owners.Ends(f) // who began it, and who answers; nil: nobody of ours
//		...
//	}
//
// The memory that it takes follows the attachments, and nothing is allocated for a
// flow. It knows the attachments of one moment: where an address passed on since a
// flow began, the flow is said to be its new holder's.
//
// # Names that stay
//
// What is written as JSON or YAML has the names of the json tags here. A name that
// is there stays, with its meaning; others may come. Durations are numbers of
// seconds, times are RFC 3339 in UTC, addresses and ports are apart. A value that
// nobody knows is left out, but for those of a Flow that every reader may ask for:
// these are empty, 0 or null. YAML is made of the JSON, so the two cannot differ.
//
// # Text from outside
//
// Names of pods, networks and interfaces come from other programs. In tables they
// pass through Clean: no terminal ever sees an escape of theirs. JSON and YAML
// escape by themselves.
package report
