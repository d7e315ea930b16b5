// Package report describes a node for people and for programs. It joins the kernel's flows
// and rules with the records of attachments, finds problems, and writes the result as tables,
// JSON or YAML.
//
// # Owners of flows
//
// The kernel's flow table has addresses only. Owners finds the attachment of an address:
//
//	owners := report.OwnersOf(records)
//	for f, err := range c.Dump(ctx, conntrack.Filter{}) {
//		if err != nil {
//			return err
//		}
//		from, to := owners.Ends(f) // the attachment that began the flow, and the one it reached, or nil
//		...
//	}
//
// Its memory grows with the number of attachments, and it allocates nothing per flow. It has
// the attachments of one moment: if another attachment received an address since a flow
// began, the flow is attributed to the new attachment.
//
// # Stable names
//
// The json tags of this package are the names in JSON and YAML. They do not change, and keep
// their meaning; names may be added. Durations are numbers of seconds, times are RFC 3339 in
// UTC, and addresses and ports are separate values. Unknown values are omitted, except the
// fields of a Flow that every reader needs: these are empty, 0 or null. YAML is converted
// from the JSON, so that both have the same content.
//
// # Untrusted text
//
// Names of pods, networks and interfaces come from other programs. Tables escape them with
// Clean, so that they cannot send escape sequences to a terminal. JSON and YAML escape them
// as well.
package report
