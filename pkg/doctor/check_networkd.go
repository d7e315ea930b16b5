package doctor

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// networkd finds links that systemd-networkd manages: it applies the first .network file
// whose section [Match] matches, and then removes addresses and routes that the file does
// not have (ManageForeignRoutes= in networkd.conf(5)).
var networkd = Check{
	ID:       "networkd",
	Title:    "systemd-networkd manages links of containers",
	Severity: report.SeverityWarning,
	Reads:    "/run/systemd/netif/links, *.network files and their drop-ins in /etc, /run and /usr/lib/systemd/network, /proc/*/comm",
	Applies:  "systemd-networkd runs in the network namespace of the node",
	Remedy:   "Add a .network file with Unmanaged=yes for the links.",
	Cost:     Full,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		links, err := n.hostLinks()
		if err != nil {
			return nil, err
		}
		managed, evidence := n.managedByNetworkd(links)
		if len(managed) == 0 {
			return nil, nil
		}
		p, err := n.processNamed("systemd-network") // the first 15 bytes
		if err != nil || p == nil {
			return nil, err
		}
		return []Finding{managerFinding("systemd-networkd", managed, []Evidence{*evidence, p.evidence()}, Remedy{
			Text: "let systemd-networkd ignore the links",
			Commands: []string{
				`printf '[Match]\nName=veth*\nKind=veth\n\n[Link]\nUnmanaged=yes\n' > /etc/systemd/network/05-masq-cni.network`,
				"networkctl reload",
			},
		})}, nil
	},
}

// managedByNetworkd returns the names of the links that systemd-networkd manages or will
// manage, and what shows it.
func (n *Node) managedByNetworkd(links []veth.Interface) (managed []string, evidence *Evidence) {
	for _, l := range links {
		name := n.rooted("/run/systemd/netif/links/" + strconv.Itoa(l.Index))
		keys, err := readINI(name)
		if err != nil {
			continue
		}
		for _, k := range keys {
			if k.key == "ADMIN_STATE" && (k.value == "configuring" || k.value == "configured") {
				managed = append(managed, l.Name)
				if evidence == nil {
					evidence = &Evidence{name + " ADMIN_STATE", k.value}
				}
			}
		}
	}
	if len(managed) > 0 {
		return managed, evidence
	}
	files := n.networkFiles()
	for _, l := range links {
		for _, f := range files {
			if !f.matches(l.Name) {
				continue
			}
			if !f.unmanaged {
				managed = append(managed, l.Name)
				evidence = &Evidence{f.path + " [Match]", f.text()}
			}
			break
		}
	}
	return managed, evidence
}

// networkFile is a .network file with its drop-ins.
type networkFile struct {
	path      string
	match     []iniKey // the settings of [Match]
	unmanaged bool
}

// networkFiles reads the .network files in the order in which systemd-networkd does.
func (n *Node) networkFiles() (out []networkFile) {
	var dirs []string
	for _, d := range []string{"/usr/lib", "/usr/local/lib", "/run", "/etc"} {
		dirs = append(dirs, n.rooted(d+"/systemd/network"))
	}
	for _, file := range shadowedFiles(".network", dirs...) {
		b, err := os.ReadFile(file)
		if err != nil || len(bytes.TrimSpace(b)) == 0 { // an empty file masks files with its name
			continue
		}
		f := networkFile{path: file}
		f.add(parseINI(b[:min(len(b), maxConfigFile)]))
		var drops []string
		for _, d := range dirs {
			drops = append(drops, filepath.Join(d, filepath.Base(file)+".d"))
		}
		for _, drop := range shadowedFiles(".conf", drops...) {
			if keys, err := readINI(drop); err == nil {
				f.add(keys)
			}
		}
		out = append(out, f)
	}
	return out
}

func (f *networkFile) add(keys []iniKey) {
	for _, k := range keys {
		switch {
		case k.section == "Match":
			f.match = append(f.match, k)
		case k.section == "Link" && k.key == "Unmanaged":
			v := strings.ToLower(k.value)
			f.unmanaged = v == "yes" || v == "true" || v == "1" || v == "on"
		}
	}
}

// text returns the section [Match] in one line.
func (f *networkFile) text() string {
	var out []string
	for _, k := range f.match {
		out = append(out, k.key+"="+k.value)
	}
	return strings.Join(out, " ")
}

// matches reports whether the file applies to a veth interface. A file without a section
// [Match] applies to none. A condition that is not examined here, such as a hardware
// address, counts as not met.
func (f *networkFile) matches(name string) bool {
	if len(f.match) == 0 {
		return false
	}
	lists := map[string]string{}
	for _, k := range f.match {
		if k.value == "" {
			lists[k.key] = "" // an empty value clears the list
			continue
		}
		lists[k.key] += " " + k.value
	}
	matched := false
	for key, list := range lists {
		if list == "" {
			continue
		}
		ok := false
		switch key {
		case "Name":
			ok = matchesList(list, name)
		case "Type":
			ok = matchesList(list, "ether")
		case "Kind", "Driver":
			ok = matchesList(list, "veth")
		}
		if !ok {
			return false
		}
		matched = true
	}
	return matched
}

// matchesList reports whether one of the patterns of a list matches. An exclamation mark
// before the first pattern inverts the result (systemd.network(5)).
func matchesList(list, value string) bool {
	list, inverted := strings.CutPrefix(strings.TrimSpace(list), "!")
	for pattern := range strings.FieldsSeq(list) {
		if globs(pattern, value) {
			return !inverted
		}
	}
	return inverted
}
