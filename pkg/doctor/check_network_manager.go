package doctor

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// networkManager finds links that NetworkManager manages. By default it does not manage veth
// pairs: its udev rule 85-nm-unmanaged.rules sets NM_UNMANAGED=1 for them. A [device]
// section with managed=1 overrides the rule (NetworkManager.conf(5)).
var networkManager = Check{
	ID:       "network-manager",
	Title:    "NetworkManager manages links of containers",
	Severity: report.SeverityWarning,
	Reads:    "/run/NetworkManager/devices, NetworkManager.conf and conf.d, /proc/*/comm",
	Applies:  "NetworkManager runs in the network namespace of the node",
	Remedy:   "List the links in unmanaged-devices.",
	Cost:     Full,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		links, err := n.hostLinks()
		if err != nil {
			return nil, err
		}
		managed, evidence := n.managedByNetworkManager(links)
		if len(managed) == 0 {
			return nil, nil
		}
		p, err := n.processNamed("NetworkManager")
		if err != nil || p == nil {
			return nil, err
		}
		return []Finding{managerFinding("NetworkManager", managed, []Evidence{*evidence, p.evidence()}, Remedy{
			Text: "let NetworkManager ignore the links",
			Commands: []string{
				`printf '[keyfile]\nunmanaged-devices+=interface-name:veth*\n' > /etc/NetworkManager/conf.d/99-masq-cni.conf`,
				"systemctl reload NetworkManager",
			},
		})}, nil
	},
}

// managerFinding is the finding about a program that manages links of containers.
func managerFinding(program string, links []string, evidence []Evidence, remedy Remedy) Finding {
	return Finding{
		Severity: report.SeverityWarning,
		Object:   program,
		Message:  "manages " + listed(links) + ", of containers",
		Evidence: evidence,
		Why:      "It can change settings and remove addresses and routes of the links, and then the containers lose their network.",
		Remedy:   remedy,
	}
}

// managedByNetworkManager returns the names of the links that NetworkManager manages or will
// manage, and what shows it.
func (n *Node) managedByNetworkManager(links []veth.Interface) (managed []string, evidence *Evidence) {
	for _, l := range links {
		name := n.rooted("/run/NetworkManager/devices/" + strconv.Itoa(l.Index))
		keys, err := readINI(name)
		if err != nil {
			continue
		}
		for _, k := range keys {
			if k.section == "device" && k.key == "managed" && k.value == "true" {
				managed = append(managed, l.Name)
				if evidence == nil {
					evidence = &Evidence{name + " managed", k.value}
				}
			}
		}
	}
	if len(managed) > 0 {
		return managed, evidence
	}
	conf := n.networkManagerConf()
	for _, l := range links {
		if file, ok := conf.manages(l.Name); ok {
			managed = append(managed, l.Name)
			evidence = &Evidence{file + " [device] managed", "1"}
		}
	}
	return managed, evidence
}

// nmConf are the parts of NetworkManager's configuration that say what it manages.
type nmConf struct {
	unmanaged string // a list of devices
	devices   []nmDevice
}

// nmDevice is a section [device] or [device-NAME].
type nmDevice struct {
	file, section  string
	match, managed string
}

func (n *Node) networkManagerConf() nmConf {
	files := shadowedFiles(".conf", n.rooted("/usr/lib/NetworkManager/conf.d"), n.rooted("/run/NetworkManager/conf.d"), n.rooted("/etc/NetworkManager/conf.d"))
	var c nmConf
	for _, file := range append([]string{n.rooted("/etc/NetworkManager/NetworkManager.conf")}, files...) {
		keys, err := readINI(file)
		if err == nil {
			c.add(file, keys)
		}
	}
	return c
}

// add adds the keys of a file. A later file overrides the keys of the earlier files.
func (c *nmConf) add(file string, keys []iniKey) {
	for _, k := range keys {
		switch {
		case k.section == "keyfile" && k.key == "unmanaged-devices":
			c.unmanaged = k.value
		case k.section == "keyfile" && k.key == "unmanaged-devices+":
			c.unmanaged += ";" + k.value
		case k.section == "device" || strings.HasPrefix(k.section, "device-"):
			i := len(c.devices) - 1
			for i >= 0 && c.devices[i].section != k.section {
				i--
			}
			if i < 0 {
				i = len(c.devices)
				c.devices = append(c.devices, nmDevice{section: k.section})
			}
			switch d := &c.devices[i]; k.key {
			case "match-device":
				d.match = k.value
			case "managed":
				d.file, d.managed = file, k.value
			}
		}
	}
}

// manages reports whether the configuration says that a veth interface is managed, and names
// the file. A section that says the contrary has priority here: the order of sections is
// not examined.
func (c *nmConf) manages(name string) (file string, ok bool) {
	if nmMatches(c.unmanaged, name) {
		return "", false
	}
	for _, d := range c.devices {
		if d.managed == "" || d.match != "" && !nmMatches(d.match, name) {
			continue
		}
		switch strings.ToLower(d.managed) {
		case "1", "true", "yes", "on":
			file, ok = d.file, true
		default:
			return "", false
		}
	}
	return file, ok
}

// nmMatches reports whether a list of devices contains a veth interface (section "Device
// List Format" of NetworkManager.conf(5)).
func nmMatches(list, name string) bool {
	matches := false
	for _, spec := range strings.FieldsFunc(list, func(r rune) bool { return r == ';' || r == ',' }) {
		spec, except := strings.CutPrefix(strings.TrimSpace(spec), "except:")
		if !nmSpecMatches(spec, name) {
			continue
		}
		if except {
			return false
		}
		matches = true
	}
	return matches
}

func nmSpecMatches(spec, name string) bool {
	kind, value, _ := strings.Cut(spec, ":")
	switch kind {
	case "*":
		return true
	case "type":
		return value == "veth"
	case "driver":
		value, _, _ = strings.Cut(value, "/") // the version of the driver
		return globs(value, "veth")
	case "interface-name":
		if literal, ok := strings.CutPrefix(value, "="); ok {
			return literal == name
		}
		return globs(strings.TrimPrefix(value, "~"), name)
	}
	return globs(spec, name) && !filepath.IsAbs(spec) && !strings.Contains(spec, ":")
}
