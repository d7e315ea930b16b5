package nodeconf

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// decodeYAML reads the only document of a file. The library's nodes are converted
// without expanding aliases, so that the cost follows the length of the file.
func decodeYAML(file string, data []byte, r *conftree.Reader) conftree.Value {
	out := conftree.Value{Place: conftree.Place{File: file}, Kind: conftree.Null}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		yamlFault(file, data, err, r)
		return conftree.Value{}
	}
	for {
		var n yaml.Node
		err := loader.Load(&n)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			yamlFault(file, data, err, r)
			return conftree.Value{}
		}
		if len(n.Content) == 0 {
			continue
		}
		v := convert(file, n.Content[0], r)
		switch {
		case v.Kind == conftree.Null:
		case out.Kind != conftree.Null:
			// ip-masq-agent silently ignores all documents but the first.
			r.Fault(v.Place, "", "", "a second YAML document begins here", "keep one document, or put each into a separate file")
			return conftree.Value{}
		default:
			out = v
		}
	}
}

// yamlFault adds the fault that a file is not YAML.
func yamlFault(file string, data []byte, err error, r *conftree.Reader) {
	at := conftree.Place{File: file}
	wrong, remedy := err.Error(), "correct the syntax"
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		at.Line, at.Column = e.Mark.Line, e.Mark.Column
		if end := conftree.NewCursor(file, data).At(len(data)); at.Line > end.Line {
			at = end // the library counts one line too many
		}
		wrong = e.Message
		if e.ContextMsg != "" {
			wrong = e.ContextMsg + ": " + wrong
		}
		if isTab(data, at) {
			remedy = "indent with spaces, since YAML allows no tabs"
		}
	}
	// The library repeats text of the file.
	if quoted := masq.Quote(wrong); quoted[1:len(quoted)-1] != wrong {
		wrong = quoted
	}
	r.Fault(at, "", "", "the file is not valid YAML: "+wrong, remedy)
}

// isTab reports whether the character at a place is a tab.
func isTab(data []byte, at conftree.Place) bool {
	lines := strings.Split(string(data), "\n")
	if at.Line < 1 || at.Line > len(lines) {
		return false
	}
	line := []rune(lines[at.Line-1])
	return at.Column >= 1 && at.Column <= len(line) && line[at.Column-1] == '\t'
}

// convert returns a node of the library as a value. Aliases and tags are faults.
func convert(file string, n *yaml.Node, r *conftree.Reader) conftree.Value {
	v := conftree.Value{Place: conftree.Place{File: file, Line: n.Line, Column: n.Column}}
	if n.Kind == yaml.AliasNode {
		r.Fault(v.Place, "", masq.Quote("*"+n.Value), "is an alias", "write out the value that it stands for")
		return v
	}
	tag := n.ShortTag()
	if n.Style&yaml.TaggedStyle != 0 && tag != "!!str" {
		r.Fault(v.Place, "", masq.Quote(tag), "is a tag", "remove it")
		return v
	}
	switch n.Kind {
	case yaml.MappingNode:
		v.Kind = conftree.Object
		for i := 0; i+1 < len(n.Content); i += 2 {
			v.Members = append(v.Members, conftree.Member{Key: convert(file, n.Content[i], r), Value: convert(file, n.Content[i+1], r)})
		}
	case yaml.SequenceNode:
		v.Kind = conftree.List
		for _, item := range n.Content {
			v.Items = append(v.Items, convert(file, item, r))
		}
	case yaml.ScalarNode:
		v.Text, v.Plain = n.Value, n.Style == 0
		v.Kind = kindOf(tag)
	}
	return v
}

// kindOf returns the kind of a scalar by its tag. Dates and merge keys are strings here.
func kindOf(tag string) conftree.Kind {
	switch tag {
	case "!!null":
		return conftree.Null
	case "!!bool":
		return conftree.Boolean
	case "!!int", "!!float":
		return conftree.Number
	default:
		return conftree.String
	}
}
