// Package pluginconf makes configurations of CNI plugins for tests.
package pluginconf

import "maps"

// Keys are the keys of a plugin's configuration.
type Keys map[string]any

// With returns the keys merged with others. A nil value removes a key.
func (k Keys) With(others Keys) Keys {
	out := maps.Clone(k)
	for name, v := range others {
		if v == nil {
			delete(out, name)
		} else {
			out[name] = v
		}
	}
	return out
}
