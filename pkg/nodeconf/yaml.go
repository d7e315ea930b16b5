package nodeconf

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v4"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// decodeYAML reads the one document of a file. Nodes are taken as the library
// composes them: nothing is expanded, so an alias costs what it is long.
func decodeYAML(file string, data []byte, fs *faults) value {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		fs.fault(place{file: file}, "", "", "is not YAML: "+printable(masq.Clip(err.Error())), "mend it")
		return value{}
	}
	out := value{place: place{file: file}, kind: isNull}
	for {
		var n yaml.Node
		err := loader.Load(&n)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			notYAML(file, data, err, fs)
			return value{}
		}
		if len(n.Content) == 0 {
			continue
		}
		v := fromNode(file, n.Content[0], fs)
		switch {
		case v.kind == isNull:
		case out.kind != isNull:
			// There, all but the first are dropped without a word.
			fs.fault(v.place, "", "", "is a second document", "give one, or one a file")
			return value{}
		default:
			out = v
		}
	}
}

func notYAML(file string, data []byte, err error, fs *faults) {
	at := place{file: file}
	wrong, mend := err.Error(), "mend it"
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		at.line, at.column = e.Mark.Line, e.Mark.Column
		if end := newCursor(file, data).at(len(data)); at.line > end.line {
			at = end // the library counts a line more than there is
		}
		wrong = e.Message
		if e.ContextMsg != "" {
			wrong = e.ContextMsg + ": " + wrong
		}
		if isTab(data, at) {
			mend = "indent with spaces, YAML allows no tabs"
		}
	}
	fs.fault(at, "", "", "is not YAML: "+printable(masq.Clip(wrong)), mend)
}

// isTab reports whether the character at a place is a tab.
func isTab(data []byte, at place) bool {
	for n := 1; n < at.line; n++ {
		_, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return false
		}
		data = rest
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	characters := []rune(string(line))
	return at.column >= 1 && at.column <= len(characters) && characters[at.column-1] == '\t'
}

func fromNode(file string, n *yaml.Node, fs *faults) value {
	v := value{place: place{file, n.Line, n.Column}}
	if n.Kind == yaml.AliasNode {
		fs.fault(v.place, "", masq.Quote("*"+n.Value), "is an alias", "write out what it stands for")
		return v
	}
	tag := n.ShortTag()
	if n.Style&yaml.TaggedStyle != 0 && tag != "!!str" {
		fs.fault(v.place, "", masq.Quote(tag), "is a tag", "remove it")
		return v
	}
	switch n.Kind {
	case yaml.MappingNode:
		v.kind = isObject
		for i := 0; i+1 < len(n.Content); i += 2 {
			v.members = append(v.members, member{fromNode(file, n.Content[i], fs), fromNode(file, n.Content[i+1], fs)})
		}
	case yaml.SequenceNode:
		v.kind = isList
		for _, item := range n.Content {
			v.items = append(v.items, fromNode(file, item, fs))
		}
	case yaml.ScalarNode:
		v.text, v.plain = n.Value, n.Style == 0
		v.kind = kindOf(tag)
	}
	return v
}

// kindOf tells the type of a scalar by its tag. What is a date or the key of a
// merge to YAML is a text here.
func kindOf(tag string) kind {
	switch tag {
	case "!!null":
		return isNull
	case "!!bool":
		return isBoolean
	case "!!int", "!!float":
		return isNumber
	default:
		return isString
	}
}
