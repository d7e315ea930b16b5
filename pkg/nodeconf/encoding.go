package nodeconf

import (
	"bytes"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// maxBytes is the maximum size of a file. A ConfigMap has the same maximum (1 MiB, the
// limit of an object in etcd).
const maxBytes = 1 << 20

// decode reads a file that is JSON or YAML. The result is null for an empty file, and
// invalid if there was a fault.
func decode(file string, data []byte, r *conftree.Reader) conftree.Value {
	if len(data) > maxBytes {
		r.Fault(conftree.Place{File: file}, "", "", fmt.Sprintf("the file is longer than %d bytes", maxBytes), "give a shorter file")
		return conftree.Value{}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !isText(file, data, r) {
		return conftree.Value{}
	}
	// As in ip-masq-agent, a text that begins with { is JSON, and any other is YAML
	// (k8s.io/apimachinery/pkg/util/yaml, ToJSON).
	if text := bytes.TrimLeftFunc(data, unicode.IsSpace); len(text) > 0 && text[0] == '{' {
		v, err := conftree.ParseJSON(file, data)
		if syntax, ok := errors.AsType[*conftree.SyntaxError](err); ok {
			r.Fault(syntax.Place, "", "", "the file is not valid JSON: "+masq.Clip(syntax.Err.Error()), "correct it, or write YAML, which does not begin with {")
		}
		return v
	}
	return decodeYAML(file, data, r)
}

// isText reports whether a file is UTF-8 without control characters. It adds a fault for
// the first byte that is not.
func isText(file string, data []byte, r *conftree.Reader) bool {
	c := conftree.NewCursor(file, data)
	for i := 0; i < len(data); {
		char, size := utf8.DecodeRune(data[i:])
		switch {
		case char == utf8.RuneError && size == 1:
			r.Fault(c.At(i), "", fmt.Sprintf("byte 0x%02x", data[i]), "is not UTF-8", "save the file as UTF-8")
			return false
		case char < ' ' && char != '\t' && char != '\n' && char != '\r' || char == '\x7f':
			r.Fault(c.At(i), "", fmt.Sprintf("%U", char), "is a control character", "remove it")
			return false
		}
		i += size
	}
	return true
}
