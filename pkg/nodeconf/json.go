package nodeconf

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// decodeJSON reads JSON without losing places, order and repetitions, all of
// which encoding/json drops on the way into a map.
func decodeJSON(file string, data []byte, fs *faults) value {
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		at := place{file: file}
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			at = newCursor(file, data).at(int(max(syntax.Offset-1, 0)))
		}
		fs.fault(at, "", "", "is not JSON: "+masq.Clip(err.Error()), "mend it, or write YAML, which does not begin with {")
		return value{}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	d := jsonDecoder{dec: dec, data: data, cursor: newCursor(file, data)}
	return d.value()
}

type jsonDecoder struct {
	dec    *json.Decoder
	data   []byte
	cursor *cursor
}

// value reads one value of what is known to be JSON.
func (d *jsonDecoder) value() value {
	at := int(d.dec.InputOffset())
	for at < len(d.data) && bytes.IndexByte([]byte(" \t\r\n,:"), d.data[at]) >= 0 {
		at++
	}
	v := value{place: d.cursor.at(at)}
	token, err := d.dec.Token()
	if err != nil {
		return v
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			v.kind = isObject
			for d.dec.More() {
				key := d.value()
				v.members = append(v.members, member{key, d.value()})
			}
		} else {
			v.kind = isList
			for d.dec.More() {
				v.items = append(v.items, d.value())
			}
		}
		_, _ = d.dec.Token() // the closing bracket
	case string:
		v.kind, v.text = isString, t
	case json.Number:
		v.kind, v.text = isNumber, t.String()
	case bool:
		v.kind, v.text = isBoolean, "false"
		if t {
			v.text = "true"
		}
	default:
		v.kind = isNull
	}
	return v
}
