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

// fromRanges is what a list of our own says that it was made from. Else it is the
// name of the file that it stands before, which has an extension.
const fromRanges = "pod ranges"

// madeList is a list that is written here.
type madeList struct {
	CNIVersion string            `json:"cniVersion,omitempty"`
	Name       string            `json:"name"`
	MadeFrom   string            `json:"masq-cni.dev/made-from"`
	Plugins    []json.RawMessage `json:"plugins"`
}

// text is the list as a file, which libcni takes.
func (m madeList) text() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(m); err != nil {
		return nil, err
	}
	if _, err := libcni.NetworkConfFromBytes(b.Bytes()); err != nil {
		return nil, fmt.Errorf("libcni refuses the list that would be written: %w", err)
	}
	return b.Bytes(), nil
}

// madeFrom is what a list says that it was made from; empty where another wrote it.
func madeFrom(text []byte) string {
	var m madeList
	if json.Unmarshal(text, &m) != nil {
		return ""
	}
	return m.MadeFrom
}

// nameBefore is the name of a list that stands before a file and behind all that
// stand before that: "-" sorts before the "." of the extension.
func nameBefore(name string) string {
	return strings.TrimSuffix(name, filepath.Ext(name)) + "-" + Plugin + ".conflist"
}

// listOf is a list of the one plugin of a file, and an entry behind it. The network
// keeps its name: what the runtime remembers of containers goes by it.
func listOf(f *file, entry json.RawMessage) ([]byte, error) {
	if f.single.Network.Name == "" {
		return nil, errors.New(`it has no "name", which masq needs; give the network one`)
	}
	return madeList{
		CNIVersion: f.single.Network.CNIVersion,
		Name:       f.single.Network.Name,
		MadeFrom:   f.name,
		Plugins:    []json.RawMessage{f.text, entry},
	}.text()
}

// Network is a network that masq makes itself.
type Network struct {
	Name       string
	CNIVersion string
	Entry      json.RawMessage
	// Portmap has portmap publish host ports.
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
