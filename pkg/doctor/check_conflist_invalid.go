package doctor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// minConfAge is the minimum age of an invalid file: another program may still be writing a
// younger one.
const minConfAge = 2 * time.Second

// namesMasq matches the type of the plugin in a file that cannot be parsed.
var namesMasq = regexp.MustCompile(`"type"\s*:\s*"` + cnidir.Plugin + `"`)

var conflistInvalid = Check{
	ID:       "conflist-invalid",
	Title:    "A network configuration cannot be parsed, or masq refuses its keys",
	Severity: report.SeverityError,
	Reads:    "the files of `--conf-dir`",
	Applies:  "files that name masq, and the first file by name if another names masq; a file that is not the first is a warning",
	Remedy:   "Correct the file.",
	Cost:     Full,
	Run: func(_ context.Context, n *Node) (found []Finding, err error) {
		files, err := n.networks()
		if err != nil {
			return nil, err
		}
		uses := slices.ContainsFunc(files, func(f cnidir.NetworkFile) bool { return f.Find() >= 0 || namesMasq.Match(f.Text) })
		for i := range files {
			f := &files[i]
			if n.Now.Sub(f.Modified).Abs() < minConfAge {
				continue
			}
			x := Finding{Severity: report.SeverityError, Object: "network configuration " + f.Path}
			switch {
			case f.Fault != nil && i == 0 && uses:
				x.Why = "containerd starts no container while its first network configuration cannot be parsed; CRI-O and podman ignore the file."
			case f.Fault != nil && namesMasq.Match(f.Text):
				x.Severity = report.SeverityWarning
				x.Why = "No runtime can use the network."
			case f.Fault == nil && f.Find() >= 0:
				faults := masqFaults(f)
				if faults == nil {
					continue
				}
				if i > 0 && n.newest(f.Name) == nil {
					x.Severity = report.SeverityWarning
				}
				x.Message = "has " + report.Plural(len(faults), "fault") + " in the configuration of masq"
				x.Why = "masq refuses to start containers in network " + report.Clean(f.Name) + "."
				for _, fault := range faults {
					x.Evidence = append(x.Evidence, Evidence{fault.place, fault.text})
				}
				x.Remedy.Text = "Correct the keys; the next container is started with the new configuration."
				found = append(found, x)
				continue
			default:
				continue
			}
			at, text := syntaxFault(f)
			x.Message, x.Evidence = "cannot be parsed", []Evidence{{at, text}}
			x.Remedy.Text = "Correct the file, or move it to another directory."
			found = append(found, x)
		}
		return found, nil
	},
}

// syntaxFault returns where a file is faulty, and how.
func syntaxFault(f *cnidir.NetworkFile) (place, text string) {
	if len(f.Text) > 0 {
		_, err := conftree.ParseJSON(f.Path, f.Text)
		if syntax, ok := errors.AsType[*conftree.SyntaxError](err); ok {
			return syntax.String(), syntax.Err.Error()
		}
	}
	return f.Path, f.Fault.Error()
}

// confFault is a fault of a key.
type confFault struct{ place, text string }

// masqFaults reads the configuration of masq in a network as ADD does, without prevResult.
func masqFaults(f *cnidir.NetworkFile) (out []confFault) {
	p := f.Plugins[f.Find()]
	if p.To == 0 {
		return nil // the plugin has a separate file
	}
	_, err := cniconf.Load(stdinOf(f, p), "")
	refused, ok := errors.AsType[*types.Error](err)
	if !ok {
		return nil
	}
	for line := range strings.Lines(cmp.Or(refused.Details, refused.Msg)) {
		place, text, ok := cutPlace(strings.TrimSpace(line))
		if !ok {
			out = append(out, confFault{f.Path, text})
			continue
		}
		out = append(out, confFault{f.Path + ":" + place, text})
	}
	return out
}

// placeOfFault is the place that conftree gives a fault of a text without a file.
var placeOfFault = regexp.MustCompile(`^line (\d+), column (\d+): `)

func cutPlace(line string) (place, text string, ok bool) {
	m := placeOfFault.FindStringSubmatch(line)
	if m == nil {
		return "", line, false
	}
	return m[1] + ":" + m[2], line[len(m[0]):], true
}

// stdinOf returns the configuration that a runtime gives to a plugin, with the name and the
// cniVersion of the network. Each key keeps its line and column in the file: the text before the
// plugin becomes spaces, and the two keys come last.
func stdinOf(f *cnidir.NetworkFile, p cnidir.NetworkPlugin) []byte {
	var b bytes.Buffer
	for before := f.Text[:p.From]; len(before) > 0; {
		r, size := utf8.DecodeRune(before)
		if r != '\n' {
			r = ' '
		}
		b.WriteRune(r)
		before = before[size:]
	}
	text := bytes.TrimRight(f.Text[p.From:p.To], " \t\r\n")
	text = bytes.TrimSuffix(text, []byte("}"))
	b.Write(text)
	var has map[string]json.RawMessage
	_ = json.Unmarshal(f.Text[p.From:p.To], &has) // libcni has read it
	comma := len(has) > 0
	for _, key := range [][2]string{{"name", f.Name}, {"cniVersion", f.CNIVersion}} {
		if _, given := has[key[0]]; given || key[1] == "" {
			continue // a file with one plugin has the keys itself
		}
		value, err := json.Marshal(key[1])
		if err != nil {
			continue
		}
		if comma {
			b.WriteByte(',')
		}
		comma = true
		fmt.Fprintf(&b, "%q:%s", key[0], value)
	}
	b.WriteByte('}')
	return b.Bytes()
}
