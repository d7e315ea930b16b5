package doctor

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// nftVersion is a version of nft.
type nftVersion [3]int

// lastUnableNft is the newest version that is known not to list the table. 0.9.8 and newer
// list it.
var lastUnableNft = nftVersion{0, 9, 3}

// nftTimeout bounds the run of nft --version.
const nftTimeout = 5 * time.Second

var nftTooOld = Check{
	ID:       "nft-version",
	Title:    "The program nft is too old to list the table",
	Severity: report.SeverityWarning,
	Reads:    "`nft --version`",
	Applies:  "the node has attachments, and `PATH` has nft",
	Remedy:   "List the rules with masq-cni, or install a newer nft.",
	Cost:     Full,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		path, err := exec.LookPath("nft")
		if err != nil || len(n.AllRecords) == 0 {
			return nil, nil //nolint:nilerr // most nodes of a cluster have no nft
		}
		ctx, cancel := context.WithTimeout(ctx, nftTimeout)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			return nil, fmt.Errorf("%s --version: %w", path, err)
		}
		text := strings.TrimSpace(string(out))
		version, ok := parseNftVersion(text)
		if !ok {
			return nil, notChecked(path + " --version does not show a version: " + text)
		}
		if !version.cannotList() {
			return nil, nil
		}
		return []Finding{{
			Severity: report.SeverityWarning,
			Object:   "program " + path,
			Message:  fmt.Sprintf("is nft %s, which cannot list table inet masq", version),
			Evidence: []Evidence{{path + " --version", text}},
			Why:      "It omits the counters of sets, shows some rules as bytes, and crashes when it lists some policies; the rules themselves are in effect.",
			Remedy: Remedy{
				Text:     "list the rules with masq-cni, or install nftables 0.9.8 or newer",
				Commands: []string{"masq-cni inspect rules"},
			},
		}}, nil
	},
}

func (v nftVersion) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// cannotList reports whether nft of this version cannot list the table.
func (v nftVersion) cannotList() bool {
	for i := range v {
		if v[i] != lastUnableNft[i] {
			return v[i] < lastUnableNft[i]
		}
	}
	return true
}

// parseNftVersion reads the output of nft --version: "nftables v1.0.6 (Lester Gooch #5)".
// Some versions have two numbers: "nftables v0.9 (Fearless Fosdick)".
func parseNftVersion(s string) (v nftVersion, ok bool) {
	_, rest, found := strings.Cut(s, "nftables v")
	if !found {
		return v, false
	}
	read, _ := fmt.Sscanf(rest, "%d.%d.%d", &v[0], &v[1], &v[2])
	return v, read >= 2
}
