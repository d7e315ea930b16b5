package cnidir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// fromRanges is MadeFrom of a network of masq. Otherwise MadeFrom is the name of a file,
// which has an extension.
const fromRanges = "pod ranges"

// madeList is a list that this package writes.
type madeList struct {
	CNIVersion string            `json:"cniVersion,omitempty"`
	Name       string            `json:"name"`
	MadeFrom   string            `json:"masq-cni.dev/made-from"`
	Plugins    []json.RawMessage `json:"plugins"`
}

// text returns the text of the list, and checks that libcni accepts it.
func (m madeList) text() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(m); err != nil {
		return nil, err
	}
	if _, err := libcni.NetworkConfFromBytes(b.Bytes()); err != nil {
		return nil, fmt.Errorf("libcni refuses the list: %w", err)
	}
	return b.Bytes(), nil
}

// madeFrom returns MadeFrom of a list. It is empty if another program wrote the list.
func madeFrom(text []byte) string {
	var m madeList
	if json.Unmarshal(text, &m) != nil {
		return ""
	}
	return m.MadeFrom
}

// nameBefore returns the name of a list that comes directly before a file in the order of
// names: "-" sorts before the "." of the extension.
func nameBefore(name string) string {
	return strings.TrimSuffix(name, filepath.Ext(name)) + "-" + Plugin + ".conflist"
}

// listOf returns a list of the plugin of a file, followed by an entry. The network keeps
// its name, by which the runtime finds the state of its containers.
func listOf(f *file, entry json.RawMessage) ([]byte, error) {
	if f.single.Network.Name == "" {
		return nil, errors.New(`has no "name", which masq requires; give the network a name`)
	}
	return madeList{
		CNIVersion: f.single.Network.CNIVersion,
		Name:       f.single.Network.Name,
		MadeFrom:   f.name,
		Plugins:    []json.RawMessage{f.text, entry},
	}.text()
}

// Network is a network whose links masq makes.
type Network struct {
	Name       string
	CNIVersion string
	Entry      json.RawMessage
	// Portmap adds the plugin portmap, which publishes host ports.
	Portmap bool
}

func (n Network) text() ([]byte, error) {
	if n.Name == "" {
		return nil, errors.New("the network has no name")
	}
	plugins := []json.RawMessage{n.Entry}
	if n.Portmap {
		plugins = append(plugins, json.RawMessage(`{"type":"portmap","capabilities":{"portMappings":true}}`))
	}
	text, err := madeList{CNIVersion: n.CNIVersion, Name: n.Name, MadeFrom: fromRanges, Plugins: plugins}.text()
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", masq.Quote(n.Name), err)
	}
	return text, nil
}
