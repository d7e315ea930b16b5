package masq

import "strings"

// ParseIdentity returns the key of an identity. ok is false for a text that is none, and
// for an identity that was shortened, from which the key does not follow.
func ParseIdentity(identity string) (k Key, ok bool) {
	parts := strings.Split(identity, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return Key{}, false
	}
	k = Key{Network: parts[0], ContainerID: parts[1], Interface: parts[2]}
	return k, k.Identity() == identity
}
