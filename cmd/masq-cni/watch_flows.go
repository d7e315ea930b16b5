package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/report"
)

func (n *node) watchFlows(c *cobra.Command, x *choice, w watching, a answer) error {
	if err := x.parse(); err != nil {
		return err
	}
	s := source[report.Flow]{
		name: "flows", columns: flowColumns(a.Wide), most: mostRows, tie: compareFlows,
		write: func(w io.Writer, flows []report.Flow) error {
			t := report.NewFlowTable(w, report.Style{Wide: a.Wide})
			for _, f := range flows {
				if err := t.Add(f); err != nil {
					return err
				}
			}
			return t.End()
		},
		look: func(ctx context.Context, add func(report.Flow)) (error, error) {
			return n.eachFlow(ctx, x, func(f report.Flow) error { add(f); return nil })
		},
	}
	if x.limit > 0 {
		s.most = min(x.limit, mostRows)
	}
	by := cmp.Or(x.by, "bytes")
	s.first = slices.IndexFunc(s.columns, func(c column[report.Flow]) bool { return c.name == strings.ToUpper(by) })
	if s.first < 0 {
		return fmt.Errorf("--sort %s has no column that --watch could sort by; give -o wide too", by)
	}
	return watch(c, w, a, s)
}

func compareFlows(a, b *report.Flow) int {
	return cmp.Or(a.Original.CompareSource(b.Original), a.Original.CompareDestination(b.Original),
		strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.ID, b.ID))
}

// flowColumns are those of report.FlowTable.
func flowColumns(wide bool) []column[report.Flow] {
	out := []column[report.Flow]{
		words("POD", func(f *report.Flow) string { return f.Pod() }),
		words("DIR", func(f *report.Flow) string { return f.Direction }),
		words("PROTO", func(f *report.Flow) string { return f.Protocol }),
		{"SOURCE", func(a, b *report.Flow) int { return a.Original.CompareSource(b.Original) }},
		{"DESTINATION", func(a, b *report.Flow) int { return a.Original.CompareDestination(b.Original) }},
		{"TRANSLATED", func(a, b *report.Flow) int {
			x, y := a.NAT != "none", b.NAT != "none"
			switch {
			case x && !y:
				return -1
			case y && !x:
				return 1
			}
			return cmp.Or(a.Translated.CompareSource(b.Translated), a.Translated.CompareDestination(b.Translated))
		}},
		words("STATE", func(f *report.Flow) string { return f.State }),
		numbers("BYTES", func(f *report.Flow) uint64 { return f.Bytes.Sum() }),
		numbers("AGE", func(f *report.Flow) report.Seconds { return f.Duration }),
	}
	if !wide {
		return out
	}
	return append(out,
		numbers("PACKETS", func(f *report.Flow) uint64 { return f.Packets.Sum() }),
		column[report.Flow]{"TIMEOUT", func(a, b *report.Flow) int { return cmp.Compare(a.Timeout, b.Timeout) }},
		words("HELPER", func(f *report.Flow) string { return f.Helper }),
		numbers("MARK", func(f *report.Flow) uint32 { return f.Mark }),
		numbers("ZONE", func(f *report.Flow) uint16 { return f.Zone }),
		words("NETWORK", func(f *report.Flow) string { return f.Network }),
		words("CONTAINER", func(f *report.Flow) string { return f.ContainerID }),
		words("INTERFACE", func(f *report.Flow) string { return f.Interface }),
		words("STATUS", func(f *report.Flow) string { return strings.Join(f.Status, ",") }),
	)
}
