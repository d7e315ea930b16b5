package main

import (
	"cmp"
	"context"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/report"
)

func (n *node) watchPods(c *cobra.Command, w watching, a answer) error {
	s := source[report.Attachment]{
		name: "attachments", columns: podColumns(a.Wide), most: mostRows, tie: compareAttachments,
		write: func(w io.Writer, all []report.Attachment) error {
			return report.WriteAttachments(w, report.Style{Wide: a.Wide}, all, time.Now())
		},
		look: func(ctx context.Context, add func(report.Attachment)) (error, error) {
			all, unread, err := n.attachments(ctx)
			for _, x := range all {
				add(x)
			}
			return unread, err
		},
	}
	s.first = slices.IndexFunc(s.columns, func(c column[report.Attachment]) bool { return c.name == "FLOWS" })
	return watch(c, w, a, s)
}

func compareAttachments(a, b *report.Attachment) int {
	return cmp.Or(strings.Compare(a.Pod(), b.Pod()), strings.Compare(a.Network, b.Network),
		strings.Compare(a.ContainerID, b.ContainerID), strings.Compare(a.Interface, b.Interface))
}

// podColumns are those of report.WriteAttachments.
func podColumns(wide bool) []column[report.Attachment] {
	type row = report.Attachment
	out := []column[row]{
		words("POD", func(a *row) string { return a.Pod() }),
		words("NETWORK", func(a *row) string { return a.Network }),
		{"ADDRESSES", func(a, b *row) int { return slices.CompareFunc(a.Addresses, b.Addresses, netip.Addr.Compare) }},
		words("POLICY", func(a *row) string { return a.Policy }),
		numbers("FLOWS", func(a *row) int { return a.Flows }),
		numbers("TRANSLATED", func(a *row) int { return a.Translated }),
		numbers("INCOMING", func(a *row) int { return a.Incoming }),
		numbers("BEGUN", func(a *row) uint64 {
			if a.Begun == nil {
				return 0
			}
			return *a.Begun
		}),
		numbers("BYTES", func(a *row) uint64 { return a.Bytes.Sum() }),
	}
	if !wide {
		return out
	}
	return append(out,
		numbers("PACKETS", func(a *row) uint64 { return a.Packets.Sum() }),
		words("CONTAINER", func(a *row) string { return a.ContainerID }),
		words("INTERFACE", func(a *row) string { return a.Interface }),
		words("LINKS", func(a *row) string { return strings.Join(a.Links, ",") }),
		numbers("MTU", func(a *row) int { return a.MTU }),
		words("STATE", func(a *row) string { return a.State() }),
		column[row]{"AGE", func(a, b *row) int { return a.Created.Compare(b.Created.Time) }},
	)
}
