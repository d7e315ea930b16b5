package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// readKeys reads --plugin-config, and validates it as the plugin does.
func (i *install) readKeys() (err error) {
	i.given = []byte(strings.TrimSpace(i.keys))
	if i.keys != "" && !bytes.HasPrefix(i.given, []byte("{")) {
		if i.given, err = os.ReadFile(i.keys); err != nil {
			return err
		}
	}
	typed := i.given
	if i.given, err = withStateDir(i.given, i.stateDir); err != nil {
		return err
	}
	if i.entry, err = cnidir.Entry(i.given); err != nil {
		return err
	}
	if len(typed) > 0 { // faults have their lines and columns in this text
		if err := i.validate(typed); err != nil {
			return err
		}
	}
	return i.validate(i.entry)
}

// withStateDir adds stateDir to the keys, unless they have it or dir is the default.
func withStateDir(given []byte, dir string) ([]byte, error) {
	keys := map[string]json.RawMessage{}
	if len(given) > 0 {
		if err := json.Unmarshal(given, &keys); err != nil {
			return nil, fmt.Errorf("not a JSON object: %w", err)
		}
	}
	if _, has := keys["stateDir"]; !has && dir != store.DefaultDir && keys != nil {
		keys["stateDir"], _ = json.Marshal(dir) // a string has no error
	}
	return json.Marshal(keys)
}

// validate checks an entry, or keys of an entry, as the plugin does. The lines and columns
// of faults are positions in the text.
func (i *install) validate(text []byte) error {
	keys := bytes.TrimSuffix(bytes.TrimSpace(text), []byte("}"))
	if !bytes.HasSuffix(bytes.TrimSpace(keys), []byte("{")) {
		keys = append(slices.Clone(keys), ',')
	}
	_, err := cniconf.Load(fmt.Appendf(nil, `%s"name":%q,"cniVersion":%q}`, keys, i.networkName, i.cniVersion), "")
	if fault, ok := errors.AsType[*types.Error](err); ok {
		return fmt.Errorf("%s: %s", fault.Msg, fault.Details)
	}
	return err
}
