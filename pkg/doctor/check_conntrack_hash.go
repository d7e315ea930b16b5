package doctor

import (
	"context"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// maxPerBucket is the number of entries for each bucket of the hash table from which the
// table is too small. Each entry is in two buckets, one for each direction. Since Linux 5.15
// the default of nf_conntrack_max allows 1 entry for each bucket, and before that 4
// (nf_conntrack_init_start in net/netfilter/nf_conntrack_core.c).
const maxPerBucket = 4

var conntrackHash = Check{
	ID:       "conntrack-hash",
	Title:    "The hash table of conntrack is too small",
	Severity: report.SeverityWarning,
	Reads:    "the number of entries of the conntrack table, `nf_conntrack_buckets`",
	Applies:  "the table has entries",
	Remedy:   "Raise `nf_conntrack_buckets`.",
	Cost:     Cheap,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		buckets, found, err := n.readConntrackSetting("buckets")
		if err != nil || !found {
			return nil, err
		}
		x, err := n.conntrackFacts(ctx)
		if err != nil || !hashIsSmall(x, buckets) {
			return nil, err
		}
		f := Finding{
			Severity: report.SeverityWarning,
			Object:   "hash table of conntrack",
			Message:  fmt.Sprintf("is too small: %d entries in %s", x.Entries, report.Plural(buckets, "bucket")),
			Evidence: []Evidence{
				{conntrackSetting("buckets"), fmt.Sprint(buckets)},
				{"conntrack, entries", fmt.Sprint(x.Entries)},
				{"conntrack, chaintoolong", fmt.Sprint(x.ChainTooLong)},
			},
			Why:    "The kernel searches a long list for each packet, and drops the first packet of a new flow whose list is too long.",
			Remedy: Remedy{Commands: []string{fmt.Sprintf("sysctl -w %s=%d", conntrackSetting("buckets"), max(x.Limit, x.Entries))}},
		}
		return []Finding{f}, nil
	},
}

// hashIsSmall decides by the entries of this network namespace. The hash table is the
// machine's, so that entries of other namespaces make it fuller.
func hashIsSmall(x conntrackFacts, buckets int) bool {
	per := float64(x.Entries) / float64(max(buckets, 1))
	return per > maxPerBucket || per > 1 && x.ChainTooLong > 0
}
