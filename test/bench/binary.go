package main

import (
	"context"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// heavy are modules that would slow down the plugin's start.
var heavy = []string{"k8s.io/", "sigs.k8s.io/", "github.com/spf13/", "github.com/prometheus/", "github.com/charmbracelet/"}

// binary examines the plugin's program.
func (b *bench) binary(context.Context) (section, error) {
	size := func(dir, name string) (float64, error) {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return 0, err
		}
		return float64(st.Size()) / 1e6, nil
	}
	masq, err := size(b.masq, "masq")
	if err != nil {
		return section{}, err
	}
	ptp, err := size(b.peers, "ptp")
	if err != nil {
		return section{}, err
	}
	ipam, err := size(b.peers, "host-local")
	if err != nil {
		return section{}, err
	}
	f, err := elf.Open(filepath.Join(b.masq, "masq"))
	if err != nil {
		return section{}, err
	}
	defer f.Close()
	how := "stripped"
	if f.Section(".symtab") != nil {
		how = "**not stripped**"
	}
	info, err := buildinfo.ReadFile(filepath.Join(b.masq, "masq"))
	if err != nil {
		return section{}, err
	}
	count := 0.0
	for _, d := range info.Deps {
		for _, h := range heavy {
			if strings.HasPrefix(d.Path+"/", h) {
				count++
			}
		}
	}
	mega := func(v float64) string { return fmt.Sprintf("%.2f MB", v) }
	return section{
		title: "The program",
		note:  "Heavy modules are the modules of Kubernetes, cobra, Prometheus and charmbracelet that the program contains. All programs are static and stripped.",
		rows: []row{
			{what: "masq, " + how, show: mega, values: sample{masq}, against: "ptp and host-local", ratio: &ratio{masq / (ptp + ipam), masq / (ptp + ipam), masq / (ptp + ipam)}, target: target{limit: 6, side: atMost, value: median}},
			{what: "ptp and host-local", show: mega, values: sample{ptp + ipam}},
			{what: "heavy modules in masq", show: plain, values: sample{count}, target: target{limit: 0, side: atMost, value: median}},
		},
	}, nil
}
