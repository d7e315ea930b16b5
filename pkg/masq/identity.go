package masq

import "strings"

// ParseIdentity returns the key of an identity. ok is false if the text is not an identity,
// or is a shortened one, which does not contain the key.
func ParseIdentity(identity string) (k Key, ok bool) {
	parts := strings.Split(identity, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return Key{}, false
	}
	k = Key{Network: parts[0], ContainerID: parts[1], Interface: parts[2]}
	return k, k.Identity() == identity
}
